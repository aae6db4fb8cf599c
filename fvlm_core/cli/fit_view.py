"""A fit in words and a table, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fvlm_core.cli.console import new_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.style import Style
    from rich.table import Table

    from fvlm_core.scaling.report import Estimate, Fit, FitReport


def print_fit(console: Console, report: FitReport) -> None:
    """Print a report: what was fitted to what, what is withheld and why, the numbers, then the warnings."""
    from fvlm_core.scaling.remarks import count

    points = report.points.table
    runs = len(set(points["run"]) - {""})
    named = [
        count(len(points), "point"),
        count(runs, "run") if runs else "",
        count(len(report.points.sizes), "size"),
    ]
    _say(console, f"{report.model.name}: {report.model.form}", "bold")
    _say(
        console,
        f"{', '.join(filter(None, named))}; objective {report.objective}; {report.points.source}",
        "dim",
    )
    for remark in report.points.remarks:
        _say(console, f"  note: {remark}", "dim")
    if report.status != "ok":
        withheld = f": {', '.join(report.withheld)} withheld" if report.withheld else ""
        _say(console, f"{report.status}{withheld}", "bold yellow")
        for reason in report.reasons:
            _say(console, f"  - {reason}")
    if report.fits:
        instead = report.fits[0].problem.model
        if instead is not report.model:
            _say(console, f"  shown instead: {instead.form}")
        console.print(_table(report))
        _say(
            console,
            f"standard errors assume independent residuals; 95 % intervals: {_schemes(report)}",
            "dim",
        )
    for warning in report.warnings:
        _say(console, f"  warning: {warning}", "yellow")
    console.print()


def _table(report: FitReport) -> Table:
    table = new_table(
        "",
        "parameter",
        "value",
        "std. error",
        "95 % interval",
        right=("value", "std. error", "95 % interval"),
    )
    for name in report.withheld:
        table.add_row("", name, "withheld", "", "", style="yellow")
    for fit in report.fits:
        for at, estimate in enumerate(fit.estimates):
            group = fit.group if at == 0 else ""
            error = "-" if estimate.stderr is None else f"{estimate.stderr:.2g}"
            bound = " (on its bound)" if estimate.bound else ""
            table.add_row(group, estimate.name, f"{estimate.value:#.5g}{bound}", error, _interval(estimate))
        table.add_row("", "rmse", f"{fit.rmse:#.5g}", "", f"n = {fit.n_points}", style="dim")
    return table


def _interval(estimate: Estimate) -> str:
    found = estimate.interval
    if found.low is None and found.high is None:
        return "unbounded"
    low = "(unbounded" if found.low is None else f"[{found.low:.4g}"
    high = "unbounded)" if found.high is None else f"{found.high:.4g}]"
    return f"{low}, {high}"


def _schemes(report: FitReport) -> str:
    """How the intervals of all fits were made, each way once."""
    return "; ".join(dict.fromkeys(_scheme(fit) for fit in report.fits))


def _scheme(fit: Fit) -> str:
    group = f"{fit.group} " if fit.group else ""
    return f"{group}bootstrap of {len(fit.drawn.values)} draws ({fit.drawn.scheme})"


def _say(console: Console, text: str, style: str | Style | None = None) -> None:
    # A terminal wraps at words; in a pipe a line stays a line, for grep.
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal)

"""A fit in words and a table, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fvlm_core.cli.console import new_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.style import Style
    from rich.table import Table

    from fvlm_core.scaling.report import Estimate, Fit, FitReport
    from fvlm_core.scaling.sensitivity import Line

SHOWN = 4
"""Exponents in a line of sensitivities."""


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
        shown = ": shown because it was forced" if report.forced else ""
        shown = f": {', '.join(report.withheld)} withheld" if report.withheld and not report.forced else shown
        _say(console, f"{report.status}{shown}", "bold yellow")
        for reason in report.reasons:
            _say(console, f"  - {reason}")
    if report.fits:
        instead = report.fits[0].problem.model
        if report.status != "ok" and not report.forced and instead.name != report.model.name:
            _say(console, f"  shown instead: {instead.form}")
        console.print(_table(report))
        _say(
            console,
            f"standard errors assume independent residuals; 95 % intervals: {_schemes(report)}",
            "dim",
        )
    if report.relation is not None:
        _say(console, f"  {report.relation}")
    said = " ".join(report.reasons)
    for warning in report.warnings:
        if warning not in said:
            _say(console, f"  warning: {warning}", "yellow")
    for fit in report.fits:
        for line in sensitivity_lines(fit):
            _say(console, f"  {line}", "dim")
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
    for name in report.withheld if not report.forced else ():
        table.add_row("", name, "withheld", "", "", style="yellow")
    for fit in report.fits:
        for at, estimate in enumerate(fit.estimates):
            group = fit.group if at == 0 else ""
            error = "-" if estimate.stderr is None else f"{estimate.stderr:.2g}"
            bound = (
                " (on its bound)" if estimate.bound else f" (= {estimate.given})" if estimate.given else ""
            )
            table.add_row(group, estimate.name, f"{estimate.value:#.5g}{bound}", error, _interval(estimate))
        table.add_row("", "rmse", f"{fit.rmse:#.5g}", "", _worth(fit), style="dim")
    return table


def _worth(fit: Fit) -> str:
    """How many points there were, and what they are worth."""
    scores = fit.criteria
    criteria = "" if scores.bic is None else f", AIC {scores.aic:.1f}, BIC {scores.bic:.1f}"
    return f"n = {fit.n_points}, worth {scores.effective:.0f}{criteria}"


def sensitivity_lines(fit: Fit) -> list[str]:
    """How far each exponent moves with the objective, with the cut, and without each run: one line a kind."""
    from fvlm_core.scaling.evidence import is_exponent

    if fit.sensitivity is None:
        return ["sensitivity: too many points to refit without each run"]
    out: list[str] = []
    slots = [slot for slot in fit.problem.slots if is_exponent(slot.parameter)]
    for kind, words in (
        ("objective", "objectives"),
        ("cut", "first points left out"),
        ("run", "one run left out"),
    ):
        lines = [line for line in fit.sensitivity if line.kind == kind]
        parts: list[str] = []
        for slot in slots[:SHOWN]:
            values = [value for line in lines if (value := line.values[slot.name]) is not None]
            if values:
                name = slot.parameter.name if fit.group else slot.name
                parts.append(f"{name} {min(values):.3g} to {max(values):.3g}")
        if parts:
            group = f"{fit.group}: " if fit.group else ""
            out.append(f"{group}{words} ({len(lines)}): {', '.join(parts)}{_worst(lines)}")
    return out


def _worst(lines: list[Line]) -> str:
    """The run that the others predict worst."""
    missed = [(abs(line.error), line) for line in lines if line.error is not None]
    if not missed:
        return ""
    line = max(missed, key=lambda pair: pair[0])[1]
    assert line.error is not None
    return f"; worst predicted from the others: {line.label}, off by {100 * line.error:+.1f} %"


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

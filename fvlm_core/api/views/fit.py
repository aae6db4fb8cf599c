"""A fit in words and a table, for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fvlm_core.api.views.console import new_table
from fvlm_core.api.views.facts import reasons_of, told, warnings_of
from fvlm_core.report.digits import digits

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console
    from rich.style import Style
    from rich.table import Table

    from fvlm_core.scaling.fit.report import FitReport, FittedLaw
    from fvlm_core.scaling.fit.sensitivity import OtherFit
    from fvlm_core.scaling.fit.uncertainty import Interval

SHOWN = 4
"""Exponents in a line of sensitivities."""


def print_fit(console: Console, report: FitReport, verbose: bool = False) -> None:
    """Print a report: what was fitted to what, what is withheld and why, the numbers, then the warnings.

    verbose: all that there is to say, and not the first ten lines of it.
    """
    from fvlm_core.scaling.fit.diagnostics import count

    points = report.points.table
    runs = len(set(points["run"]) - {""})
    named = [
        count(len(points), "point"),
        count(runs, "run") if runs else "",
        count(len(report.points.sizes), "size")
        if points["n"].notna().any() or not report.model.variables
        else "",
    ]
    _say(console, f"{report.model.name}: {report.model.form}", "bold")
    _say(
        console,
        "; ".join(
            filter(
                None,
                [
                    ", ".join(filter(None, named)),
                    report.points.counted(report.model),
                    f"objective {report.objective}",
                    report.points.source,
                ],
            )
        ),
        "dim",
    )
    every = [line for fit in report.fits for line in sensitivity_lines(fit)]
    kinds = (
        reasons_of(report) if report.status != "ok" else [],
        report.warnings if verbose else warnings_of(report),
        report.points.remarks,
        every,
    )
    (reasons, warnings, remarks, lines), hidden = told(kinds, verbose)
    for remark in remarks:
        _say(console, f"  note: {remark}", "dim")
    if report.status != "ok":
        shown = ": shown because it was forced" if report.forced else ""
        if report.withheld and not report.forced:
            shown = f": {', '.join(report.withheld)} withheld{_partly(report)}"
        _say(console, f"{report.status}{shown}", "bold yellow")
        for reason in reasons:
            _say(console, f"  - {reason}")
    if report.fits:
        instead = report.fits[0].problem.model
        if report.status != "ok" and not report.forced and instead.name != report.model.name:
            _say(console, f"  shown instead: {instead.form}")
        console.print(_table(report))
        for fit in report.fits:
            _say(console, _worth(fit), "dim")
        _say(console, _schemes(report), "dim")
    if report.relation is not None:
        _say(console, f"  {report.relation}")
    for relation in report.derived:
        if relation.exponent is not None:
            _say(console, f"  {relation}")
    for line in report.conclusions:
        _say(console, f"  {line}", "bold")
    for warning in warnings:
        _say(console, f"  warning: {warning}", "yellow")
    for line in lines:
        _say(console, f"  {line}", "dim")
    if hidden:
        _say(console, f"  and {hidden} more line{'' if hidden == 1 else 's'}: --verbose prints all", "dim")
    console.print()


def _partly(report: FitReport) -> str:
    """Said of a law of single groups, some of which could be fitted."""
    return f" where the reasons name a {report.model.split}" if report.model.split and report.fits else ""


def _table(report: FitReport) -> Table:
    table = new_table(
        "",
        "parameter",
        "value",
        "std. error",
        "95 % interval",
        right=("value", "std. error", "95 % interval"),
    )
    for name in report.withheld if not report.forced and not _partly(report) else ():
        table.add_row("", name, "withheld", "", "", style="yellow")
    for fit in report.fits:
        for at, estimate in enumerate(fit.estimates):
            group = fit.group if at == 0 else ""
            error = "-" if estimate.stderr is None else digits(estimate.stderr, 2)
            bound = (
                " (on its bound)" if estimate.bound else f" (= {estimate.given})" if estimate.given else ""
            )
            table.add_row(
                group, estimate.name, f"{digits(estimate.value, 5)}{bound}", error, _ends(estimate.interval)
            )
        for relation in report.derived:
            for one in relation.groups:
                if one.name == fit.group:
                    name = relation.relation.parameter
                    table.add_row("", name, digits(one.value, 5), "-", _ends(one.interval))
        table.add_row("", "rmse", digits(fit.rmse, 5), "", "", style="dim")
        if fit.left_out is not None and len(fit.left_out):
            table.add_row("", "window", _window(fit, fit.left_out), "", "", style="dim")
    return table


def _window(fit: FittedLaw, left_out: pd.DataFrame) -> str:
    """`9.8M to 108M`: the points near the minimum that were fitted."""
    from fvlm_core.scaling.points.points import size_label

    column = fit.problem.model.columns[0]
    inside = fit.problem.table[column]
    label = (lambda value: size_label(value, 3)) if column == "n" else "{:.3g}".format
    return f"{label(inside.min())} to {label(inside.max())}"


def _worth(fit: FittedLaw) -> str:
    """How many points there were, and what they are worth."""
    from fvlm_core.scaling.fit.diagnostics import count

    scores = fit.criteria
    group = f"{fit.group}: " if fit.group else ""
    correlated = fit.n_points - scores.effective >= 1
    worth = f", correlated, worth {scores.effective:.0f} independent ones" if correlated else ""
    criteria = "" if scores.bic is None else f"; AIC {scores.aic:.1f}, BIC {scores.bic:.1f}"
    window = ""
    if fit.left_out is not None and len(fit.left_out):
        window = f" near the minimum, of {fit.n_points + len(fit.left_out)}"
    return f"{group}{count(fit.n_points, 'point')}{window}{worth}{criteria}"


def sensitivity_lines(fit: FittedLaw) -> list[str]:
    """How far each exponent moves with the objective, with the cut, and without each run: one line a kind."""
    from fvlm_core.scaling.fit.residual_checks import is_exponent

    if fit.sensitivity is None:
        return ["sensitivity: too many points to refit without each run"]
    out: list[str] = []
    slots = [slot for slot in fit.problem.slots if is_exponent(slot.parameter)]
    for kind, words in (
        ("objective", "with other objectives"),
        ("cut", "without the first points of runs"),
        ("run", "without one run"),
    ):
        lines = [line for line in fit.sensitivity if line.kind == kind]
        parts: list[str] = []
        for slot in slots[:SHOWN]:
            values = [value for line in lines if (value := line.values[slot.name]) is not None]
            if values:
                name = slot.parameter.name if fit.group else slot.name
                parts.append(f"{name} {digits(min(values), 3)} to {digits(max(values), 3)}")
        if parts:
            group = f"{fit.group}: " if fit.group else ""
            out.append(f"{group}{words} ({len(lines)}): {', '.join(parts)}{_worst(lines)}")
    return out


def _worst(lines: list[OtherFit]) -> str:
    """The run that the others predict worst."""
    missed = [(abs(line.error), line) for line in lines if line.error is not None]
    if not missed:
        return ""
    line = max(missed, key=lambda pair: pair[0])[1]
    assert line.error is not None
    return f"; worst predicted from the others: {line.label}, off by {100 * line.error:+.1f} %"


def _ends(found: Interval) -> str:
    if found.missing:
        return "none"
    if found.low is None and found.high is None:
        return "unbounded"
    low = "(unbounded" if found.low is None else f"[{digits(found.low, 4)}"
    high = "unbounded)" if found.high is None else f"{digits(found.high, 4)}]"
    return f"{low}, {high}"


def _schemes(report: FitReport) -> str:
    """How the intervals of all fits were made, each way once, with its groups where there are several ways."""
    ways: dict[str, list[str]] = {}
    for fit in report.fits:
        text = f"bootstrap of {len(fit.drawn.values)} draws ({fit.drawn.scheme})"
        ways.setdefault(f"none: {fit.drawn.missing}" if fit.drawn.missing else text, []).append(fit.group)
    several = len(ways) > 1
    told = "; ".join(f"{', '.join(groups)}: {text}" if several else text for text, groups in ways.items())
    if all(fit.drawn.missing for fit in report.fits):
        return f"95 % intervals: {told}"
    return f"standard errors assume independent residuals; 95 % intervals: {told}"


def _say(console: Console, text: str, style: str | Style | None = None) -> None:
    # A terminal wraps at words; in a pipe a line stays a line, for grep.
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal)

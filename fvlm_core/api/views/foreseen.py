"""How well a law predicts what it was not fitted to, in words and tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fvlm_core.api.views.console import new_table
from fvlm_core.report.digits import digits

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from rich.console import Console
    from rich.table import Table

    from fvlm_core.scaling.predict.holdout import Holdout, Score
    from fvlm_core.scaling.predict.roll_out import Forecast, RollOut

SHOWN = 12
"""Runs and refits in a table."""


def print_holdout(console: Console, found: Holdout) -> None:
    """The scores over all points that were kept out, and run by run; of single points of runs, each prediction."""
    rest: list[str] = []
    if found.total is not None and found.table["run"].is_unique and len(found.table) <= SHOWN:
        rest = [_foretold(*one) for one in _each(found.table)]
    elif found.total is not None:
        console.print(holdout_table(found, found.total))
    if len(found.runs) > SHOWN:
        rest.append(f"{len(found.runs) - SHOWN} more runs are in the record (--json)")
    if found.unpredicted:
        rest.append(
            f"points kept out, where {found.where}, that no fit predicts: {found.unpredicted} (of groups that none is "
            "of, or without what the law reads)"
        )
    for line in rest:
        console.print(f"  {line}", style="dim", markup=False, highlight=False)
    console.print()


def _each(table: pd.DataFrame) -> list[tuple[str, float, float, float, float]]:
    columns = [table[name].tolist() for name in ("run", "predicted", "low", "high", "measured")]
    return list(zip(*columns, strict=True))


def _foretold(run: str, predicted: float, low: float, high: float, measured: float) -> str:
    """One line."""
    beside = f", measured {digits(measured, 4)}"
    name = run or "kept out"
    if not (math.isfinite(low) and math.isfinite(high)):
        return f"{name}: predicted {digits(predicted, 4)} (no interval){beside}"
    inside = "inside" if low <= measured <= high else "OUTSIDE"
    interval = f"[{digits(low, 4)}, {digits(high, 4)}]"
    return f"{name}: predicted {digits(predicted, 4)} {interval}{beside}: {inside} the interval"


def holdout_table(found: Holdout, total: Score) -> Table:
    """A row a run, the worst predicted first, and one for all."""
    numbers = ("points", "R2", "mean error", "worst", "in 95 %")
    table = new_table(f"kept out, {found.where}", *numbers, right=numbers)
    worst_first = sorted(found.runs, key=lambda one: -one.worst)[:SHOWN]
    for one in (*worst_first, total):
        error = [f"{of:.2%}" if found.relative else digits(of, 3) for of in (one.mean, one.worst)]
        table.add_row(
            one.of,
            str(one.points),
            "-" if one.r2 is None else f"{one.r2:.4f}",
            *error,
            "-" if one.coverage is None else f"{one.coverage:.0%}",
            style="bold" if one is total else None,
        )
    return table


def print_roll_out(console: Console, found: RollOut, relative: bool, group: str = "") -> None:
    """The errors of refits to the smaller runs, step by step, and how they grow."""
    numbers = ("foreseen", "farthest", "mean error", "worst", "expected")
    of = f"{group}: " if group else ""
    table = new_table(f"{of}fitted to the smaller, by {found.scale}", *numbers, right=numbers)
    amount = (lambda value: f"{value:.2%}") if relative else (lambda value: digits(value, 3))
    for fitted, those in _steps(found.forecasts):
        errors = [abs(one.error) for one in those]
        table.add_row(
            f"{fitted} points",
            str(len(those)),
            f"{max(one.factor for one in those):.3g} x",
            amount(sum(errors) / len(errors)),
            amount(max(errors)),
            amount((sum(one.expected**2 for one in those) / len(those)) ** 0.5),
        )
    console.print(table)
    grows = (
        f"beyond its points the law is wrong by {amount(found.growth)} a factor of e (standard deviation), on top of "
        "what its parameters' uncertainty and the scatter of runs lead to expect"
        if found.growth
        else "errors are no larger than the parameters' uncertainty and the scatter of runs lead to expect"
    )
    console.print(f"  {grows}", style="dim", markup=False, highlight=False, soft_wrap=not console.is_terminal)
    console.print()


def _steps(forecasts: Sequence[Forecast]) -> list[tuple[int, list[Forecast]]]:
    """The forecasts of each refit, by its number of points."""
    steps: dict[int, list[Forecast]] = {}
    for one in forecasts:
        steps.setdefault(one.fitted, []).append(one)
    return [*steps.items()]

"""What to run next, as a table for the terminal."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fvlm_core.api.views.console import new_table

if TYPE_CHECKING:
    from rich.console import Console

    from fvlm_core.api.suggesting import Suggestion


def print_suggestion(console: Console, suggestion: Suggestion) -> None:
    """Print the runs, what they are expected to tell, what the alternatives would, and what to know."""
    advice = suggestion.advice
    where = f"N = {advice.n:.4g}, D = {advice.d:.4g}"
    if advice.target.budget is not None:
        where = f"the best use of {advice.target.budget:.3g} FLOPs, believed near {where}"
    _say(console, f"{advice.law}: what to run next to predict the loss at {where}", "bold")
    known = f"{advice.points} points are known" if advice.points else "no run is known"
    _say(
        console,
        f"{known}; {'; '.join(advice.noise.parts)}; budget {suggestion.budget}",
        "dim",
    )
    numbers = ("N", "D", "D/N", "FLOPs", "runs")
    table = new_table("size", *numbers, right=numbers)
    for run, times in Counter(advice.suggested.runs).items():
        amounts = (f"{run.n:.4g}", f"{run.d:.4g}", f"{run.d / run.n:.3g}", f"{run.flops:.3g}")
        table.add_row(run.label, *amounts, str(times))
    console.print(table)
    if suggestion.d_per_n is not None:
        low, high = suggestion.d_per_n
        _say(console, f"D/N of the points there are: {low:.3g} to {high:.3g}", "dim")
    designs = new_table(
        "standard error of the predicted loss", "", "FLOPs", "runs", right=("", "FLOPs", "runs")
    )
    designs.add_row("now", percent(advice.before), "", "")
    for design in (advice.suggested, *advice.alternatives):
        style = "bold" if design is advice.suggested else None
        designs.add_row(
            design.name, percent(design.error), f"{design.flops:.3g}", str(len(design.runs)), style=style
        )
    console.print(designs)
    for remark in suggestion.remarks:
        _say(console, f"  note: {remark}", "dim")
    if suggestion.text:
        console.print(f"recipe: {suggestion.out}", soft_wrap=True)
        console.print(f"  fvlm run {suggestion.out}", soft_wrap=True)
    elif advice.suggested.runs:
        said = "next: train these, add their rows to the points and ask again; recipes of such sizes get them as one:"
        console.print(f"{said}\n  {suggestion.again}", soft_wrap=True)


def percent(error: float) -> str:
    """A standard error of ln L; above 100 % it says nothing."""
    return f"{error:.2%}" if error < 1 else "unknown"


def _say(console: Console, text: str, style: str | None = None) -> None:
    # A terminal wraps at words; in a pipe a line stays a line, for grep.
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal)

"""What came of training the runs of a recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fvlm_core.api.views.bad_data import left_out_text, unusable_text
from fvlm_core.api.views.console import new_table, print_whole
from fvlm_core.api.views.display import clock

if TYPE_CHECKING:
    from rich.console import Console

    from fvlm_core.execution.sequential import Outcome
    from fvlm_core.recipes.read import Recipe


def say_skipped(console: Console, recipe: Recipe, outcomes: Sequence[Outcome]) -> None:
    """One line where there was nothing to do."""
    if all(outcome.skipped for outcome in outcomes):
        runs = "1 run" if len(outcomes) == 1 else f"{len(outcomes)} runs"
        console.print(f"{recipe.name}: already complete ({runs})")


def show_outcomes(
    console: Console, outcomes: Sequence[Outcome], check: str = "fvlm data check RECIPE"
) -> None:
    """The table of runs, and what of them a person should know. "of blind" is the loss on the caption's own words as a
    share of the blind run's. check: the command that names all that is wrong with the data."""
    from fvlm_core.data.mixture_counts import shares

    blind = [o.summary["best_val_loss_content"] for o in outcomes if o.run.config.model.blind]
    numbers = (
        "parameters",
        "samples",
        "best val",
        "at step",
        "words",
        *(["of blind"] if blind else []),
        "time",
    )
    table = new_table("run", "size", *numbers, right=numbers)
    for outcome in outcomes:
        summary = outcome.summary
        words = summary["best_val_loss_content"]
        cells = [
            outcome.run.id,
            summary["model_size"],
            f"{summary['total_params']:,}",
            f"{summary['total_samples']:,}",
            f"{summary['best_val_loss']:.4f}",
            str(summary["best_val_step"]),
            f"{words:.4f}" if words is not None else "",
        ]
        if blind:
            cells.append(f"{words / blind[0]:.2f}" if words is not None and blind[0] else "")
        table.add_row(*cells, clock(summary["wall_time_hours"] * 3600))
    print_whole(console, table)
    for outcome in outcomes:
        if rises := outcome.summary.get("overfitting"):
            console.print(f"{outcome.run.id}: {rises}", style="yellow", soft_wrap=True, markup=False)
        if chosen := outcome.summary.get("precision"):
            console.print(f"{outcome.run.id}: precision {chosen}", soft_wrap=True, markup=False)
        for change in outcome.summary.get("drift", ()):
            console.print(
                f"{outcome.run.id}: {change['key']} changed from {change['from']} to {change['to']} "
                f"at attempt {change['attempt']}, {change['at']}",
                soft_wrap=True,
            )
        realised = outcome.summary.get("mixture") or {}
        if len(realised) > 1:
            console.print(f"mixture of {outcome.run.id}: {shares(realised)} of the samples", soft_wrap=True)
    for line in _bad_data([outcome.summary for outcome in outcomes], check):
        console.print(line, style="yellow", soft_wrap=True, markup=False)
    console.print()


def _bad_data(summaries: Sequence[Mapping[str, Any]], check: str) -> list[str]:
    """What of the data could not be used, of all runs together: those of a pool told nobody where they were trained."""
    kinds = ("bad_samples", "bad_validation_samples")
    bad = {name: why for one in summaries for kind in kinds for name, why in (one.get(kind) or {}).items()}
    left_out = list(dict.fromkeys(text for one in summaries for text in one.get("left_out") or ()))
    return [*unusable_text(bad, check), *left_out_text(len(left_out), left_out, check)]

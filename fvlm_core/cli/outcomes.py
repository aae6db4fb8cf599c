"""Training all runs of a recipe from the command line: what is shown while they train, and what came of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fvlm_core.cli.console import nowhere, stdout

if TYPE_CHECKING:
    from rich.console import Console

    from fvlm_core.execution.sequential import Outcome
    from fvlm_core.recipes.read import Recipe
    from fvlm_core.scaling.fit.report import FitReport
    from fvlm_core.training.process_group import Ranks


def train_all(
    recipe: Recipe,
    root: Path,
    allowed: tuple[str, ...],
    ranks: Ranks | None = None,
    *,
    force: bool = False,
    rehearsal: bool = False,
) -> list[Outcome]:
    """Train what is not complete, with a display of it. force: also what the estimate of memory says cannot fit.

    rehearsal: whether the records say that this is one.
    """
    from fvlm_core.cli.display import Display
    from fvlm_core.execution.sequential import complete_runs, completed, prepare, run_all
    from fvlm_core.planning.plan import refuse_misfits
    from fvlm_core.training.process_group import Ranks
    from fvlm_core.training.signals import StopRequest

    ranks = ranks or Ranks()
    outcomes = ranks.in_turn(lambda: completed(recipe, root, allowed))
    console = stdout() if ranks.first else nowhere()
    if outcomes is None:
        with Display(console, len(recipe.runs)) as display:
            # Ctrl-C ends this at once: what is rendered stays
            data = ranks.in_turn(lambda: prepare(recipe, root, display.work))
            if not force:
                ranks.on_first(lambda: refuse_misfits(recipe, data, complete_runs(recipe, root), ranks.size))
            with StopRequest() as stop:
                outcomes = run_all(recipe, root, data, display, stop, allowed, ranks, rehearsal=rehearsal)
    say_skipped(console, recipe, outcomes)
    return outcomes


def say_skipped(console: Console, recipe: Recipe, outcomes: list[Outcome]) -> None:
    """One line where there was nothing to do."""
    if all(outcome.skipped for outcome in outcomes):
        runs = "1 run" if len(outcomes) == 1 else f"{len(outcomes)} runs"
        console.print(f"{recipe.name}: already complete ({runs})")


def show_outcomes(outcomes: list[Outcome]) -> None:
    """The table of runs. "of blind" is the loss on the caption's own words as a share of the blind run's."""
    from fvlm_core.cli.console import new_table, print_table
    from fvlm_core.cli.display import clock
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
    print_table(table)
    for outcome in outcomes:
        for change in outcome.summary.get("drift", ()):
            stdout().print(
                f"{outcome.run.id}: {change['key']} changed from {change['from']} to {change['to']} "
                f"at attempt {change['attempt']}, {change['at']}",
                soft_wrap=True,
            )
        realised = outcome.summary.get("mixture") or {}
        if len(realised) > 1:
            stdout().print(f"mixture of {outcome.run.id}: {shares(realised)} of the samples", soft_wrap=True)
    stdout().print()


def fit_outcomes(recipe: Recipe, outcomes: list[Outcome], root: Path, heading: str = "") -> list[FitReport]:
    """The recipe's fits on its own runs, printed, drawn and kept beside them. heading: of the picture."""
    from fvlm_core.cli.fit_view import print_fit
    from fvlm_core.interchange.export import FITS, PLOT, scaling_fits
    from fvlm_core.report.figures import scaling_law_plot
    from fvlm_core.runs.store import open_run
    from fvlm_core.scaling.fit.fitting import fit_runs
    from fvlm_core.utils.atomic_files import write_json

    folder = root / recipe.name
    reports = fit_runs([open_run(outcome.folder) for outcome in outcomes], recipe.fits, str(folder))
    for report in reports:
        print_fit(stdout(), report)
    write_json(folder / FITS, {**scaling_fits(reports), "reports": [report.to_json() for report in reports]})
    scaling_law_plot(reports, folder / PLOT, heading=heading)
    stdout().print(f"fits: {folder / FITS}", soft_wrap=True)
    stdout().print(f"plot: {folder / PLOT}", soft_wrap=True)
    return reports

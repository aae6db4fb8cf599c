"""`fvlm run`: train every run of a recipe, then fit, draw, and say where everything is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.console import nowhere, stdout
from fvlm_core.cli.launch_options import LaunchRequest, launch_options
from fvlm_core.cli.options import runs_option

if TYPE_CHECKING:
    from rich.console import Console

    from fvlm_core.campaign import Outcome
    from fvlm_core.recipes.read import Recipe
    from fvlm_core.training.ranks import Ranks


@click.command("run")
@click.argument("recipe")
@click.option(
    "-o", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key: -o training.steps=10."
)
@runs_option
@click.option(
    "--allow-drift",
    "allowed",
    multiple=True,
    metavar="KEY",
    help="Continue a run although this key of its recipe has changed; recorded with the run.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="RUN",
    help="Train this run of the recipe alone, and make no fits; repeatable.",
)
@launch_options
@click.option("--dry-run", is_flag=True, help="Print the resolved recipe and the plan; train nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: the plan as JSON.")
def command(
    recipe: str,
    overrides: tuple[str, ...],
    root: Path,
    allowed: tuple[str, ...],
    only: tuple[str, ...],
    request: LaunchRequest,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Train every run of RECIPE (a file, or the name of a shipped recipe).

    Runs that are complete are skipped, interrupted ones continue where they stopped: running the same command
    again is always right.
    """
    if as_json and not dry_run:
        raise click.UsageError("--json goes with --dry-run")
    from fvlm_core.recipes.read import read_recipe

    if dry_run:
        read = _chosen(read_recipe(recipe, overrides), only)
        _dry_run(read, as_json)
        if request.launcher is not None and not as_json:
            from fvlm_core.cli.launch import show_commands
            from fvlm_core.launching.jobs import CommandLine

            show_commands(read, CommandLine(recipe, root, overrides, allowed), request)
        return
    failure = None
    if request.launcher is not None:
        from fvlm_core.cli.launch import launch
        from fvlm_core.launching.jobs import CommandLine

        read = _chosen(read_recipe(recipe, overrides), only)
        outcomes, failure = launch(read, CommandLine(recipe, root, overrides, allowed), request)
        if len(outcomes) == len(read.runs):
            _say_skipped(stdout(), read, outcomes)
    elif int(os.environ.get("WORLD_SIZE", "1")) > 1:
        outcomes, read = _train_with_others(recipe, overrides, root, allowed, only)
    else:
        read = _chosen(read_recipe(recipe, overrides), only)
        outcomes = _train(read, root, allowed)
    if outcomes is None:
        return  # the first rank shows them
    if outcomes:
        _show(outcomes)
        if read.fits:
            _fit(read, outcomes, root)
    stdout().print(f"runs: {root / read.name}")
    if failure is not None:
        raise failure


def _chosen(recipe: Recipe, names: tuple[str, ...]) -> Recipe:
    from fvlm_core.recipes.read import only

    return only(recipe, names) if names else recipe


def _dry_run(recipe: Recipe, as_json: bool) -> None:
    import json

    from fvlm_core.cli.plan_view import plan_json, show_plan
    from fvlm_core.plan import plan

    plans = plan(recipe)
    if as_json:
        click.echo(json.dumps(plan_json(recipe, plans), indent=2))
    else:
        show_plan(stdout(), recipe, plans)


def _train(recipe: Recipe, root: Path, allowed: tuple[str, ...], ranks: Ranks | None = None) -> list[Outcome]:
    from fvlm_core.campaign import completed, prepare, run_all
    from fvlm_core.cli.display import Display
    from fvlm_core.training.ranks import Ranks
    from fvlm_core.training.stop import StopRequest

    ranks = ranks or Ranks()
    outcomes = ranks.in_turn(lambda: completed(recipe, root, allowed))
    console = stdout() if ranks.first else nowhere()
    if outcomes is None:
        with Display(console, len(recipe.runs)) as display:
            # Ctrl-C ends this at once: what is rendered stays
            data = ranks.in_turn(lambda: prepare(recipe, root, display.work))
            with StopRequest() as stop:
                outcomes = run_all(recipe, root, data, display, stop, allowed, ranks)
    _say_skipped(console, recipe, outcomes)
    return outcomes


def _say_skipped(console: Console, recipe: Recipe, outcomes: list[Outcome]) -> None:
    if all(outcome.skipped for outcome in outcomes):
        runs = "1 run" if len(outcomes) == 1 else f"{len(outcomes)} runs"
        console.print(f"{recipe.name}: already complete ({runs})")


def _train_with_others(
    name: str, overrides: tuple[str, ...], root: Path, allowed: tuple[str, ...], only: tuple[str, ...]
) -> tuple[list[Outcome] | None, Recipe]:
    """Under torchrun: the outcomes on the first rank, None on the others."""
    from fvlm_core.errors import FvlmError
    from fvlm_core.recipes.read import read_recipe
    from fvlm_core.training.ranks import join, leave

    ranks = join()
    recipe = ranks.in_turn(lambda: _chosen(read_recipe(name, overrides), only))
    try:
        outcomes = _train(recipe, root, allowed, ranks)
    except FvlmError:
        raise
    except Exception as error:
        raise ranks.named(error) from error
    leave()
    return (outcomes if ranks.first else None), recipe


def _show(outcomes: list[Outcome]) -> None:
    """The table of runs. "of blind" is the loss on the caption's own words as a share of the blind run's."""
    from fvlm_core.cli.console import new_table, print_table
    from fvlm_core.cli.display import clock
    from fvlm_core.data.realised import shares

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


def _fit(recipe: Recipe, outcomes: list[Outcome], root: Path) -> None:
    """The recipe's fits on its own runs, printed, drawn and kept beside them."""
    from fvlm_core.cli.fit_view import print_fit
    from fvlm_core.report.figures import scaling_law_plot
    from fvlm_core.runs.export import FITS, PLOT, scaling_fits
    from fvlm_core.runs.files import write_json
    from fvlm_core.runs.store import open_run
    from fvlm_core.scaling.fitting import fit_runs

    folder = root / recipe.name
    reports = fit_runs([open_run(outcome.folder) for outcome in outcomes], recipe.fits, str(folder))
    for report in reports:
        print_fit(stdout(), report)
    write_json(folder / FITS, {**scaling_fits(reports), "reports": [report.to_json() for report in reports]})
    scaling_law_plot(reports, folder / PLOT)
    stdout().print(f"fits: {folder / FITS}", soft_wrap=True)
    stdout().print(f"plot: {folder / PLOT}", soft_wrap=True)

"""`fvlm run`: train every run of a recipe, then fit, draw, and say where everything is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.console import stdout
from fvlm_core.cli.options import runs_option

if TYPE_CHECKING:
    from fvlm_core.campaign import Outcome
    from fvlm_core.recipes.read import Recipe


@click.command("run")
@click.argument("recipe")
@click.option(
    "-o", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key: -o training.steps=10."
)
@runs_option
@click.option("--dry-run", is_flag=True, help="Print the resolved recipe and the plan; train nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: the plan as JSON.")
def command(recipe: str, overrides: tuple[str, ...], root: Path, dry_run: bool, as_json: bool) -> None:
    """Train every run of RECIPE (a file, or the name of a shipped recipe).

    Runs that are complete are skipped, interrupted ones continue where they stopped: running the same command
    again is always right.
    """
    if as_json and not dry_run:
        raise click.UsageError("--json goes with --dry-run")
    from fvlm_core.recipes.read import read_recipe

    read = read_recipe(recipe, overrides)
    if dry_run:
        _dry_run(read, as_json)
        return
    from fvlm_core.campaign import completed

    outcomes = completed(read, root)
    if outcomes is not None:
        stdout().print(f"{read.name}: already complete ({len(outcomes)} runs)")
        _show(read, outcomes, root)
        return
    _finish(read, _train(read, root), root)


def _dry_run(recipe: Recipe, as_json: bool) -> None:
    import json

    from fvlm_core.cli.plan_view import plan_json, show_plan
    from fvlm_core.plan import plan

    plans = plan(recipe)
    if as_json:
        click.echo(json.dumps(plan_json(recipe, plans), indent=2))
    else:
        show_plan(stdout(), recipe, plans)


def _train(recipe: Recipe, root: Path) -> list[Outcome]:
    from fvlm_core.campaign import prepare, run_all
    from fvlm_core.cli.display import Display
    from fvlm_core.training.stop import StopRequest

    with Display(stdout(), len(recipe.runs)) as display:
        data = prepare(recipe, display.work)  # Ctrl-C ends this at once: what is rendered stays
        with StopRequest() as stop:
            return run_all(recipe, root, data, display, stop)


def _finish(recipe: Recipe, outcomes: list[Outcome], root: Path) -> None:
    """The fits and the plot of what was just trained, then the table."""
    _show(recipe, outcomes, root)


def _show(recipe: Recipe, outcomes: list[Outcome], root: Path) -> None:
    from fvlm_core.cli.console import new_table, print_table
    from fvlm_core.cli.display import clock

    numbers = ("parameters", "samples", "best val", "at step", "words", "time")
    table = new_table("run", "size", *numbers, right=numbers)
    for outcome in outcomes:
        summary = outcome.summary
        table.add_row(
            outcome.run.id,
            summary["model_size"],
            f"{summary['total_params']:,}",
            f"{summary['total_samples']:,}",
            f"{summary['best_val_loss']:.4f}",
            str(summary["best_val_step"]),
            f"{summary['best_val_loss_content']:.4f}" if summary["best_val_loss_content"] is not None else "",
            clock(summary["wall_time_hours"] * 3600),
        )
    print_table(table)
    stdout().print(f"runs: {root / recipe.name}")

"""`fvlm run`: train every run of a recipe, then fit, draw, and say where everything is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.console import nowhere, stdout
from fvlm_core.cli.counts import Finite
from fvlm_core.cli.help import Command
from fvlm_core.cli.launch_options import LaunchRequest, launch_options
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import key_option, runs_option
from fvlm_core.cli.outcomes import fit_outcomes
from fvlm_core.cli.path_types import RECIPE_OR_PATH
from fvlm_core.cli.streams import need_stdout
from fvlm_core.training.world import world_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from fvlm_core.execution.sequential import Outcome
    from fvlm_core.planning.run_plan import RunPlan
    from fvlm_core.recipes.read import Recipe


@click.command("run", cls=Command)
@click.argument("recipe", type=RECIPE_OR_PATH)
@key_option("overrides", "key", "Change one key: -o training.steps=10.")
@runs_option
@click.option(
    "--allow-drift",
    "allowed",
    multiple=True,
    metavar="KEY",
    shell_complete=completing("changed key"),
    help="Continue a run although this key of its recipe has changed; recorded with the run.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="RUN",
    shell_complete=completing("own run"),
    help="Train this run of the recipe alone, or those that match (*, ? and [..]), and make no fits; repeatable.",
)
@click.option(
    "--decay-from",
    metavar="RUN@STEP",
    help="Train the decay of a schedule alone, from a checkpoint of the stable part of a run of this recipe.",
)
@launch_options
@click.option("--dry-run", is_flag=True, help="Print the resolved recipe and the plan; train nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: the plan as JSON.")
@click.option(
    "--device",
    metavar="GPU",
    shell_complete=completing("gpu"),
    help='With --dry-run: plan for a GPU that is not here, as in "RTX 5090".',
)
@click.option(
    "--mfu",
    type=Finite(0, 1, min_open=True),
    metavar="SHARE",
    help="With --dry-run: the share of the device's peak that training reaches; default: measured here.",
)
@click.option("--force", is_flag=True, help="Run what the estimate of memory says cannot fit.")
@click.option(
    "--rehearse",
    is_flag=True,
    help="Run the same graph of runs shrunk, on stand-in data, in minutes on a CPU, in a place of its own.",
)
def command(
    recipe: str,
    overrides: tuple[str, ...],
    root: Path,
    allowed: tuple[str, ...],
    only: tuple[str, ...],
    decay_from: str | None,
    request: LaunchRequest,
    dry_run: bool,
    as_json: bool,
    device: str | None,
    mfu: float | None,
    force: bool,
    rehearse: bool,
) -> None:
    """Train every run of RECIPE (a file, or the name of a shipped recipe).

    Runs that are complete are skipped, interrupted ones continue where they stopped: running the same command
    again is always right.
    """
    for name, given in (("--json", as_json), ("--device", device), ("--mfu", mfu)):
        if given and not dry_run:
            raise click.UsageError(f"{name} goes with --dry-run")
    from fvlm_core.recipes.read import only as chosen
    from fvlm_core.recipes.read import read_recipe

    if decay_from is not None:
        for name, given in (("--launcher", request.launcher), ("--only", only), ("--rehearse", rehearse)):
            if given:
                raise click.UsageError(f"--decay-from trains one run in this process; leave {name} out")

    def read_chosen() -> Recipe:
        """The runs that were asked for."""
        read = read_recipe(recipe, overrides)
        if decay_from is not None:
            from fvlm_core.execution.decay import decaying

            return decaying(read, decay_from, root)
        return chosen(read, only) if only else read

    if rehearse:
        from fvlm_core.cli.rehearsing import rehearse_recipe

        if request.launcher is not None:
            raise click.UsageError("--rehearse trains in this process; leave --launcher out")
        for name, given in (("--device", device), ("--mfu", mfu)):
            if given:
                raise click.UsageError(
                    f"{name}: a rehearsal is planned for this machine; leave it or --rehearse out"
                )
        read = read_chosen()
        rehearse_recipe(read, root, allowed, dry_run=dry_run, as_json=as_json)
        return
    if dry_run:
        need_stdout(True)
        read = read_chosen()
        plans = _dry_run(read, root, overrides, as_json, device, mfu)
        if (launching := request.for_recipe(read)).launcher is not None and not as_json:
            from fvlm_core.cli.launch import show_jobs
            from fvlm_core.execution.jobs import CommandLine

            line = CommandLine(recipe, root, overrides, allowed, force)
            show_jobs(read, plans, line, launching, each=request.launcher is not None)
        return
    failure = None
    if world_size() > 1 and request.launcher is None:
        outcomes, read = _train_with_others(read_chosen, root, allowed, force)
    elif (launching := request.for_recipe(read := read_chosen())).launcher is not None:
        from fvlm_core.cli.launch import launch
        from fvlm_core.execution.jobs import CommandLine

        outcomes, failure = launch(read, CommandLine(recipe, root, overrides, allowed, force), launching)
        if len(outcomes) == len(read.runs):
            from fvlm_core.api.views.outcomes import say_skipped

            say_skipped(stdout(), read, outcomes)
    else:
        from fvlm_core.api.train import train_all

        outcomes = train_all(read, root, allowed, stdout(), force=force)
    if outcomes is None:
        return  # the first rank shows them
    if outcomes:
        from fvlm_core.api.views.bad_data import check_command
        from fvlm_core.api.views.outcomes import show_outcomes

        show_outcomes(stdout(), outcomes, check_command(recipe, overrides))
        if read.fits:
            fit_outcomes(read, outcomes, root)
    stdout().print(f"runs: {root / read.name}")
    if failure is not None:
        raise failure


def _dry_run(
    recipe: Recipe,
    root: Path,
    overrides: tuple[str, ...],
    as_json: bool,
    device: str | None,
    mfu: float | None,
) -> list[RunPlan]:
    import json

    from fvlm_core.api.plan import planned
    from fvlm_core.api.views.plan import plan_json, show_plan

    plans = planned(recipe, root, device, mfu)
    if as_json:
        click.echo(json.dumps(plan_json(recipe, plans), indent=2))
    else:
        show_plan(stdout(), recipe, plans, overrides=overrides)
    return plans


def _train_with_others(
    read: Callable[[], Recipe], root: Path, allowed: tuple[str, ...], force: bool
) -> tuple[list[Outcome] | None, Recipe]:
    """Under torchrun or srun: the outcomes on the first rank, None on the others."""
    from fvlm_core.api.train import train_all
    from fvlm_core.training.process_group import join, leave
    from fvlm_core.utils.errors import FvlmError

    ranks = join()
    if any(given != sys.argv[1:] for given in ranks.exchange(sys.argv[1:])):
        raise ranks.refusal(
            f"the {ranks.size} processes that train together were given different command lines; expected one of all. "
            "Tasks of one srun that each train a run of their own: srun with WORLD_SIZE=1 in their environment"
        )
    recipe = ranks.in_turn(read)
    try:
        console = stdout() if ranks.first else nowhere()
        outcomes = train_all(recipe, root, allowed, console, ranks=ranks, force=force)
    except FvlmError:
        raise
    except Exception as error:
        raise ranks.named(error) from error
    leave()
    return (outcomes if ranks.first else None), recipe

"""`fvlm run --launcher`: the runs of a recipe as jobs beside each other, watched until all is done."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click
from attrs import evolve

from fvlm_core.api.views.display import Display
from fvlm_core.cli.console import stderr, stdout
from fvlm_core.cli.launch_options import LaunchRequest
from fvlm_core.cli.launch_plan import jobs_text
from fvlm_core.cli.launch_view import LaunchView, failures_text
from fvlm_core.execution.grid import Grid, open_grid, open_launcher, prepare_data
from fvlm_core.execution.jobs import CommandLine, earlier_runs
from fvlm_core.execution.sequential import Outcome
from fvlm_core.interfaces.launcher import Launcher
from fvlm_core.planning.run_plan import RunPlan
from fvlm_core.recipes.read import Recipe, read_launcher
from fvlm_core.training.signals import Stopped, StopRequest
from fvlm_core.training.world import world_size
from fvlm_core.utils.errors import FvlmError, UsageError

_PATIENCE = 15.0
"""Seconds beyond the jobs' own time to save, after which a signal ends this process too."""


def launch(
    recipe: Recipe, line: CommandLine, request: LaunchRequest
) -> tuple[list[Outcome], FvlmError | None]:
    """Start what is missing, and wait. The outcomes of what is complete, and what failed or is not done yet.

    Raises `Stopped` after a signal, when the jobs have saved, and `UsageError` before anything is started.
    """
    line, launcher = _prepared(line, request)
    grid = open_grid(recipe, line)
    missing = grid.missing()
    if not missing:
        return grid.outcomes(), None
    launcher.open()
    with Display(stderr(), len(missing)) as display:
        prepare_data(grid, display.work)
    if len(missing) < len(grid.entries):
        stdout().print(
            f"{recipe.name}: {len(grid.entries) - len(missing)} of {len(grid.entries)} runs are complete"
        )
    if request.detach:
        return _submit(grid, launcher, request)
    grace = max(run.config.checkpoints.grace for run in recipe.runs) + _PATIENCE
    with StopRequest(grace) as stop, LaunchView(stdout()) as view:
        pool = grid.pool(launcher, request.jobs, request.retries, view)
        pool.run(lambda: stop.number is not None)
        number = stop.number
    failed = [entry for entry in grid.entries if entry.state == "failed"]
    if failed:
        stderr().print(failures_text(failed), soft_wrap=True)
    if number is not None and any(entry.state == "stopped" for entry in grid.entries):
        raise Stopped(number)
    text = f"{len(failed)} of {len(grid.entries)} runs failed; the same command starts them again"
    return grid.outcomes(), FvlmError(text) if failed else None


def show_jobs(
    recipe: Recipe, plans: Sequence[RunPlan], line: CommandLine, request: LaunchRequest, *, each: bool
) -> None:
    """Print what the runs take of a launcher; with `each` the command lines that would run, and what they wait for."""
    line, launcher = _prepared(line, request)
    after = {run.id: earlier_runs(recipe, run, line.root) for run in recipe.runs}
    stdout().print()
    for text in jobs_text(recipe, plans, after, launcher, request.jobs):
        stdout().print(text, soft_wrap=True)
    if not each:
        return
    stdout().print(f"\n{request.launcher}, {request.jobs} at once; a run that is complete is not started:")
    for run in recipe.runs:
        waits = f"  # after {', '.join(after[run.id])}" if after[run.id] else ""
        stdout().print(shlex.join(line.of(run)) + waits, soft_wrap=True)


def _prepared(line: CommandLine, request: LaunchRequest) -> tuple[CommandLine, Launcher]:
    """The launcher, and the command line with as many processes as it starts for a job."""
    if world_size() > 1:
        raise UsageError(
            "--launcher starts processes of its own; expected without torchrun, in one task of srun"
        )
    assert request.launcher is not None
    gpus = [f'gpus="{request.gpus}"'] if request.gpus is not None else []
    chosen = read_launcher(request.launcher, [*request.settings, *gpus])
    launcher = open_launcher(chosen, request.jobs)
    if request.detach and not launcher.detached:
        raise click.UsageError(f"--detach: the jobs of launcher {request.launcher} end with this command")
    return evolve(line, processes=launcher.processes), launcher


def _submit(grid: Grid, launcher: Launcher, request: LaunchRequest) -> tuple[list[Outcome], FvlmError | None]:
    with LaunchView(stdout()) as view:
        grid.pool(launcher, request.jobs, request.retries, view).submit()
    left = sum(entry.state != "running" for entry in grid.missing())
    stdout().print(
        f"submitted; the same command shows the jobs{f' and submits the other {left}' if left else ''}"
    )
    return [], None

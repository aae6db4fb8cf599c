"""`fvlm verify-resume`: the proof, on the user's own machine, that a killed run continues bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.help import Command
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import key_option, runs_option
from fvlm_core.cli.path_types import RECIPE_OR_PATH

if TYPE_CHECKING:
    from fvlm_core.execution.verify_resume.proof import Verdict
    from fvlm_core.recipes.read import Recipe, Run

STEPS = 5


@click.command(
    "verify-resume", cls=Command, short_help="Prove on this machine that a killed run continues bit for bit."
)
@click.argument("recipe", type=RECIPE_OR_PATH)
@click.option(
    "--run",
    "run_id",
    metavar="ID",
    shell_complete=completing("own run"),
    help="Which run of the recipe.  [default: the first]",
)
@click.option(
    "--steps",
    "n",
    type=click.IntRange(min=1),
    metavar="N",
    help=f"Steps before the checkpoint that is resumed from, and again after it.  [default: {STEPS}]",
)
@key_option("overrides", "key", "Change one key: -o training.steps=10.")
@runs_option
def command(recipe: str, run_id: str | None, n: int | None, overrides: tuple[str, ...], root: Path) -> None:
    """Train a run of RECIPE for 2N steps; train it again, kill it (SIGKILL) past step N, resume it to 2N; compare.

    Weights, optimizer state and every metric that no clock decides must be equal to the last bit; else the first
    difference is printed and the exit code is 1. Schedule and data are those of the whole run, of which these are the
    first steps. Everything happens in a temporary folder (TMPDIR says where); the folder of runs is left alone.
    """
    from tempfile import TemporaryDirectory

    from fvlm_core.cli.console import stdout
    from fvlm_core.execution.verify_resume.child import ChildTask
    from fvlm_core.execution.verify_resume.proof import prove
    from fvlm_core.recipes.read import read_recipe
    from fvlm_core.utils.errors import FvlmError

    read = read_recipe(recipe, overrides)
    run = _chosen(read, run_id)
    n = _steps(run, n)
    _prepare(read, run, root)
    with TemporaryDirectory(prefix="fvlm-verify-") as folder:
        task = ChildTask(recipe, overrides, run.id, root, Path(folder), n, until=2 * n, wait=False)
        verdict = prove(task, read.name, lambda text: stdout().print(text, soft_wrap=True))
    _show(verdict)
    if verdict.difference is not None:
        raise FvlmError(
            f"{read.name}/{run.id} does not continue bit for bit. The first difference:\n"
            f"  {verdict.difference.text}{_hint(run)}"
        )
    stdout().print(
        f"{read.name}/{run.id}: killed after step {verdict.killed_at}, continued from step {n}, "
        f"equal to the last bit at step {2 * n}",
        soft_wrap=True,
    )


def _chosen(read: Recipe, run_id: str | None) -> Run:
    from fvlm_core.weights.imported_run import choose_run

    return read.runs[0] if run_id is None else choose_run(read, run_id)


def _steps(run: Run, n: int | None) -> int:
    """n, or the default; less where the recipe says that the run has fewer steps. Raises `UsageError`."""
    from fvlm_core.training.length import Length, Spent
    from fvlm_core.utils.errors import UsageError

    if run.config.training.budget is not None:  # as long as it takes, far more than the default
        return n or STEPS
    steps = Length.of(run.config.training, Spent(1.0)).steps
    if steps < 2 or (n is not None and 2 * n > steps):
        raise UsageError(f"{run.id} has {steps} steps: too few to train {2 * (n or 1)}; lower --steps")
    return n or min(STEPS, steps // 2)


def _prepare(read: Recipe, run: Run, root: Path) -> None:
    """Make the data here, where progress is shown; the processes of the proof find them made."""
    from attrs import evolve

    from fvlm_core.api.views.display import Display
    from fvlm_core.cli.console import stdout
    from fvlm_core.execution.sequential import prepare

    with Display(stdout(), 1) as display:
        prepare(evolve(read, runs=(run,)), root, display.work)


def _show(verdict: Verdict) -> None:
    from fvlm_core.api.views.console import new_table
    from fvlm_core.cli.console import print_table

    table = new_table("equal", "compared", "sha256")
    for equal in verdict.equal:
        table.add_row(equal.what, equal.amount, equal.hash[:16])
    if verdict.equal:
        print_table(table)


def _hint(run: Run) -> str:
    from fvlm_core.hardware.devices import pick_device

    if pick_device(run.config.training.device) == "cpu" or run.config.training.deterministic:
        return ""
    return "\nOn a GPU bits are promised under training.deterministic = true alone; try it with -o"

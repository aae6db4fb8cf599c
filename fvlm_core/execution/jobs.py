"""A run as a job: its command line, its logs, and the runs that it waits for."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from attrs import frozen

from fvlm_core.execution.begun import run_folder
from fvlm_core.interfaces.launcher import Job
from fvlm_core.recipes.read import Recipe, Run
from fvlm_core.utils.atomic_files import refuse_link
from fvlm_core.utils.paths import user_path

_LOGS = "log"
_TAIL = 8 * 1024

_SIGNALS = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1,SIGUSR2"
"""What torchrun passes on to its ranks; of the last two, with which schedulers ask for a requeue, it else dies."""


@frozen
class CommandLine:
    """What every job of a recipe is started with.

    recipe: as the user named it. overrides, allowed, force: as `fvlm run` takes them. processes: of one job.
    """

    recipe: str
    root: Path
    overrides: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    force: bool = False
    processes: int = 1

    def of(self, run: Run) -> tuple[str, ...]:
        """The command line that trains one run. -P: modules of the folder it is started in shadow none of ours."""
        start = [sys.executable, "-P", "-m"]
        if self.processes > 1:
            start += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(self.processes)]
            start += ["--signals-to-handle", _SIGNALS, "-m"]
        given = [part for text in self.overrides for part in ("-o", text)]
        given += [part for key in self.allowed for part in ("--allow-drift", key)]
        given += ["--force"] if self.force else []
        root = str(self.root.absolute())
        return (*start, "fvlm_core", "run", self.recipe, *given, "--runs", root, "--only", run.id)


def make_job(recipe: Recipe, run: Run, line: CommandLine) -> Job:
    """The next start of a run."""
    folder = run_folder(line.root, recipe, run)
    return Job(
        name=f"{recipe.name}/{run.id}",
        command=line.of(run),
        folder=Path.cwd(),
        environment={"PYTHONUNBUFFERED": "1"},
        log=next_log(folder.absolute()),
        grace=run.config.checkpoints.grace,
    )


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of a log that say something."""
    try:
        with log.open("rb") as handle:
            handle.seek(0, 2)
            handle.seek(max(0, handle.tell() - _TAIL))
            text = handle.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line.rstrip() for line in text.splitlines() if line.strip()][-lines:]


def earlier_runs(recipe: Recipe, run: Run, root: Path) -> tuple[str, ...]:
    """The ids of the recipe's own runs, left-out ones not counted, that this run starts from."""
    training = run.config.training
    starts = [*([training.init_from] if training.init_from else []), *training.objective_spec.after]
    return tuple(
        other.id
        for other in recipe.runs
        if other.order < run.order and any(_means(start, recipe, other, root) for start in starts)
    )


def _means(start: str, recipe: Recipe, other: Run, root: Path) -> bool:
    """Whether `start` is this run: "recipe/id", its id, or its folder."""
    if start in (f"{recipe.name}/{other.id}", other.id):
        return True
    return user_path(start).absolute() == run_folder(root, recipe, other).absolute()


def latest_log(folder: Path) -> Path:
    """The log of the latest start of the run in `folder`."""
    logs = folder / _LOGS
    return logs / f"start-{_last(logs)}.txt"


def next_log(folder: Path) -> Path:
    """`log/start-N.txt`, N counted from 1."""
    logs = folder / _LOGS
    refuse_link(folder.parent, folder, logs)
    logs.mkdir(parents=True, exist_ok=True)
    return logs / f"start-{_last(logs) + 1}.txt"


def _last(logs: Path) -> int:
    names: Sequence[str] = [path.name for path in logs.iterdir()]
    found = [re.fullmatch(r"start-(\d+)\.txt", name) for name in names]
    return max((int(match[1]) for match in found if match), default=0)

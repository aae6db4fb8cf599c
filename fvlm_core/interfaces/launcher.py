"""Launchers: where the runs of a recipe run beside each other. Imports nothing heavy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from attrs import frozen

from fvlm_core.utils.errors import FvlmError


class NotNow(FvlmError):
    """A job cannot be started now and may be later: a queue is full, a controller does not answer."""


@frozen
class Job:
    """A command line that may be started at any time, again and again: it does what is missing, and only that.

    name: the run's, "recipe/id". command: program and arguments. folder: where it is started. environment: variables
    beside those of this process. log: the file that its output is appended to; the file's folder is there, is the
    job's own, and a launcher may keep files of its own in it. grace: seconds that a job may take to save after SIGTERM,
    SIGUSR1 or SIGUSR2; a second signal ends it unsaved.
    """

    name: str
    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    log: Path
    grace: float


@frozen
class Ended:
    """How a start of a job ended. code: the exit code; -N when signal N ended it, whoever sent it (a machine that
    failed ends its jobs as SIGKILL does). text: what the launcher knows beside it ("NODE_FAIL"), for people.
    """

    code: int
    text: str = ""


class Task(ABC):
    """One start of one job. place: where it is and what it waits for, for people ("slot 2, GPU 1"); `poll` may change
    it, which is then told."""

    place: str

    @abstractmethod
    def poll(self) -> Ended | None:
        """How it ended; None while it has not. Called every `Launcher.every` seconds; must not wait."""

    @abstractmethod
    def stop(self) -> None:
        """Ask it to save and end, with one SIGTERM to the job's own process; do not wait for it."""

    @abstractmethod
    def kill(self) -> None:
        """It was asked and did not end in time: end it."""


class Launcher(ABC):
    """Starts jobs. The component's target is `build(config, slots: int) -> Launcher`.

    slots: how many jobs there are at once, at most. What may be started when, and what is started again, is decided by
    the caller. Making a launcher starts nothing and needs nothing of the machine: a dry run makes one.

    processes: of one job; with more than one, the command line begins with torchrun. every: seconds between looks at
    the tasks. gpus: of one job, 0 where nobody says. limit: seconds that a start may train, None without one; both are
    for plans. together: whether it keeps to the slots itself, so that all jobs that may start are handed over at once,
    by `start_together`. detached: whether jobs go on when this process ends, so that `--detach` makes sense.
    """

    processes: int = 1
    every: float = 0.2
    gpus: int = 0
    limit: float | None = None
    together: bool = False
    detached: bool = False

    def open(self) -> None:
        """Called before anything is started. Raises `UsageError`, with the way out, when it cannot work here."""
        return

    @abstractmethod
    def start(self, job: Job, slot: int) -> Task:
        """Start a job. slot: 0 to slots - 1, free now. Raises `NotNow` when it may be started later, another
        `FvlmError` when it cannot be started."""

    def start_together(self, jobs: Sequence[Job]) -> list[Task]:
        """Start jobs that do not wait for each other, as one. Raises as `start`, and has then started none of them."""
        raise NotImplementedError

    def find(self, job: Job) -> Task | None:
        """A start of this job by an earlier process that has not ended; `job.log` names the next start's log."""
        return None

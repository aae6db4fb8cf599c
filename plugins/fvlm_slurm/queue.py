"""What SLURM says of jobs: `squeue`, which every cluster has, and `sacct` of those that have left it, for the reason.

submitit asks `sacct` alone: without accounting it knows nothing, and complains of that at every question.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable

from attrs import frozen

GONE = "GONE"
"""The state of a job that neither knows any more."""

OVER = (
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT", GONE),
)
"""States that a job which SLURM must not requeue does not leave."""

_WAIT = 60.0
"""Seconds for an answer; a controller that is away takes a client's whole time."""


@frozen
class JobState:
    """name: as SLURM has it; empty as long as nobody could be asked. reason: why a job waits ("Priority"), or empty."""

    name: str = ""
    reason: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing will become of it any more."""
        return self.name in OVER

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason else self.name


class Queue:
    """The states of jobs, as they were when last asked for.

    trouble: why SLURM could not be asked the last time; states are then those of the time before.
    """

    def __init__(self) -> None:
        self.trouble = ""
        self._states: dict[str, JobState] = {}
        self._accounting = True

    def state(self, job: str) -> JobState:
        """Of a job, by its id."""
        return self._states.get(job, JobState())

    def ask(self, jobs: Iterable[str]) -> None:
        """One question for all jobs, and one more for those that are in the queue no longer."""
        # Of one user, and not of ids: `squeue -j` fails for an id that it no longer knows. "all": those that ended in
        # the last minutes (MinJobAge), too.
        said = _answer("squeue", "-h", "-r", "-t", "all", "-u", str(os.getuid()), "-o", "%i|%T|%r")
        if isinstance(said, OSError):
            self.trouble = f"squeue: {said}"
            return
        self.trouble = ""
        found = {job: JobState(name, reason if name == "PENDING" else "") for job, name, reason in said}
        found = {
            job: JobState(state.name) if state.reason == "None" else state for job, state in found.items()
        }
        left = [job for job in jobs if job not in found and not self.state(job).over]
        self._states |= found
        self._states |= {job: JobState(GONE) for job in left} | self._accounted(left)

    def _accounted(self, jobs: list[str]) -> dict[str, JobState]:
        """How jobs ended, where that is recorded. Who is not there is not asked again: it is of no consequence."""
        if not jobs or not self._accounting:
            return {}
        said = _answer("sacct", "-n", "-X", "-P", "-o", "JobID,State,Reason", "-j", ",".join(jobs))
        if isinstance(said, OSError):
            self._accounting = False
            return {}
        # "CANCELLED by 1000" is cancelled; what has left the queue does not run, whatever is still recorded
        states = {job: JobState(state.partition(" ")[0]) for job, state, _ in said}
        return {job: state for job, state in states.items() if state.over}


def _answer(*command: str) -> list[tuple[str, str, str]] | OSError:
    """The rows of three columns that a client prints, or why there are none."""
    try:
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=_WAIT, check=False)
    except subprocess.TimeoutExpired:
        return OSError(f"no answer in {_WAIT:g} s")
    except OSError as error:
        return error
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        return OSError(lines[-1] if lines else f"exit code {done.returncode}")
    rows = [line.split("|", 2) for line in done.stdout.splitlines()]
    return [(row[0], row[1], row[2]) for row in rows if len(row) == 3]

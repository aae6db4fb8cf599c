"""Runs of a grid, or parts of packs: starts what may start, starts again what was interrupted, and lets nothing stop
the others."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from attrs import frozen

from fvlm_core.execution.entry import OPEN, Entry, State
from fvlm_core.execution.jobs import latest_log
from fvlm_core.interfaces.launcher import Ended, Job, Launcher, NotNow, Task
from fvlm_core.runs.store import QUEUED
from fvlm_core.training.signals import EXIT_CODES
from fvlm_core.utils.atomic_files import write_json
from fvlm_core.utils.errors import FvlmError

E = TypeVar("E", bound=Entry)
E_contra = TypeVar("E_contra", bound=Entry, contravariant=True)

SAVED = EXIT_CODES[signal.SIGUSR1]
"""The exit code of a job that saved and wants to be started again."""

_MARGIN = 5.0
"""Seconds beyond a job's own time to save, for ending its processes."""

_LOOK = 1.0
"""Seconds between looks at a lock that somebody else holds."""

_AGAIN = 15.0
"""Seconds until a launcher that took no job is asked again."""


class Watcher(Protocol[E_contra]):
    """Is told what happens."""

    def said(self, entry: E_contra, text: str) -> None:
        """Something became of one of them."""

    def seen(self, entries: Sequence[E_contra]) -> None:
        """A look at all of them is done."""


@frozen
class RetryPolicy:
    """slots: jobs at once. retries: starts that follow one another and bring nothing new, after the first.

    ambiguous: exit codes that may stand for an interruption too: torchrun ends with 1 whatever its ranks ended with.
    """

    slots: int
    retries: int
    ambiguous: tuple[int, ...] = ()


class Pool(Generic[E]):
    """The runs of one recipe, or the parts of packs, over one launcher's slots. job: makes the next start of one."""

    def __init__(
        self,
        entries: Sequence[E],
        launcher: Launcher,
        policy: RetryPolicy,
        job: Callable[[E], Job],
        watcher: Watcher[E],
    ) -> None:
        self.entries = entries
        self.launcher = launcher
        self.policy = policy
        self.job = job
        self.watcher = watcher
        self._by_id = {entry.name: entry for entry in entries}
        self._grace = max((entry.grace for entry in entries), default=0.0)
        self._looked = 0.0
        self._closed_until = 0.0
        self._gathered: list[tuple[E, Job]] = []

    def run(self, stopped: Callable[[], bool]) -> None:
        """Until nothing is open any more, or `stopped()`; then every job is asked to save, and waited for."""
        try:
            while self._open() and not stopped():
                self._look()
                if self._open():
                    time.sleep(self.launcher.every)
        finally:
            self._stop()

    def submit(self) -> None:
        """Start what may start now, and leave it to itself."""
        self._look()

    def _open(self) -> bool:
        return any(entry.state in OPEN for entry in self.entries)

    def _look(self) -> None:
        for entry in self.entries:
            if entry.state == "running":
                self._collect(entry)
        look_at_locks = time.monotonic() - self._looked >= _LOOK
        if look_at_locks:
            self._looked = time.monotonic()
        for entry in self.entries:
            if entry.state == "waiting":
                self._release(entry)
            if entry.state == "ready" or (entry.state == "held" and look_at_locks):
                self._start(entry)
        if self._gathered:
            starts, self._gathered = self._gathered, []
            self._launch(starts, lambda: self.launcher.start_together([job for _, job in starts]))
        self.watcher.seen(self.entries)

    def _release(self, entry: E) -> None:
        """Ready when what it starts from is complete, failed when that has failed."""
        before = [self._by_id[name] for name in entry.after]
        if all(other.state == "complete" for other in before):
            self._become(entry, "ready")
        failed = [other.name for other in before if other.state == "failed"]
        if failed:
            self._become(entry, "failed", f"not started: it starts from {failed[0]}, which failed")
            self.watcher.said(entry, entry.note)

    def _start(self, entry: E) -> None:
        """Start it where a slot is free, unless it is complete by now or somebody else writes it."""
        taken = {other.slot for other in self.entries if other.state == "running"}
        slot = next((slot for slot in range(self.policy.slots) if slot not in taken), None)
        if self.launcher.together:
            slot = 0  # nobody's
        if slot is None or time.monotonic() < self._closed_until:
            return
        entry.folder.mkdir(parents=True, exist_ok=True)
        job = self.job(entry)
        task = self.launcher.find(job) if not entry.tries else None
        if task is not None:
            self._run(entry, task, slot, f"found under way: {task.place}")
        else:
            owner = entry.holder()
            if owner:
                if entry.state != "held":
                    self._become(entry, "held", f"being written by {owner}")
                    self.watcher.said(entry, f"{entry.note}; it is waited for")
                return
            if entry.state == "held" and entry.is_complete():
                self._finish(entry)
                return
            entry.had = entry.gained()
            if self.launcher.together:
                self._gathered.append((entry, job))
            else:
                self._launch([(entry, job)], lambda: [self.launcher.start(job, slot)], slot)

    def _launch(
        self, starts: Sequence[tuple[E, Job]], start: Callable[[], list[Task]], slot: int | None = None
    ) -> None:
        """Start what may start, or say of each why not."""
        entries = [entry for entry, _ in starts]
        if self.launcher.detached:  # before it can begin, which ends it
            for entry in entries:
                write_json(entry.folder / QUEUED, {"by": os.getpid(), "on": socket.gethostname()})
        try:
            tasks = start()
        except NotNow as error:
            self._closed_until = time.monotonic() + _AGAIN
            for entry in entries:
                self._unqueue(entry)
                self._tell(entry, f"not yet: {error}; it is tried again")
            return
        except FvlmError as error:
            for entry in entries:
                self._unqueue(entry)
            if not any(other.tries for other in self.entries):
                raise  # the first one: the others would fare no better
            for entry in entries:
                self._become(entry, "failed", f"not started: {error}")
                self.watcher.said(entry, entry.note)
            return
        for entry, task in zip(entries, tasks, strict=True):
            entry.tries += 1
            again = f", start {entry.tries}" if entry.tries > 1 else ""
            self._run(entry, task, slot, f"started: {task.place}{again}")

    def _run(self, entry: E, task: Task, slot: int | None, text: str) -> None:
        entry.task, entry.slot, entry.since = task, slot, time.monotonic()
        self._become(entry, "running")
        self.watcher.said(entry, text)

    def _collect(self, entry: E) -> None:
        assert entry.task is not None
        place = entry.task.place
        ended = entry.task.poll()
        if ended is None:
            if entry.task.place != place:
                self.watcher.said(entry, entry.task.place)
            return
        self._unqueue(entry)
        entry.task = entry.slot = None
        entry.log = latest_log(entry.folder)
        if ended.code == 0 and entry.is_complete():
            self._finish(entry)
            return
        how = describe(ended)
        if ended.code == 1 and entry.holder():  # another process was faster
            entry.tries -= 1
            self._become(entry, "held", "another process was faster")
            self.watcher.said(entry, f"{entry.note}; it is waited for")
            return
        if not self._interrupted(ended):
            self._become(entry, "failed", f"{how} without finishing it" if ended.code == 0 else how)
            self.watcher.said(entry, f"failed: {entry.note}")
            return
        entry.fruitless = 0 if entry.gained() > entry.had else entry.fruitless + 1
        if entry.fruitless > self.policy.retries:
            starts = f"{entry.fruitless} starts in a row" if entry.fruitless > 1 else "a start"
            self._become(entry, "failed", f"{how}; {starts} brought no new {entry.gain} (--retries)")
            self.watcher.said(entry, f"failed: {entry.note}")
            return
        self._become(entry, "ready", how)
        self.watcher.said(entry, f"{how}; {entry.next_start()}")

    def _interrupted(self, ended: Ended) -> bool:
        """Whether the job was ended from outside rather than by itself. Ctrl-C is somebody's wish: not again."""
        number = -ended.code if ended.code < 0 else ended.code - 128 if ended.code > 128 else 0
        by_signal = number > 0 and number != signal.SIGINT
        return by_signal or ended.code == SAVED or ended.code in self.policy.ambiguous

    def _finish(self, entry: E) -> None:
        self._become(entry, "complete")
        self.watcher.said(entry, "complete")

    def _unqueue(self, entry: E) -> None:
        """What was submitted has begun, or will not."""
        (entry.folder / QUEUED).unlink(missing_ok=True)

    def _tell(self, entry: E, note: str) -> None:
        """Once, however often the same happens."""
        if entry.note != note:
            entry.note = note
            self.watcher.said(entry, note)

    def _become(self, entry: E, state: State, note: str = "") -> None:
        entry.state, entry.note = state, note

    def _stop(self) -> None:
        """Ask every job that runs to save, and end those that do not in time."""
        running = [entry for entry in self.entries if entry.state == "running"]
        for entry in running:
            assert entry.task is not None
            entry.task.stop()
        end = time.monotonic() + self._grace + _MARGIN
        while running and time.monotonic() < end:
            running = [entry for entry in running if entry.task is not None and entry.task.poll() is None]
            self.watcher.seen(self.entries)
            time.sleep(min(0.1, self.launcher.every) if running else 0.0)
        for entry in running:
            assert entry.task is not None
            entry.task.kill()
        for entry in self.entries:
            if entry.state in OPEN:
                self._unqueue(entry)
                if entry.is_complete():
                    self._finish(entry)
                else:
                    self._become(entry, "stopped")


def describe(ended: Ended) -> str:
    """How a start ended, for people."""
    if ended.code == SAVED:
        how = f"saved and ended, to be started again (exit code {SAVED})"
    elif ended.code < 0:
        how = f"ended by {_signal_name(-ended.code)}"
    elif ended.code > 128:
        how = f"ended after {_signal_name(ended.code - 128)} (exit code {ended.code})"
    else:
        how = f"exit code {ended.code}"
    return f"{how} ({ended.text})" if ended.text else how


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"

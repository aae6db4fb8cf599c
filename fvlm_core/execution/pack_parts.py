"""The parts of packs as jobs of a launcher: started, started again where they were interrupted, watched, and named."""

from __future__ import annotations

import signal
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define, field, frozen

from fvlm_core.datasets.shards.parts import Part, part_status
from fvlm_core.execution.jobs import next_log
from fvlm_core.execution.scheduler import describe
from fvlm_core.interfaces.launcher import Ended, Job, Launcher, NotNow, Task
from fvlm_core.utils.errors import FvlmError

LOGS = ".parts"
"""Beside the packs: a folder for the logs of each part."""

GRACE = 5.0
"""Seconds that a part may take to end: what it has finished is kept, and the rest is not worth saving."""

_AGAIN = 15.0
_LOOK = 5.0

STRAGGLES = 2.0
"""A part that takes this many times as long as the parts that are done, at the median, is named."""

Say = Callable[[str], None]


@frozen
class PackInParts:
    """folder, shards: of each pack that the parts are parts of. command: what packs one of them, without `--part`."""

    root: Path
    packs: tuple[tuple[Path, int], ...]
    parts: int
    command: tuple[str, ...]

    def lacking(self, part: Part) -> int:
        """How many shards a part lacks, of all packs."""
        return sum(len(part_status(folder, part, shards).lacking) for folder, shards in self.packs)

    def job(self, part: Part) -> Job:
        """Its next start."""
        own = self.root / LOGS / f"{part.number:05d}"
        return Job(
            name=f"pack/part-{part.number}",
            command=(sys.executable, "-P", "-m", "fvlm_core", *self.command, "--part", str(part.number)),
            folder=Path.cwd(),
            environment={"PYTHONUNBUFFERED": "1"},
            log=next_log(own.absolute()),
            grace=GRACE,
        )


@define
class _Entry:
    """A part under way. since: when its start began. fruitless: starts in a row that made no shard."""

    part: Part
    lacking: int
    state: str = "ready"
    note: str = ""
    task: Task | None = field(default=None, repr=False)
    slot: int = -1
    since: float = 0.0
    named: bool = False
    tries: int = 0
    fruitless: int = 0


class PartPool:
    """The parts over the slots of a launcher. retries: starts that follow one another without a new shard."""

    def __init__(self, pack: PackInParts, launcher: Launcher, slots: int, retries: int, say: Say) -> None:
        self.pack, self.launcher, self.slots, self.retries, self.say = pack, launcher, slots, retries, say
        every = [Part(number, pack.parts) for number in range(1, pack.parts + 1)]
        self._entries = [_Entry(part, lacking) for part in every if (lacking := pack.lacking(part))]
        self._took: list[float] = []
        self._closed_until = 0.0

    @property
    def missing(self) -> int:
        """Parts that are not whole."""
        return sum(entry.state != "done" for entry in self._entries)

    def run(self, stopped: Callable[[], bool]) -> list[str]:
        """Until every part is whole or has failed, or `stopped()`; why each failed, in words."""
        try:
            while any(entry.state in ("ready", "running") for entry in self._entries) and not stopped():
                self._look()
                time.sleep(self.launcher.every)
        finally:
            self._stop()
        return [f"{entry.part}: {entry.note}" for entry in self._entries if entry.state == "failed"]

    def _look(self) -> None:
        for entry in self._entries:
            if entry.state == "running":
                self._collect(entry)
        for entry in self._entries:
            if entry.state == "ready":
                self._start(entry)

    def _start(self, entry: _Entry) -> None:
        taken = {other.slot for other in self._entries if other.state == "running"}
        slot = next((slot for slot in range(self.slots) if slot not in taken), None)
        if slot is None or time.monotonic() < self._closed_until:
            return
        job = self.pack.job(entry.part)
        task = self.launcher.find(job) if not entry.tries else None
        found = task is not None
        try:
            task = task or self.launcher.start(job, slot)
        except NotNow as error:
            self._closed_until = time.monotonic() + _AGAIN
            if entry.note != str(error):
                entry.note = str(error)
                self.say(f"{entry.part}: not yet: {error}; it is tried again")
            return
        entry.tries += 1
        entry.task, entry.slot, entry.since, entry.state = task, slot, time.monotonic(), "running"
        again = f", start {entry.tries}" if entry.tries > 1 else ""
        self.say(f"{entry.part}: {'found under way' if found else 'started'}: {task.place}{again}")

    def _collect(self, entry: _Entry) -> None:
        assert entry.task is not None
        place = entry.task.place
        ended = entry.task.poll()
        if ended is None:
            if entry.task.place != place:
                self.say(f"{entry.part}: {entry.task.place}")
            self._name_straggler(entry)
            return
        entry.task, entry.slot = None, -1
        lacking = self.pack.lacking(entry.part)
        entry.fruitless = 0 if lacking < entry.lacking else entry.fruitless + 1
        entry.lacking = lacking
        how = describe(ended)
        if not lacking:
            seconds = time.monotonic() - entry.since
            self._took.append(seconds)
            entry.state = "done"
            self.say(f"{entry.part}: done in {seconds:,.0f} s")
        elif not _interrupted(ended) or entry.fruitless > self.retries:
            entry.state = "failed"
            log = self.pack.root / LOGS / f"{entry.part.number:05d}" / "log"
            entry.note = f"{how}; {lacking:,} shards are missing; its logs are in {log}"
            self.say(f"{entry.part}: failed: {entry.note}")
        else:
            entry.state = "ready"
            self.say(f"{entry.part}: {how}; {lacking:,} shards are missing, and are made next")

    def _name_straggler(self, entry: _Entry) -> None:
        """Once, where the parts that are done tell how long one takes."""
        seconds = time.monotonic() - entry.since
        if entry.named or len(self._took) < 3:
            return
        usual = statistics.median(self._took)
        if seconds > STRAGGLES * usual + _LOOK:
            entry.named = True
            assert entry.task is not None
            lacking = self.pack.lacking(entry.part)
            self.say(
                f"{entry.part}: straggles: {seconds:,.0f} s, where others took {usual:,.0f} s; {lacking:,} shards "
                f"are missing ({entry.task.place})"
            )

    def _stop(self) -> None:
        running = [entry for entry in self._entries if entry.task is not None]
        for entry in running:
            assert entry.task is not None
            entry.task.stop()
        end = time.monotonic() + 3 * GRACE
        while running and time.monotonic() < end:
            running = [entry for entry in running if entry.task is not None and entry.task.poll() is None]
            time.sleep(min(0.1, self.launcher.every) if running else 0.0)
        for entry in running:
            assert entry.task is not None
            entry.task.kill()


def _interrupted(ended: Ended) -> bool:
    """Whether it was ended from outside: by a signal, but Ctrl-C's."""
    number = -ended.code if ended.code < 0 else ended.code - 128 if ended.code > 128 else 0
    return number > 0 and number != signal.SIGINT


def failed(failures: Sequence[str], parts: int) -> FvlmError:
    """What is raised where parts failed."""
    return FvlmError(
        "\n".join((*failures, f"{len(failures)} of {parts} parts failed; the same command makes them again"))
    )

"""The parts of packs as jobs of a launcher, watched; those that take long are named."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from attrs import define, field, frozen

from fvlm_core.datasets.shards.pack import part_folder
from fvlm_core.datasets.shards.parts import Part, part_status
from fvlm_core.execution.entry import Entry
from fvlm_core.execution.jobs import next_log
from fvlm_core.interfaces.launcher import Job
from fvlm_core.utils.folder_lock import holder

LOGS = ".parts"
"""Beside the packs: a folder for the logs of each part."""

GRACE = 5.0
"""Seconds that a part may take to end: what it has finished is kept, and the rest is not worth saving."""

_LOOK = 5.0

STRAGGLES = 2.0
"""A part that takes this many times as long as the parts that are done, at the median, is named."""


@frozen
class PackInParts:
    """folder, shards: of each pack that the parts are parts of. command: what packs one of them, without `--part`."""

    root: Path
    packs: tuple[tuple[Path, int], ...]
    parts: int
    command: tuple[str, ...]

    def missing(self) -> list[PartEntry]:
        """The parts that are not whole."""
        parts = [Part(number, self.parts) for number in range(1, self.parts + 1)]
        logs = self.root / LOGS
        return [PartEntry(logs / f"{part.number:05d}", self, part) for part in parts if self.lacking(part)]

    def lacking(self, part: Part) -> int:
        """How many shards a part lacks, of all packs."""
        return sum(len(part_status(folder, part, shards).lacking) for folder, shards in self.packs)

    def job(self, entry: PartEntry) -> Job:
        """Its next start."""
        number = entry.part.number
        return Job(
            name=f"pack/part-{number}",
            command=(sys.executable, "-P", "-m", "fvlm_core", *self.command, "--part", str(number)),
            folder=Path.cwd(),
            environment={"PYTHONUNBUFFERED": "1"},
            log=next_log(entry.folder.absolute()),
            grace=GRACE,
        )


@define
class PartEntry(Entry):
    """A part and what became of it so far."""

    gain = "shard"

    pack: PackInParts
    part: Part

    @property
    def name(self) -> str:
        return str(self.part)

    @property
    def grace(self) -> float:
        return GRACE

    def is_complete(self) -> bool:
        return not self.pack.lacking(self.part)

    def gained(self) -> int:
        """Minus the shards that it lacks."""
        return -self.pack.lacking(self.part)

    def next_start(self) -> str:
        return f"{self.pack.lacking(self.part):,} shards are missing, and are made next"

    def holder(self) -> str:
        folders = [part_folder(folder, self.part.number) for folder, _ in self.pack.packs]
        return next((by for folder in folders if folder.is_dir() and (by := holder(folder))), "")


@define
class Stragglers:
    """Implements the pool's Watcher: passes on what is said, and names each part once that takes long."""

    say: Callable[[str], None]
    _named: set[str] = field(factory=set, init=False)
    _took: dict[str, float] = field(factory=dict, init=False)

    def said(self, entry: PartEntry, text: str) -> None:
        """Something became of a part."""
        if entry.state == "complete":
            self._took[entry.name] = seconds = time.monotonic() - entry.since
            text = f"{text} in {seconds:,.0f} s"
        self.say(f"{entry.name}: {text}")

    def seen(self, entries: Sequence[PartEntry]) -> None:
        """Where the parts that are done tell how long one takes."""
        if len(self._took) < 3:
            return
        usual = statistics.median(self._took.values())
        for entry in entries:
            seconds = time.monotonic() - entry.since
            if entry.task is None or entry.name in self._named or seconds <= STRAGGLES * usual + _LOOK:
                continue
            self._named.add(entry.name)
            self.say(
                f"{entry.name}: straggles: {seconds:,.0f} s, where others took {usual:,.0f} s; "
                f"{entry.pack.lacking(entry.part):,} shards are missing ({entry.task.place})"
            )

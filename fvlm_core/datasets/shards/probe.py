"""What packing will take, from some of the samples: packed for it, and thrown away."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve, frozen

from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.datasets.shards.shard import WORK, PackJob, shard_name
from fvlm_core.datasets.shards.tar import BLOCK, tar_members
from fvlm_core.datasets.shards.workers import write_shards
from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.data import DataSource, Progress, Sample

PROBED = 24
"""Samples that are packed for a plan: those of a clip each take a second at most."""


@frozen
class Estimate:
    """A mean, and its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Estimate:
        """Of equally likely values."""
        spread = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.inf
        return cls(statistics.fmean(values), spread)


@frozen
class Probe:
    """samples: of the source. probed, skipped: how many were packed, and how many of them could not be. seconds, bytes:
    of a sample, by one process."""

    samples: int
    probed: int
    skipped: int
    seconds: Estimate
    bytes: Estimate


class Picked(DataSource):
    """Some samples of another source, by their places."""

    def __init__(self, source: DataSource, places: Sequence[int]) -> None:
        self.name, self.modalities = source.name, source.modalities
        self.source, self.places = source, tuple(places)

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Sample:
        return self.source[self.places[index]]


def probe(
    source: DataSource, settings: PackSettings, chat: Chat | None = None, progress: Progress = lambda *_: None
) -> Probe:
    """Pack `PROBED` samples of a prepared source, evenly spaced, in one process."""
    count = min(PROBED, len(source))
    places = [number * len(source) // count for number in range(count)]
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / WORK).mkdir()
        job = PackJob(Picked(source, places), evolve(settings, samples=max(1, count)), folder, chat)
        begun: dict[int, float] = {}

        def note(place: int) -> None:
            begun[place] = time.monotonic()
            progress(f"probing {source.name}", len(begun) - 1, count)

        (report,) = write_shards(job, [0], 1, note)
        ends = [*sorted(begun.values()), time.monotonic()]
        progress(f"probing {source.name}", count, count)
        sizes = [0.0] * len(report.skipped)
        if report.packed:
            sizes += _sizes(folder / shard_name(0))
    seconds = [later - earlier for earlier, later in pairwise(ends)]
    return Probe(len(source), count, len(report.skipped), Estimate.of(seconds), Estimate.of(sizes))


def _sizes(shard: Path) -> list[float]:
    """Bytes of each sample, headers and padding too."""
    sizes: dict[str, float] = {}
    for member in tar_members(shard):
        sizes[member.key] = sizes.get(member.key, 0.0) + BLOCK + -(-member.size // BLOCK) * BLOCK
    return list(sizes.values())

"""Data sources: what a sample is, and how a source lists its own. Imports nothing heavy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from attrs import frozen

from fvlm_core.errors import Problem

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "validation"]
Progress = Callable[[str, int, int], None]
"""Called with (what is being done, done, total) during long work."""


@frozen
class Turn:
    """One turn of a chat."""

    role: Role
    content: str


@frozen
class VideoFile:
    """A video on disk and how frames are chosen: `fps` frames a second; longer than `max_frames`: evenly spaced.

    seconds: its length where the source knows it: plans then need not open the file, which may not be there yet.
    """

    path: Path
    fps: float = 1.0
    max_frames: int = 64
    seconds: float | None = None


@frozen
class Sample:
    """One training example. id is stable and unique within its source; video is None for text-only samples."""

    id: str
    source: str
    turns: tuple[Turn, ...]
    video: VideoFile | None = None


class DataSource(ABC):
    """A data set, listed but not decoded. Picklable: data workers hold a copy.

    The component's target is `build(config, split: Split) -> DataSource`. Train and validation of one config never
    share a sample. Random access is what makes data order a pure function of (seed, epoch, step), so that a stopped
    run continues with the very next sample.

    Raises `fvlm_core.errors.MissingData` on construction, with the way to get them, when the files are not there.
    """

    name: str

    def prepare(self, progress: Progress) -> None:
        """Do long work that must be finished before the first sample is decoded (render, index); default nothing.

        Safe to call again: finished work is not repeated.
        """
        return

    @abstractmethod
    def __len__(self) -> int:
        """Samples of this split."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """Sample `index` (0 <= index < len). Cheap: no decoding, and possible before `prepare`."""

    def problems(self) -> tuple[Problem, ...]:
        """Rows left out while listing, each named with its reason; they are counted in the run's summary."""
        return ()

    def fingerprint(self) -> str:
        """A short hash of what the source holds, recorded with the run; changes when the samples change."""
        from hashlib import blake2b

        digest = blake2b(digest_size=8)
        for index in range(len(self)):
            sample = self[index]
            digest.update(repr((sample.id, sample.turns)).encode())
        return digest.hexdigest()

    def texts(self) -> Iterator[str]:
        """Every text of every turn, in order: the corpus of tokenizers made from the data."""
        for index in range(len(self)):
            for turn in self[index].turns:
                yield turn.content

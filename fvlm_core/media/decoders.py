"""The decoder of a run: the core's own, PyAV, unless the recipe names another."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from fvlm_core.interfaces.data import DataSource, Progress, Sample, VideoFile
from fvlm_core.interfaces.decoder import Decoder, PyAVSettings
from fvlm_core.media import video as pyav
from fvlm_core.recipes.schema import Chosen
from fvlm_core.utils.errors import FvlmError, Problem
from fvlm_registry import registry


class PyAV(Decoder):
    """The core's own decoder, which the FFmpeg of PyAV's wheel does the work for."""

    def decode(self, video: VideoFile, size: int) -> tuple[NDArray[np.uint8], list[float]]:
        return pyav.decode_timed(video, size)

    def count_frames(self, video: VideoFile) -> int:
        return pyav.count_frames(video)

    def versions(self) -> dict[str, str]:
        return pyav.decoder_versions()


_OWN = PyAV()


def build(config: PyAVSettings) -> PyAV:
    """The core's own decoder."""
    return _OWN


def open_decoder(chosen: Chosen | None) -> Decoder | None:
    """The decoder that a recipe chose; None for the core's own."""
    if chosen is None:
        return None
    found = registry()
    return found.load(found.find("decoder", chosen.component).component.target)(chosen.config)


def decode_timed(video: VideoFile, size: int) -> tuple[NDArray[np.uint8], Sequence[float]]:
    """The frames of a clip and their times, by its own decoder; see `Decoder.decode`.

    Raises `BadSample`, and `FvlmError` when a decoder does not keep what the interface promises.
    """
    if video.decoder is None:
        return _OWN.decode(video, size)
    frames, times = video.decoder.decode(video, size)
    shape, most = tuple(frames.shape), video.max_frames
    right = frames.dtype == np.uint8 and shape[1:] == (3, size, size) and 1 <= shape[0] <= most
    if not right or len(times) != shape[0]:
        raise FvlmError(
            f"{video.path}: the decoder {type(video.decoder).__name__} gave {frames.dtype} {list(shape)} and "
            f"{len(times)} times; expected uint8 [T, 3, {size}, {size}] and T times, T from 1 to {most}"
        )
    return frames, times


def count_frames(video: VideoFile) -> int:
    """How many frames `decode_timed` gives of a clip, without decoding; see `Decoder.count_frames`."""
    return (video.decoder or _OWN).count_frames(video)


def versions_of(source: DataSource) -> dict[str, str]:
    """What decodes the clips of a source, for the record of a pack."""
    decoder = source.decoder if isinstance(source, DecodedSource) else _OWN
    return dict(decoder.versions())


@frozen(eq=False)
class DecodedSource(DataSource):
    """The samples of another source, whose clips are decoded by a decoder of the recipe's choice."""

    source: DataSource
    decoder: Decoder

    @property
    def name(self) -> str:  # type: ignore[override]
        """As the source is called."""
        return self.source.name

    @property
    def modalities(self) -> tuple[str, ...]:  # type: ignore[override]
        """As the source says."""
        return self.source.modalities

    def prepare(self, progress: Progress) -> None:
        self.source.prepare(progress)

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Sample:
        sample = self.source[index]
        if not isinstance(sample.video, VideoFile):
            return sample
        return evolve(sample, video=evolve(sample.video, decoder=self.decoder))

    def sample_id(self, index: int) -> str:
        return self.source.sample_id(index)

    def read_ahead(self, indices: Sequence[int]) -> None:
        self.source.read_ahead(indices)

    def problems(self) -> tuple[Problem, ...]:
        return self.source.problems()

    def frame_counts(self) -> Sequence[int] | None:
        return self.source.frame_counts()

    def fingerprint(self) -> str:
        return self.source.fingerprint()

    def signatures(self) -> Any:
        """What was recorded of its samples when they were packed; see `fvlm_core.datasets.shards.leaks.signatures`."""
        return getattr(self.source, "signatures", lambda: None)()

    def texts(self) -> Iterator[str]:
        return self.source.texts()

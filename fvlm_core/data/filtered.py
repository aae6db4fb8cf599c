"""A data source without the samples that have too few or too many frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fvlm_core.interfaces.data import DataSource, Progress, Sample
from fvlm_core.utils.errors import Problem, UsageError


class FilteredSource(DataSource):
    """The samples of another source whose frames are within bounds, in its order; text alone always is.

    Raises `UsageError` when the source does not know how many frames its samples have, or none is left.
    """

    def __init__(self, source: DataSource, least: int | None, most: int | None) -> None:
        counts = source.frame_counts()
        if counts is None:
            raise UsageError(
                f"data.min_frames, data.max_frames: {source.name} does not know how many frames its samples have "
                "without opening every file; pack it first (fvlm data pack), which records them"
            )
        frames = np.asarray(counts, dtype=np.int64)
        low, high = frames < (least or 0), frames > (most or frames.max(initial=0))
        kept = (frames == 0) | ~(low | high)
        self.name, self.modalities = source.name, source.modalities
        self._source = source
        self._kept = np.flatnonzero(kept).astype(np.uint32)
        self._frames = frames
        few, many = int((low & ~kept).sum()), int((high & ~kept).sum())
        self._left_out = [
            Problem(
                f"{source.name}: {count:,} of {len(frames):,} samples have {what} frames and are left out"
            )
            for count, what in ((few, f"fewer than {least}"), (many, f"more than {most}"))
            if count
        ]
        if not len(self._kept):
            raise UsageError("\n".join(map(str, self._left_out)))

    def prepare(self, progress: Progress) -> None:
        self._source.prepare(progress)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, index: int) -> Sample:
        return self._source[int(self._kept[index])]

    def sample_id(self, index: int) -> str:
        return self._source.sample_id(int(self._kept[index]))

    def read_ahead(self, indices: Sequence[int]) -> None:
        self._source.read_ahead([int(self._kept[index]) for index in indices])

    def problems(self) -> tuple[Problem, ...]:
        return (*self._source.problems(), *self._left_out)

    def frame_counts(self) -> Sequence[int]:
        return self._frames[self._kept].tolist()

    def fingerprint(self) -> str:
        from hashlib import blake2b

        digest = blake2b(self._source.fingerprint().encode(), digest_size=8)
        digest.update(self._kept.tobytes())
        return digest.hexdigest()

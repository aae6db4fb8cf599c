"""A source of very many rows. What packs it imports this file, which is why it is none of a test's."""

from __future__ import annotations

import numpy as np

from fvlm_core.interfaces.data import DataSource, FrameArray, Sample, Turn


class Million(DataSource):
    """1,000,000 rows of metadata."""

    name = "million"

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: int) -> Sample:
        frames = np.full((2, 16, 16, 3), index % 251, np.uint8)
        return Sample(f"{index}", self.name, (Turn("assistant", f"row {index}"),), FrameArray(frames, 1.0))

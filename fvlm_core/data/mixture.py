"""Which sample stands at which place of training: a pure function of (seed, place), for any mixture of sources."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fvlm_core.seeding import derive

BLOCK = 1000
"""Places over which the mixture holds exactly (to one sample); within a block the order is drawn at random."""


class Mixture:
    """Places 0, 1, 2, ... of training, each with a source and an index into it.

    Source s holds a share w_s of every block of 1,000 places, to one sample, and is read in an order drawn anew for
    each of its epochs. Nothing depends on what was asked before, so a run continues at any place.
    """

    def __init__(self, lengths: list[int], weights: list[float], seed: int) -> None:
        """lengths: samples of each source, at least 1. weights: shares, scaled here to sum to 1."""
        self.lengths = lengths
        self.seed = seed
        self._bounds = np.concatenate([[0.0], np.cumsum(np.asarray(weights) / np.sum(weights))])
        self._order = lru_cache(maxsize=2 * len(lengths))(self._epoch_order)
        self._block = lru_cache(maxsize=2)(self._draw_block)

    def at(self, place: int) -> tuple[int, int]:
        """(source, index) at a place."""
        sources, ranks = self._block(place // BLOCK)
        source = int(sources[place % BLOCK])
        drawn = self._drawn_before(place // BLOCK)[source] + int(ranks[place % BLOCK])
        epoch, position = divmod(int(drawn), self.lengths[source])
        return source, int(self._order(source, epoch)[position])

    def replacement(self, place: int, attempt: int) -> tuple[int, int]:
        """What stands in for a bad sample at a place: the same source, another index, by a fixed rule."""
        source, _ = self.at(place)
        return source, derive(self.seed, "replacement", place, attempt) % self.lengths[source]

    def _drawn_before(self, block: int) -> NDArray[np.int64]:
        # Rounding the cumulative shares keeps every count within one of its exact value and their sum exact.
        return np.diff(np.rint(self._bounds * block * BLOCK).astype(np.int64))

    def _draw_block(self, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        counts = self._drawn_before(block + 1) - self._drawn_before(block)
        sources = np.repeat(np.arange(len(counts)), np.maximum(counts, 0))[:BLOCK]
        np.random.default_rng(derive(self.seed, "mixture", block)).shuffle(sources)
        ranks = np.zeros(BLOCK, dtype=np.int64)
        for source in range(len(counts)):
            mine = sources == source
            ranks[mine] = np.arange(mine.sum())
        return sources, ranks

    def _epoch_order(self, source: int, epoch: int) -> NDArray[np.int64]:
        generator = np.random.default_rng(derive(self.seed, "order", source, epoch))
        return generator.permutation(self.lengths[source])

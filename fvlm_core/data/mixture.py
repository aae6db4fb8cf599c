"""Which sample stands at which place of training: a pure function of (seed, place), for any mixture of sources."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np
from attrs import evolve, frozen
from numpy.typing import NDArray

from fvlm_core.data.permutation import Permutation
from fvlm_core.utils.errors import FvlmError
from fvlm_core.utils.seeding import derive

BLOCK = 1000
"""Places over which the mixture holds exactly (to one sample); within a block the order is drawn at random. More where
sources are many and small."""


@frozen(eq=False)
class _Phase:
    """A stretch of whole blocks with the same shares, or one block in which some source ends.

    start: its first place. used: samples of each source drawn before it. bounds: the cumulative shares, 0 to 1.
    counts: of the one block, if it is one.
    """

    start: int
    used: NDArray[np.int64]
    bounds: NDArray[np.float64]
    counts: NDArray[np.int64] | None = None

    @cached_property
    def block(self) -> int:
        """Places of a block: so many that the largest source has room for all that have less than one in it."""
        places = BLOCK
        while True:
            a_block = np.diff(self.bounds) * places
            small = np.count_nonzero((a_block > 0) & (a_block < 1))
            if not small or a_block.max() >= small + 1:
                return places
            places *= 2

    def drawn(self, places: int) -> NDArray[np.int64]:
        """How many of each source stand at the first `places` places of the phase; whole blocks alone."""
        if self.counts is not None:
            return self.counts if places else np.zeros_like(self.counts)
        # Rounding the cumulative shares keeps every count within one of its exact value and their sum exact.
        counts = np.diff(np.rint(self.bounds * places).astype(np.int64))
        blocks = places // self.block
        a_block = np.diff(self.bounds) * self.block
        for source in np.flatnonzero((a_block > 0) & (a_block < 1)).tolist():
            # Of less than one a block, the difference of two rounded numbers can fall again, by one and for no longer
            # than two take: a sample came twice, and one of another source never. The largest source makes room.
            before = self.block * np.arange(max(0, blocks - int(2 / a_block[source])), blocks)
            ends = np.rint(self.bounds[source : source + 2, None] * before).astype(np.int64)
            missing = max(0, int(np.max(ends[1] - ends[0], initial=0)) - int(counts[source]))
            counts[source] += missing
            counts[a_block.argmax()] -= missing
        return counts


class Mixture:
    """Places 0, 1, 2, ... of training, each with a source and an index into it.

    Source s holds a share w_s of every block of 1,000 places, to one sample, or of a longer one where hundreds of
    sources have less than one in it; it is read in an order drawn anew for each of its epochs. Nothing depends on what
    was asked before, so a run continues at any place.

    When sources end instead of beginning again, a source that has been read leaves its part to the others, by their
    weights; `places` is how many there are in all, None when they have no end.

    A mixture may begin in the middle of training, at `start`, where other shares did before it (see `Order`).
    """

    def __init__(
        self,
        lengths: list[int],
        weights: list[float],
        seed: int,
        *,
        cycle: bool = True,
        start: int = 0,
        used: Sequence[int] | None = None,
        numbers: Sequence[int] | None = None,
    ) -> None:
        """lengths: samples of each source, at least 1. weights: shares, scaled here to sum to 1. start: its first
        place. used: samples of each source read before it. numbers: of each source, which tell their orders apart."""
        self.lengths = lengths
        self.seed = seed
        self._start = start
        self._numbers = numbers or range(len(lengths))
        before = np.asarray(used or [0] * len(lengths), dtype=np.int64)
        left = np.maximum(np.asarray(lengths) - before, 0)
        self.places: int | None = None if cycle else start + int(left.sum())
        shares = np.asarray(weights, dtype=np.float64)
        self._phases = [_Phase(start, before, _bounds(shares))]
        if not cycle:
            self._end_in_turn(shares)
        self._starts = [phase.start for phase in self._phases]
        self._order = lru_cache(maxsize=2 * len(lengths))(self._epoch_order)
        self._block = lru_cache(maxsize=2)(self._draw_block)
        self._before = lru_cache(maxsize=4)(self._drawn_before)

    def at(self, place: int) -> tuple[int, int]:
        """(source, index) at a place. Raises `FvlmError` beyond the last one."""
        if self.places is not None and place >= self.places:
            raise FvlmError(
                f'every sample has been read, {self.places:,} in all; data.exhausted = "cycle" goes on'
            )
        number = bisect_right(self._starts, place) - 1
        phase = self._phases[number]
        block, within = divmod(place - phase.start, phase.block)
        sources, ranks = self._block(number, block)
        source = int(sources[within])
        drawn = int(self._before(number, block)[source] + ranks[within])
        epoch, position = divmod(drawn, self.lengths[source])
        return source, self._order(source, epoch).at(position)

    def drawn(self, places: int) -> list[int]:
        """How many samples of each source are read once `places` places are, `start` or more: the realised mixture."""
        number = bisect_right(self._starts, max(self._start, places - 1)) - 1
        phase = self._phases[number]
        block, within = divmod(places - phase.start, phase.block)
        counts = self._before(number, block)
        if within:
            counts = counts + np.bincount(self._block(number, block)[0][:within], minlength=len(counts))
        return [int(count) for count in counts]

    def replacement(self, place: int, attempt: int) -> tuple[int, int]:
        """What stands in for a bad sample at a place: the same source, another index, by a fixed rule."""
        source, _ = self.at(place)
        return source, derive(self.seed, "replacement", place, attempt) % self.lengths[source]

    def _end_in_turn(self, shares: NDArray[np.float64]) -> None:
        """Whole blocks as long as every source can fill its part; then a block in which one gives what it has left."""
        phase, lengths = self._phases[-1], np.asarray(self.lengths)
        shares = np.where(phase.used < lengths, shares, 0.0)
        if not shares.any():
            return
        phase = self._phases[-1] = evolve(phase, bounds=_bounds(shares))
        while True:
            left = np.maximum(lengths - phase.used, 0)
            low, high = 0, int(left.sum()) // phase.block
            while low < high:
                middle = (low + high + 1) // 2
                enough = bool((phase.drawn(middle * phase.block) <= left).all())
                low, high = (middle, high) if enough else (low, middle - 1)
            if not low:
                self._phases.remove(phase)
            used = phase.used + phase.drawn(low * phase.block)
            start = phase.start + low * phase.block
            counts = _filled(np.maximum(lengths - used, 0), shares, phase.block)
            if not counts.any():
                return
            self._phases.append(_Phase(start, used, phase.bounds, counts))
            used, start = used + counts, start + int(counts.sum())
            shares = np.where(used < lengths, shares, 0.0)
            if not shares.any():
                return
            phase = _Phase(start, used, _bounds(shares))
            self._phases.append(phase)

    def _drawn_before(self, number: int, block: int) -> NDArray[np.int64]:
        phase = self._phases[number]
        return phase.used + phase.drawn(block * phase.block)

    def _draw_block(self, number: int, block: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        phase = self._phases[number]
        size = phase.block if phase.counts is None else int(phase.counts.sum())
        counts = phase.drawn((block + 1) * phase.block) - phase.drawn(block * phase.block)
        sources = np.repeat(np.arange(len(counts)), np.maximum(counts, 0))[:size]
        begun = ("from", self._start) if self._start else ()
        purpose = ("mixture", *begun, block) if number == 0 else ("mixture", *begun, number, block)
        np.random.default_rng(derive(self.seed, *purpose)).shuffle(sources)
        ranks = np.zeros(size, dtype=np.int64)
        for source in range(len(counts)):
            mine = sources == source
            ranks[mine] = np.arange(mine.sum())
        return sources, ranks

    def _epoch_order(self, source: int, epoch: int) -> Permutation:
        return Permutation(self.lengths[source], derive(self.seed, "order", self._numbers[source], epoch))


def _filled(left: NDArray[np.int64], shares: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    """`size` samples by shares, of sources that may have fewer left than their part: those give what they have."""
    size = min(size, int(left.sum()))
    counts = np.zeros_like(left)
    open_ = (left > 0) & (shares > 0)
    while open_.any():
        part = np.diff(
            np.rint(_bounds(np.where(open_, shares, 0.0)) * (size - counts.sum())).astype(np.int64)
        )
        short = open_ & (part >= left)
        if not short.any():
            return counts + part
        counts = np.where(short, left, counts)
        open_ &= ~short
    return counts


def _bounds(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([[0.0], np.cumsum(shares / np.sum(shares))])

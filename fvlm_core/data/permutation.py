"""The order of an epoch as a function: which sample stands at a place, without a table of all of them."""

from __future__ import annotations

from functools import lru_cache
from math import isqrt

import numpy as np
from attrs import field, frozen
from numpy.typing import NDArray

from fvlm_core.utils.seeding import derive

DRAWN = 1 << 16
"""Up to so many, an order is drawn (every one equally likely) and kept, 512 KB; beyond, it is computed."""

ROUNDS = 8
"""Passes of the network; four suffice for pseudo-random orders (Luby and Rackoff 1988), eight make up for the plain
mixing function."""

_MASK = (1 << 64) - 1


@frozen
class Permutation:
    """An order of 0..size-1, drawn by a seed.

    Small orders are numpy's permutation. Large ones (50 million would take 400 MB, and seconds every epoch) go through
    a Feistel network over a grid of a x b >= size cells: each round adds a keyed hash of one coordinate to the other,
    which can be undone, so no two places meet; places that land beyond `size` walk on until they do not (Black and
    Rogaway 2002). The grid is hardly larger than `size`, so that happens once in sqrt(size).
    """

    size: int
    seed: int
    _rows: int = field(init=False)
    _columns: int = field(init=False)
    _keys: tuple[int, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        rows = isqrt(self.size - 1) + 1
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "_columns", -(-self.size // rows))
        keys = tuple(derive(self.seed, "round", number) for number in range(ROUNDS))
        object.__setattr__(self, "_keys", keys)

    def at(self, place: int) -> int:
        """What stands at a place, 0 <= place < size."""
        if self.size <= DRAWN:
            return int(_drawn(self.size, self.seed)[place])
        columns = self._columns
        while True:
            row, column = divmod(place, columns)
            for number, key in enumerate(self._keys):
                if number % 2:
                    column = (column + _mix(row ^ key)) % columns
                else:
                    row = (row + _mix(column ^ key)) % self._rows
            place = row * columns + column
            if place < self.size:
                return place

    def many(self, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """`at` for many places at once: int64 [N] to int64 [N]."""
        if self.size <= DRAWN:
            return _drawn(self.size, self.seed)[places]
        out = np.array(places, dtype=np.uint64)
        walking = np.arange(len(out))
        rows, columns = np.uint64(self._rows), np.uint64(self._columns)
        while len(walking):
            row, column = np.divmod(out[walking], columns)
            for number, key in enumerate(self._keys):
                if number % 2:
                    column = (column + _mix_many(row ^ np.uint64(key))) % columns
                else:
                    row = (row + _mix_many(column ^ np.uint64(key))) % rows
            out[walking] = row * columns + column
            walking = walking[out[walking] >= self.size]
        return out.astype(np.int64)


@lru_cache(maxsize=16)
def _drawn(size: int, seed: int) -> NDArray[np.int64]:
    return np.random.default_rng(seed).permutation(size)


def _mix(value: int) -> int:
    """62 bits of a hash: the finaliser of splitmix64 (Steele, Lea and Flood 2014), twice multiplied and shifted."""
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return (value ^ (value >> 31)) >> 2  # adding a coordinate cannot overflow 64 bits


def _mix_many(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return (value ^ (value >> np.uint64(31))) >> np.uint64(2)

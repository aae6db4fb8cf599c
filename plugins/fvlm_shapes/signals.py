"""Signals told in words at stated odds: the level of shapes whose least loss is known.

A signal is a row of flags, one a frame. There are 512 of them, the k-th as often as k^-1.5, so that rare ones are
always left to learn and the loss falls as a power of the amount of data. Each signal has an order of its own of 64
words, and a caption is sixteen words, each drawn on its own: the r-th of the order with odds of r^-1.5. So no model can
do better than the entropy of these odds; and since the 512 orders have nothing in common, a model of width w can tell
apart about w of them (the softmax bottleneck of Yang et al. 2018, arXiv:1711.03953), so that the loss falls with size
as well.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from math import log
from random import Random
from typing import ClassVar

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fvlm_core.plugin_api import Split
from fvlm_shapes.draw import CELL, COLOURS
from fvlm_shapes.draws import pick, several

SIGNALS = 512
"""Kinds of clips."""

EXPONENT = 1.5
"""Of the frequencies of signals, and of the odds of words, by rank."""

VOCABULARY = tuple(consonant + vowel for vowel in "aeio" for consonant in "bdfghjklmnprstvz")
"""The words: 64 syllables."""

SAID = 16
"""Words of a caption."""

_BLOCK = 1024
"""Clips that are drawn at once."""

_FIELDS = 2
"""Fields of a flag in each direction, of one patch each."""


@lru_cache
def odds(count: int) -> tuple[float, ...]:
    """Of the ranks 1 to `count`; they sum to 1."""
    weights = [rank**-EXPONENT for rank in range(1, count + 1)]
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def entropy() -> float:
    """Nats a word: the least loss of a model that sees which signal it is."""
    return -sum(chance * log(chance) for chance in odds(len(VOCABULARY)))


@frozen
class Signal:
    """A clip. flags: of each frame, the colours of its four fields, row by row. words: what is said of it. ranks: of
    each word in the order of this signal, from 0."""

    side: ClassVar[int] = _FIELDS * CELL
    flags: tuple[tuple[str, ...], ...]
    words: tuple[str, ...]
    ranks: tuple[int, ...]

    def caption(self) -> str:
        """The words."""
        return " ".join(self.words)

    def nats(self) -> float:
        """-ln of the odds of exactly these words."""
        costs = _costs()
        return sum(costs[rank] for rank in self.ranks)

    def frames(self) -> list[Image.Image]:
        """One picture a second."""
        return [_drawn(flag) for flag in self.flags]


def signal(seed: int, split: Split, index: int, frames: int) -> Signal:
    """Clip `index` of a split."""
    block, place = divmod(index, _BLOCK)
    numbers, ranks = _block(seed, split, block)
    number, said = int(numbers[place]), tuple(ranks[place].tolist())
    order = _order(number)
    return Signal(_flags(number, frames), tuple(order[rank] for rank in said), said)


# Blocks are of 36 KB. Training reads in an order of its own: where few are kept, each clip draws its block again.
@lru_cache(1024)
def _block(seed: int, split: Split, number: int) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Of `_BLOCK` clips at once, which takes a hundredth of the time of one by one: which signal, int [_BLOCK], and the
    ranks of its words, int [_BLOCK, SAID]."""
    digest = blake2b(f"signals/{seed}/{split}/{number}".encode(), digest_size=16).digest()
    drawn = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "big"))).random((_BLOCK, 1 + SAID))
    return _rank(drawn[:, 0], SIGNALS), _rank(drawn[:, 1:], len(VOCABULARY))


@lru_cache(SIGNALS)
def _order(number: int) -> list[str]:
    return several(Random(f"signals/words/{number}"), VOCABULARY, len(VOCABULARY))


@lru_cache(SIGNALS)
def _flags(number: int, frames: int) -> tuple[tuple[str, ...], ...]:
    random, colours = Random(f"signals/flags/{number}"), tuple(COLOURS)
    return tuple(tuple(pick(random, colours) for _ in range(_FIELDS**2)) for _ in range(frames))


@lru_cache
def _costs() -> tuple[float, ...]:
    return tuple(-log(chance) for chance in odds(len(VOCABULARY)))


@lru_cache(2 * SIGNALS)
def _drawn(flag: tuple[str, ...]) -> Image.Image:
    """A flag's picture; who changed it would change all clips that show it."""
    picture = Image.new("RGB", (Signal.side, Signal.side))
    for place, colour in enumerate(flag):
        x, y = CELL * (place % _FIELDS), CELL * (place // _FIELDS)
        ImageDraw.Draw(picture).rectangle((x, y, x + CELL - 1, y + CELL - 1), fill=COLOURS[colour])
    return picture


def _rank(drawn: NDArray[np.float64], count: int) -> NDArray[np.int16]:
    """Ranks from 0 of numbers in [0, 1). What is above the last step of the sum, which rounding may leave below 1, is
    of the last rank."""
    return np.searchsorted(np.cumsum(odds(count))[:-1], drawn, side="right").astype(np.int16)

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
from itertools import accumulate
from math import log
from random import Random
from typing import ClassVar

from attrs import frozen
from PIL import Image, ImageDraw

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
        pictures: list[Image.Image] = []
        for flag in self.flags:
            picture = Image.new("RGB", (self.side, self.side))
            for place, colour in enumerate(flag):
                x, y = CELL * (place % _FIELDS), CELL * (place // _FIELDS)
                box = (x, y, x + CELL - 1, y + CELL - 1)
                ImageDraw.Draw(picture).rectangle(box, fill=COLOURS[colour])
            pictures.append(picture)
        return pictures


def signal(random: Random, frames: int) -> Signal:
    """A clip of so many frames."""
    (number,) = _ranks(random, SIGNALS, 1)
    order = _order(number)
    ranks = _ranks(random, len(order), SAID)
    return Signal(_flags(number, frames), tuple(order[rank] for rank in ranks), ranks)


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


@lru_cache
def _cumulative(count: int) -> tuple[float, ...]:
    return tuple(accumulate(odds(count)))


def _ranks(random: Random, count: int, draws: int) -> tuple[int, ...]:
    """From 0, of so many, each drawn on its own."""
    return tuple(random.choices(range(count), cum_weights=_cumulative(count), k=draws))

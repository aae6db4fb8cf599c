"""What is in a clip, and what is said of it: pure functions of (seed, level, split, index)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from hashlib import blake2b
from random import Random
from typing import ClassVar, Protocol

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from PIL import Image

from fvlm_core.plugin_api import Split
from fvlm_shapes.config import CATEGORIES, MOST_CARDS, Category, Level
from fvlm_shapes.draw import COLOURS, GLYPHS, GRID, SIDE, band, blank, card, fill
from fvlm_shapes.draws import pick, rank_pick, several
from fvlm_shapes.questions import Questioned
from fvlm_shapes.questions import draw as draw_question
from fvlm_shapes.signals import signal

_HELD_OUT = 8
"""One caption in so many belongs to the validation split, by its hash: no clip is ever in both."""


class Scene(Protocol):
    """A clip before it is drawn; its fields say everything that decides the pixels.

    side: of its pictures, in pixels.
    """

    side: ClassVar[int]

    def caption(self) -> str:
        """What is said of it."""
        ...

    def nats(self) -> float:
        """What the caption costs a model that sees all there is to see: -ln of the odds it was drawn with."""
        ...

    def frames(self) -> list[Image.Image]:
        """Its pictures, RGB, one a second."""
        ...


class Pictures:
    """The pictures of a scene as a clip has them, uint8 [T, H, W, 3], drawn when the first of them is asked for."""

    dtype = np.dtype(np.uint8)

    def __init__(self, drawn: Scene, count: int) -> None:
        self._drawn = drawn
        self.shape = (count, drawn.side, drawn.side, 3)

    @cached_property
    def _frames(self) -> list[Image.Image]:
        return self._drawn.frames()

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        return np.asarray(self._frames[index])


def scene(
    level: Level,
    seed: int,
    split: Split,
    index: int,
    frames: int,
    categories: Sequence[Category] = CATEGORIES,
    cards: int = MOST_CARDS,
) -> Scene:
    """The scene of clip `index` of a split: the first of a fixed series whose caption belongs to the split.

    categories, cards: of what is asked, where the level asks. Signals are told by chance, and held out by chance:
    leaving out captions would change the odds.
    """
    if level == "signals":
        return signal(seed, split, index, frames)
    if level in ("questions", "choices"):
        category = categories[index % len(categories)]
        return _questioned(level, seed, split, index, frames, category, cards)
    draw = {"easy": _easy, "gaze": _gaze}[level]
    attempt = 0
    while True:
        drawn = draw(Random(f"{level}/{seed}/{split}/{index}/{attempt}"), frames)
        digest = blake2b(drawn.caption().encode(), digest_size=8).digest()
        if (int.from_bytes(digest, "big") % _HELD_OUT == 0) == (split == "validation"):
            return drawn
        attempt += 1


def _questioned(
    level: Level, seed: int, split: Split, index: int, frames: int, category: Category, cards: int
) -> Questioned:
    """Clips and questions of the two levels are the same. Held out by what is seen: answers are met in both splits."""
    attempt = 0
    while True:
        random = Random(f"questions/{seed}/{split}/{index}/{attempt}")
        drawn = draw_question(random, category, frames, cards, level == "choices")
        digest = blake2b(repr(drawn.events).encode(), digest_size=8).digest()
        if (int.from_bytes(digest, "big") % _HELD_OUT == 0) == (split == "validation"):
            return drawn
        attempt += 1


_SECOND = 0.2
"""Share of easy clips with a second card."""

_MOTIONS = ("standing still", "moving right", "moving left")


@frozen
class Mover:
    """A card of an easy clip, which keeps to its row. columns: where it is in each frame."""

    row: int
    colour: str
    glyph: str
    motion: str
    columns: tuple[int, ...]

    def caption(self) -> str:
        """Colour, glyph and motion."""
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.glyph} {self.motion}"


@frozen
class Easy:
    """One card, or two above each other, before a sky of two rows and a ground of one."""

    side: ClassVar[int] = SIDE
    sky: str
    ground: str
    movers: tuple[Mover, ...]

    def caption(self) -> str:
        """All of it is seen; colours and glyphs have heavy tails."""
        movers = " above ".join(mover.caption() for mover in self.movers)
        return f"{movers} on {self.ground} ground under {self.sky} sky"

    def nats(self) -> float:
        """Nothing: all that is said is decided by what is seen."""
        return 0.0

    def frames(self) -> list[Image.Image]:
        """One picture a second."""
        pictures: list[Image.Image] = []
        for time in range(len(self.movers[0].columns)):
            picture = blank()
            for row in range(GRID):
                band(picture, row, self.ground if row == GRID - 1 else self.sky)
            for mover in self.movers:
                card(picture, GRID * mover.row + mover.columns[time], mover.colour, mover.glyph)
            pictures.append(picture)
        return pictures


def _easy(random: Random, frames: int) -> Easy:
    colours = tuple(COLOURS)
    sky = rank_pick(random, colours)
    ground = rank_pick(random, colours, but=sky)
    rows = sorted(several(random, range(GRID), 2 if random.random() < _SECOND else 1))
    movers = [_mover(random, row, ground if row == GRID - 1 else sky, frames) for row in rows]
    return Easy(sky, ground, tuple(movers))


def _mover(random: Random, row: int, behind: str, frames: int) -> Mover:
    """A card in a colour that stands out, which stands still or goes from one side to the other."""
    motion = pick(random, _MOTIONS)
    between = sorted(pick(random, range(GRID)) for _ in range(frames - 2))
    columns = (0, *between, GRID - 1)[:frames]
    if motion == "standing still":
        columns = (pick(random, range(GRID)),) * frames
    elif motion == "moving left":
        columns = tuple(GRID - 1 - column for column in columns)
    return Mover(
        row, rank_pick(random, tuple(COLOURS), but=behind), rank_pick(random, GLYPHS), motion, columns
    )


_IDENTITIES = tuple(COLOURS)[:8]
_CONTENTS = tuple(word for pair in zip(tuple(COLOURS)[:12], GLYPHS[:12], strict=True) for word in pair)


@frozen
class Gaze:
    """A lamp in cell 0 and one to eight cards, told apart by the colour of their heads.

    lamps: the identity that each frame's lamp names. cards: for each frame (cell, identity, content) of every card;
    cells and contents are drawn anew for each frame.
    """

    side: ClassVar[int] = SIDE
    lamps: tuple[str, ...]
    cards: tuple[tuple[tuple[int, str, str], ...], ...]

    def caption(self) -> str:
        """One word a frame: the content of the card that the lamp of the frame BEFORE named (the first: its own).

        So where to look in a frame depends on the frame before it.
        """
        named = (self.lamps[0], *self.lamps[:-1])
        return " ".join(
            next(content for _, identity, content in cards if identity == name)
            for name, cards in zip(named, self.cards, strict=True)
        )

    def nats(self) -> float:
        """Nothing: all that is said is decided by what is seen."""
        return 0.0

    def frames(self) -> list[Image.Image]:
        """One picture a second."""
        pictures: list[Image.Image] = []
        for lamp, cards in zip(self.lamps, self.cards, strict=True):
            picture = blank()
            fill(picture, 0, lamp)
            for cell, identity, content in cards:
                card(picture, cell, identity, content)
            pictures.append(picture)
        return pictures


def _gaze(random: Random, frames: int) -> Gaze:
    present = sorted(several(random, _IDENTITIES, pick(random, range(1, 9))), key=_IDENTITIES.index)
    lamps = tuple(rank_pick(random, present) for _ in range(frames))
    cards = tuple(
        tuple(
            (cell, identity, rank_pick(random, _CONTENTS))
            for cell, identity in zip(several(random, range(1, 9), len(present)), present, strict=True)
        )
        for _ in range(frames)
    )
    return Gaze(lamps, cards)

"""What is in a clip, and what is said of it: pure functions of (seed, level, split, index)."""

from __future__ import annotations

from hashlib import blake2b
from random import Random
from typing import Protocol

from attrs import frozen
from PIL import Image

from fvlm_core.interfaces import Split
from fvlm_shapes.config import Level
from fvlm_shapes.draw import COLOURS, GLYPHS, GRID, blank, card, fill, rank_choice

_HELD_OUT = 8
"""One scene in so many belongs to the validation split, by its hash: no clip is ever in both."""

_FLOORS = {
    "black": (0, 0, 0),
    "slate": (128, 128, 128),
    "maroon": (90, 10, 30),
    "sea": (0, 90, 90),
    "moss": (95, 95, 10),
    "indigo": (50, 10, 110),
}
_MOTIONS = {"standing still": 0, "moving right": 1, "moving left": -1}


class Scene(Protocol):
    """A clip before it is drawn; its repr says everything that decides the pixels."""

    def caption(self) -> str:
        """What is said of it."""
        ...

    def frames(self) -> list[Image.Image]:
        """Its pictures, 42 x 42 RGB."""
        ...


def scene(level: Level, seed: int, split: Split, index: int, frames: int) -> Scene:
    """The scene of clip `index` of a split."""
    draw = {"easy": _easy, "gaze": _gaze}[level]
    attempt = 0
    while True:  # the first of a fixed series of scenes that belongs to the split
        drawn = draw(Random(f"{level}/{seed}/{split}/{index}/{attempt}"), frames)
        digest = blake2b(repr(drawn).encode(), digest_size=8).digest()
        if (int.from_bytes(digest) % _HELD_OUT == 0) == (split == "validation"):
            return drawn
        attempt += 1


@frozen
class Easy:
    """Three cards on a floor, one in each row; the lowest may move.

    cards: (colour, glyph) from top to bottom. columns: where each is at first.
    """

    floor: str
    cards: tuple[tuple[str, str], ...]
    columns: tuple[int, ...]
    motion: str
    count: int

    def caption(self) -> str:
        """All of it is seen: seven words with heavy tails, and a motion."""
        cards = " above ".join(f"a {colour} {glyph}" for colour, glyph in self.cards)
        return f"{cards} {self.motion} on {self.floor}"

    def frames(self) -> list[Image.Image]:
        """One picture a second; the lowest card moves by a column and comes back on the other side."""
        pictures: list[Image.Image] = []
        for time in range(self.count):
            picture = blank(_FLOORS[self.floor])
            for row, (column, (colour, glyph)) in enumerate(zip(self.columns, self.cards, strict=True)):
                moved = _MOTIONS[self.motion] * time if row == GRID - 1 else 0
                card(picture, GRID * row + (column + moved) % GRID, colour, glyph)
            pictures.append(picture)
        return pictures


def _easy(random: Random, frames: int) -> Easy:
    return Easy(
        rank_choice(random, list(_FLOORS)),
        tuple((rank_choice(random, list(COLOURS)), rank_choice(random, GLYPHS)) for _ in range(GRID)),
        tuple(random.randrange(GRID) for _ in range(GRID)),
        rank_choice(random, list(_MOTIONS)),
        frames,
    )


_IDENTITIES = list(COLOURS)[:8]
_CONTENTS = [word for pair in zip(list(COLOURS)[:12], GLYPHS[:12], strict=True) for word in pair]


@frozen
class Gaze:
    """A lamp in cell 0 and one to eight cards, told apart by the colour of their heads.

    lamps: the identity that each frame's lamp names. cards: for each frame (cell, identity, content) of every card;
    cells and contents are drawn anew for each frame.
    """

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
    present = random.sample(_IDENTITIES, random.randint(1, len(_IDENTITIES)))
    return Gaze(
        tuple(rank_choice(random, present) for _ in range(frames)),
        tuple(
            tuple(
                (cell, identity, rank_choice(random, _CONTENTS))
                for cell, identity in zip(
                    random.sample(range(1, GRID * GRID), len(present)), present, strict=True
                )
            )
            for _ in range(frames)
        ),
    )

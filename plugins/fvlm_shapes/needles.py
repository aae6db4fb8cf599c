"""Needles: a flag that is shown for a few frames, anywhere in a long grey video, and asked for.

Frame k of a video is a pure function of what was drawn for it and of k, so that any frame of any of them is made alone,
when it is asked for: a video of 512 frames costs no more memory than one of 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from random import Random

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from fvlm_core.plugin_api import DataSource, FrameArray, Sample, Split, Turn
from fvlm_shapes.config import LONGEST, Needles
from fvlm_shapes.draw import CELL, GLYPHS, GRID, SIDE, blank, corner, fill, glyph
from fvlm_shapes.draws import pick, several

FLAGS = ("red", "blue", "yellow", "green", "orange", "purple", "cyan", "pink")
"""What a flag may look like; everything else is grey."""

QUESTION = "What colour is the flag?"

_HELD_OUT = 8
"""One haystack in so many belongs to the validation split, by its hash: none is ever in both."""


@frozen
class Wave:
    """A whole number that goes up and down with time: from `least` to `most` and back within `period` frames."""

    least: int
    most: int
    period: int
    phase: int

    def at(self, frame: int) -> int:
        """In this frame."""
        half = self.period / 2
        far = abs((frame + self.phase) % self.period - half) / half
        return self.least + round((self.most - self.least) * far)


@frozen
class Mover:
    """A grey card that goes to and fro in its row and shows one glyph after the other. held: frames of each."""

    row: int
    column: Wave
    grey: int
    first: int
    held: int


@frozen
class Haystack:
    """What goes on all the time: two bands whose greys come and go, and two cards."""

    sky: Wave
    ground: Wave
    movers: tuple[Mover, ...]

    def draw(self, frame: int) -> Image.Image:
        """One frame."""
        picture = blank()
        draw = ImageDraw.Draw(picture)
        for row in range(GRID):
            grey = (self.ground if row == GRID - 1 else self.sky).at(frame)
            draw.rectangle((0, CELL * row, SIDE - 1, CELL * row + CELL - 1), fill=(grey,) * 3)
        for mover in self.movers:
            x, y = corner(GRID * mover.row + mover.column.at(frame))
            draw.rectangle((x, y, x + CELL - 1, y + CELL - 1), fill=(mover.grey,) * 3)
            glyph(draw, x + 2, y + 2, GLYPHS[(mover.first + frame // mover.held) % len(GLYPHS)])
        return picture


@frozen
class Needle:
    """A flag in a haystack. length: frames of the video. first, shown: its first frame, and how many show it."""

    haystack: Haystack
    length: int
    first: int
    shown: int
    cell: int
    colour: str

    def draw(self, frame: int) -> NDArray[np.uint8]:
        """One frame, uint8 RGB [H, W, 3]."""
        picture = self.haystack.draw(frame)
        if self.first <= frame < self.first + self.shown:
            fill(picture, self.cell, self.colour)
        return np.asarray(picture)


@frozen
class Film:
    """A video as a clip has it, uint8 [T, H, W, 3]; nothing is kept of it."""

    needle: Needle
    dtype = np.dtype(np.uint8)

    @property
    def shape(self) -> tuple[int, ...]:
        """[T, H, W, 3]."""
        return (self.needle.length, SIDE, SIDE, 3)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        return self.needle.draw(index)


def needle(config: Needles, split: Split, index: int) -> Needle:
    """That of sample `index`. Its haystack and its flag depend on (seed, split, index) alone, so that the same ones are
    looked for at any length and depth."""
    random = Random(f"flags/{config.seed}/{split}/{index}")
    cell, colour, anywhere = pick(random, range(GRID * GRID)), pick(random, FLAGS), random.random()
    length = config.lengths[index % len(config.lengths)]
    rest = length - config.shown
    depth = config.depths[index // len(config.lengths) % len(config.depths)] if config.depths else None
    first = min(rest, int(anywhere * (rest + 1))) if depth is None else round(depth * rest)
    return Needle(_haystack(config.seed, split, index), length, first, config.shown, cell, colour)


def _haystack(seed: int, split: Split, index: int) -> Haystack:
    attempt = 0
    while True:
        random = Random(f"haystacks/{seed}/{split}/{index}/{attempt}")
        sky, ground = (_wave(random, 30, 200, (20, 120)) for _ in range(2))
        rows = sorted(several(random, range(GRID), 2))
        found = Haystack(sky, ground, tuple(_mover(random, row) for row in rows))
        digest = blake2b(repr(found).encode(), digest_size=8).digest()
        if (int.from_bytes(digest, "big") % _HELD_OUT == 0) == (split == "validation"):
            return found
        attempt += 1


def _wave(random: Random, least: int, most: int, periods: tuple[int, int]) -> Wave:
    period = pick(random, range(*periods))
    return Wave(least, most, period, pick(random, range(period)))


def _mover(random: Random, row: int) -> Mover:
    column = _wave(random, 0, GRID - 1, (4, 24))
    return Mover(
        row, column, pick(random, range(60, 180)), pick(random, range(16)), pick(random, range(2, 12))
    )


def build(config: Needles, split: Split) -> NeedleSource:
    """The videos of one split."""
    return NeedleSource(config, split)


class NeedleSource(DataSource):
    """Videos with a flag in each. Nothing is kept: every frame is drawn where it is shown."""

    def __init__(self, config: Needles, split: Split) -> None:
        self.name = "needles"
        self.config = config
        self.split: Split = split

    def __len__(self) -> int:
        return self.config.clips if self.split == "train" else self.config.validation_clips

    def __getitem__(self, index: int) -> Sample:
        hidden = needle(self.config, self.split, index)
        return Sample(
            f"{self.config.seed}-{self.split}-{index:06d}-{hidden.length}-{hidden.first}",
            self.name,
            (Turn("user", QUESTION), Turn("assistant", hidden.colour)),
            FrameArray(Film(hidden), rate=1.0, max_frames=LONGEST),
            nats=0.0,
            category=f"{hidden.length} frames",
            chance=1 / len(FLAGS),
        )

    def frame_counts(self) -> Sequence[int]:
        """Known by the configuration."""
        lengths = self.config.lengths
        return [lengths[index % len(lengths)] for index in range(len(self))]

"""A realistic mix of samples, trained in planned micro-batches, and in batches of eight as plain collators pad them.

Videos of 1 to 64 frames, 5.7 in the mean, captions of 40 to 512 tokens, 14 % text only: the shape of the founding
project's data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from fvlm_core.bench.dense import Step, updating
from fvlm_core.bench.setting import Setting
from fvlm_core.data.batch import Batch
from fvlm_core.data.collate import Example, collate, fillers
from fvlm_core.data.planning import Room, first_fit
from fvlm_core.utils.seeding import derive

SAMPLES, BATCH, PADDED = 192, 64, 8
"""Of the mix, of an optimizer step, and of a padded micro-batch."""

TEXT_ONLY, MEAN_FRAMES, FRAMES, TOKENS = 0.14, 5.7, (1, 64), (40, 512)
MICRO_FRAMES, MICRO_TOKENS = 64, 2048
"""The planned micro-batches'."""


def rooms() -> list[Room]:
    """The lengths of the mix, seeded. Log-normal between their bounds, moved to the stated mean of frames."""
    draw = np.random.default_rng(derive(0, "mix"))
    frames = np.exp(draw.normal(1.25, 0.95, SAMPLES))
    tokens = np.clip(np.exp(draw.normal(4.9, 0.6, SAMPLES)), *TOKENS).astype(int)
    only_text = np.arange(SAMPLES) < round(TEXT_ONLY * SAMPLES)
    draw.shuffle(only_text)
    scale, counts = 1.0, frames.astype(int)
    for _ in range(50):  # rounding and bounds move the mean; a few corrections bring it back
        counts = np.clip(np.rint(scale * frames), *FRAMES).astype(int)
        scale *= MEAN_FRAMES / counts[~only_text].mean()
    return [
        Room(0 if text else int(count), int(length))
        for text, count, length in zip(only_text, counts, tokens, strict=True)
    ]


@frozen
class _Maker:
    """Makes batches of places of the mix. side: of the frames. vocabulary: of the text."""

    rooms: Sequence[Room]
    side: int
    vocabulary: int

    def example(self, place: int, frames: int | None = None, tokens: int | None = None) -> Example:
        """The sample of a place; padded to more frames and tokens where these are given."""
        draw = np.random.default_rng(derive(1, "mix", place))
        room = self.rooms[place]
        pixels = (room.frames if frames is None else frames, 3, self.side, self.side)
        length = tokens or room.tokens
        learned = np.arange(length) < room.tokens
        learned[0] = False
        return Example(
            f"mix/{place}",
            draw.integers(0, 256, pixels, dtype=np.uint8),
            draw.integers(0, self.vocabulary, length),
            learned,
            learned,
        )

    def padded(self, places: Sequence[int]) -> Batch:
        """Every sample as long as the longest, in frames and in text."""
        longest = [max(getattr(self.rooms[place], name) for place in places) for name in ("frames", "tokens")]
        return collate([self.example(place, *longest) for place in places])

    def unpadded(self, places: Sequence[int]) -> Batch:
        """Every sample as it is."""
        return collate([self.example(place) for place in places])

    def filled(self, places: Sequence[int]) -> Batch:
        """Brought to one shape."""
        examples = [self.example(place) for place in places]
        return collate([*examples, *fillers(examples, MICRO_FRAMES, MICRO_TOKENS, TOKENS[1])])


def plan(kind: str, lengths: Sequence[Room]) -> list[list[list[int]]]:
    """Places of the micro-batches of every step. kind: "packed" or "filled" are planned, others are of eight."""
    steps: list[list[list[int]]] = []
    for begin in range(0, len(lengths), BATCH):
        own = lengths[begin : begin + BATCH]
        if kind in ("packed", "filled"):
            groups = first_fit(own, MICRO_FRAMES, MICRO_TOKENS)
        else:
            numbers = list(range(len(own)))
            groups = [numbers[first : first + PADDED] for first in range(0, len(own), PADDED)]
        steps.append([[begin + number for number in group] for group in groups])
    return steps


def mixed(setting: Setting, kind: str) -> Step:
    """All steps of the mix. kind: "packed", "filled" (the same, brought to one shape), "rows" (of eight, frames not
    padded, a row of text for each sample) or "padded" (of eight, frames and text padded to the longest)."""
    model = setting.model()
    model.pack = kind in ("packed", "filled")
    maker = _Maker(rooms(), model.encoder.spec.image_size, setting.vocabulary())
    make = {"packed": maker.unpadded, "filled": maker.filled, "rows": maker.unpadded, "padded": maker.padded}
    steps = [[make[kind](places) for places in step] for step in plan(kind, maker.rooms)]
    update = updating(model.parameter_groups())

    def step() -> None:
        for batches in steps:
            tokens = 0
            for batch in batches:
                with setting.autocast():
                    losses = model(batch.to(setting.device))
                losses.loss.backward()
                tokens += losses.tokens
            update(tokens)

    return step

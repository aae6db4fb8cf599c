"""Needles in haystacks: whether a model finds what is shown for a moment, by the video's length and its depth there.

Videos are watched frame by frame, as they come: a frame is drawn, looked at and let go, so that their length costs no
memory but that of the tokens that a model keeps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from attrs import evolve, frozen
from torch import Tensor

from fvlm_core.evaluation.subject import EvaluatedModel, check_mode, open_data
from fvlm_core.hardware.devices import autocast, pick_device
from fvlm_core.interfaces.data import DataSource, Progress, Sample
from fvlm_core.interfaces.metric import Answer
from fvlm_core.interfaces.specs import Mode
from fvlm_core.media.frames import count_frames, decode_frames, frames_of
from fvlm_core.model.answer import answer
from fvlm_core.model.vlm import VLM, sample_key
from fvlm_core.recipes.schema import Answering, Chosen
from fvlm_core.training.answers import answered, mean_among, open_metrics, scored
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.seeding import derive

LENGTHS = (8, 16, 32, 64, 128)
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
SAMPLES = 32
WATCHED = "frame by frame"
"""How videos are watched that come frame by frame, where a mode would stand otherwise."""

_IN_STEP = 32
"""Videos that are watched at once."""


@frozen
class NeedleCell:
    """Questions about videos of one length with the needle at one depth. mean, low, high: of the metric, None where
    nothing was scored."""

    length: int
    depth: float
    answers: int
    mean: float | None
    low: float | None
    high: float | None


@frozen
class NeedleGrid:
    """Cells, lengths after each other. metric: its column. chance: the odds of a guess, where they are known and alike.
    watched: the mode, or `WATCHED`. tokens_per_frame: of the model's connector."""

    metric: str
    chance: float | None
    watched: str
    tokens_per_frame: int
    cells: tuple[NeedleCell, ...]

    @property
    def lengths(self) -> list[int]:
        """In frames, in order."""
        return list(dict.fromkeys(cell.length for cell in self.cells))

    @property
    def depths(self) -> list[float]:
        """In order."""
        return list(dict.fromkeys(cell.depth for cell in self.cells))

    def above_chance(self) -> list[NeedleCell]:
        """Those whose interval lies above chance."""
        return [
            cell
            for cell in self.cells
            if self.chance is not None and cell.low is not None and cell.low > self.chance
        ]


def needles(
    subject: EvaluatedModel,
    *,
    data: str,
    settings: Sequence[str],
    lengths: Sequence[int],
    depths: Sequence[float],
    samples: int,
    metric: Chosen,
    answering: Answering,
    mode: Mode | None,
    device: str,
    progress: Progress,
) -> NeedleGrid:
    """Ask for the needle in `samples` videos of every length at every depth.

    data: a source of which a video's length and where the needle lies are the settings `lengths` and `depths`.
    settings: "key=value" texts of it. mode: all frames at once in this mode; None: frame by frame, where the connector
    can. Raises `UsageError`.
    """
    if mode is not None:
        check_mode(subject, mode, "--mode")
    training = evolve(subject.training, device=device)
    where = pick_device(training.device)
    model = subject.model.to(where).eval()
    own = f"validation_clips={samples}"
    [scorer] = open_metrics([metric]).values()
    watched = WATCHED if mode is None and model.stream() is not None else (mode or model.connector.spec.mode)
    places = [(length, depth) for length in lengths for depth in depths]
    told: list[list[Answer]] = []
    for number, (length, depth) in enumerate(places):
        progress("needles", number, len(places))
        here = (*settings, f"lengths=[{length}]", f"depths=[{float(depth)}]", own)
        [source] = open_data(subject, data, here, "validation", lambda what, done, total: None)
        with torch.no_grad(), autocast(training, where):
            told.append(list(_asked(subject, model, source, length, answering, watched, where)))
    progress("needles", len(places), len(places))
    every = scored(metric.name, scorer, [each for cell in told for each in cell])
    chances = {each.chance for cell in told for each in cell}
    rest = iter(every)
    cells: list[NeedleCell] = []
    for (length, depth), answers in zip(places, told, strict=True):
        found = mean_among("x", [next(rest) for _ in answers], every)
        cells.append(NeedleCell(length, depth, len(answers), found["x"], found["x_low"], found["x_high"]))
    chance = chances.pop() if len(chances) == 1 else None
    return NeedleGrid(scorer.column, chance, watched, model.connector.spec.tokens_per_frame, tuple(cells))


def _asked(
    subject: EvaluatedModel,
    model: VLM,
    source: DataSource,
    length: int,
    answering: Answering,
    watched: str,
    device: str,
) -> Iterator[Answer]:
    """The model's answers about every video of a source."""
    size = model.encoder.spec.image_size
    for first in range(0, len(source), _IN_STEP):
        batch = [source[index] for index in range(first, min(first + _IN_STEP, len(source)))]
        names = [f"{sample.source}/{sample.id}" for sample in batch]
        for name, count in zip(names, map(count_frames, batch), strict=True):
            if count != length:
                raise UsageError(f"--lengths {length}: {name} has {count} frames")
        prompts = [subject.chat.prompt(sample.turns[:-1]).tolist() for sample in batch]
        seen: list[Tensor | None] = [None] * len(batch)
        if watched == WATCHED:
            for question in {
                tuple(prompt) for prompt in prompts
            }:  # in step: of one question, as long for each
                rows = [at for at, prompt in enumerate(prompts) if tuple(prompt) == question]
                tokens = watch(model, [batch[at] for at in rows], question, device)
                for at, own in zip(rows, tokens, strict=True):
                    seen[at] = own
        for sample, name, tokens in zip(batch, names, seen, strict=True):
            frames = (
                np.zeros((0, 3, size, size), np.uint8) if tokens is not None else decode_frames(sample, size)
            )
            said = answer(
                model,
                subject.chat,
                sample.turns[:-1],
                torch.from_numpy(frames),
                limit=answering.limit,
                settings=answering,
                seed=derive(0, "answer", name),
                mode=None if watched == WATCHED else watched,
                visual=tokens,
                key=name,
            )
            yield answered(name, sample, said)


@torch.no_grad()
def watch(
    model: VLM,
    samples: Sequence[Sample],
    question: Sequence[int] = (),
    device: str = "cpu",
    each: Callable[[int, Any], None] = lambda frames, stream: None,
) -> Tensor:
    """The visual tokens [R, T, k, W] of R videos of one length, watched in step, frame by frame; of a connector that
    sees the last frames alone those of these.

    question: token ids, the same for all, which a model with `question_first` reads before. each: is told how many
    frames were watched, and the stream. Raises `BadSample`.
    """
    size = model.encoder.spec.image_size
    stream = model.stream(question, [sample_key(f"{one.source}/{one.id}") for one in samples])
    assert stream is not None
    kept: deque[Tensor] = deque(maxlen=model.connector.spec.last_frames)
    for at, frames in enumerate(zip(*(frames_of(one, size) for one in samples), strict=True)):
        shown = model.normalise(torch.from_numpy(np.stack(frames)).to(device))
        kept.append(stream.next_tokens(shown))
        each(at + 1, stream)
    return torch.stack(list(kept), 1)

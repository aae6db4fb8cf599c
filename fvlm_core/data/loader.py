"""Micro-batches of training, from any step on, decoded by worker processes; and the fixed validation set."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Mapping, Sequence
from multiprocessing import active_children
from typing import Any, cast

from attrs import evolve, field, frozen
from torch.utils.data import DataLoader, Dataset

from fvlm_core.data.augment import augmented
from fvlm_core.data.batch import Batch
from fvlm_core.data.collate import Example, Preparer, collate, fillers, fitted
from fvlm_core.data.mixture import Mixture
from fvlm_core.data.mixture_counts import Realised, count_batch
from fvlm_core.data.planning import Piece, Pieces, RankShare, Room
from fvlm_core.data.worker_watch import InFlight
from fvlm_core.data.workers import LOOK, DieWith, awaited, ended_with, need_shared_memory
from fvlm_core.interfaces.data import DataSource, Sample
from fvlm_core.media.video import BadSample
from fvlm_core.recipes.augment import Augment
from fvlm_core.utils.seeding import derive, seed_sample

WORKER_TIMEOUT = 300
"""Seconds without a batch from a worker before the run stops; torch's default would wait for ever."""

REPLACEMENTS = 10
"""Replacements tried for one place before the run stops: ten bad samples in a row are no accident."""


@frozen
class BadReport:
    """A sample that could not be used: "source/id", and why."""

    sample: str
    reason: str

    @property
    def kind(self) -> str:
        """The reason without what is this sample's own, for counting: numbers become N, details go."""
        return re.sub(r"\d[\d.,]*", "N", re.split(r"[;(]", self.reason)[0]).strip()


@frozen(eq=False)
class MicroBatch:
    """A batch, the bad samples met while making it, and the text tokens cut off.

    spelled: its samples whose texts spell out a control token, each with the first of these, "source/id" and name.
    offset: samples of the step before it. last: whether it is the rank's last of the step.
    """

    batch: Batch
    bad: tuple[BadReport, ...] = ()
    truncated: int = 0
    spelled: tuple[tuple[str, str], ...] = ()
    offset: int = 0
    last: bool = True

    def reading(self) -> Reading:
        """What the run's accounts need of it."""
        mixture: Realised = {}
        count_batch(mixture, self.batch)
        return Reading(self.batch.sample_ids, mixture, self.truncated, self.bad, self.spelled)


@frozen
class Reading:
    """What a micro-batch held: the ids of its samples, what each source gave, text tokens cut off, bad samples met,
    samples that spell out a control token."""

    samples: tuple[str, ...]
    mixture: Realised
    truncated: int
    bad: tuple[BadReport, ...]
    spelled: tuple[tuple[str, str], ...] = ()


@frozen(eq=False)
class TrainingData(Dataset[MicroBatch]):
    """The training mixture by place.

    replace: False stops at the first bad sample. flight: where workers note which sample they are reading. augment: how
    frames are varied.
    """

    sources: tuple[DataSource, ...]
    mixture: Mixture
    preparer: Preparer
    replace: bool = True
    flight: InFlight | None = None
    augment: Augment | None = None

    def __getitem__(self, piece: Any) -> MicroBatch:
        """The micro-batch of a piece of a step. Raises `BadSample` when it cannot be filled."""
        of = cast(Piece, piece)
        self._read_ahead(of.next)
        bad: list[BadReport] = []
        rooms = of.rooms or (None,) * len(of.places)
        examples = [self._example(place, room, bad) for place, room in zip(of.places, rooms, strict=True)]
        self._note("")
        cut = sum(example.truncated for example in examples)
        if of.shape is not None:
            examples += fillers(examples, of.shape.frames, of.shape.tokens, self.preparer.max_tokens)
        spelled = tuple((example.id, example.spelled[0]) for example in examples if example.spelled)
        return MicroBatch(collate(examples), tuple(bad), cut, spelled, of.offset, of.last)

    def _note(self, name: str) -> None:
        if self.flight is not None:
            self.flight.note(name)

    def _read_ahead(self, places: Sequence[int]) -> None:
        """Tell each source which of its samples this process reads after those that it reads now."""
        indices: dict[int, list[int]] = {}
        for source, index in map(self.mixture.at, places):
            indices.setdefault(source, []).append(index)
        for source, its in indices.items():
            self.sources[source].read_ahead(its)

    def _example(self, place: int, room: Room | None, bad: list[BadReport]) -> Example:
        source, index = self.mixture.at(place)
        attempt = 0
        while True:
            seed_sample(self.mixture.seed, place)
            name = f"{self.sources[source].name}/{index}"
            try:
                self._note(name)
                sample = self.sources[source][index]
                name = f"{sample.source}/{sample.id}"
                self._note(name)
                example = self.preparer.example(sample)
                if self.augment is not None:
                    shown = augmented(example.frames, sample, self.augment, self.mixture.seed, place)
                    example = evolve(example, frames=shown)
                return (
                    example
                    if room is None
                    else fitted(example, room.frames, room.tokens, replaced=attempt > 0)
                )
            except BadSample as error:
                bad.append(BadReport(name, str(error)))
                if not self.replace:
                    raise
                if attempt == REPLACEMENTS:
                    reason = f"{REPLACEMENTS} replacements in a row were bad too; the last: {error.reason}"
                    raise BadSample(name, reason) from error
            source, index = self.mixture.replacement(place, attempt)
            attempt += 1


def micro_batches(
    data: TrainingData, share: RankShare, step: int, workers: int, pin: bool, timeout: float = WORKER_TIMEOUT
) -> Generator[MicroBatch]:
    """This rank's micro-batches after `step` steps of its share, to its end, in order whatever the workers.

    Whoever stops before the end closes it: its workers end with it.

    Raises `FvlmError` when a worker dies, fails, or says nothing for `timeout` seconds: with the samples in flight;
    `UsageError` where workers have no room to hand batches over.
    """
    if workers:
        need_shared_memory()
    flight = InFlight(workers)
    loader: DataLoader[MicroBatch] = DataLoader(
        evolve(data, flight=flight) if workers else data,
        sampler=Pieces(share, step, max(workers, 1)),  # type: ignore[arg-type]  # an iterable; it has no length
        batch_size=None,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        timeout=min(timeout, LOOK) if workers else 0,
        pin_memory=pin,
        worker_init_fn=DieWith(os.getpid()) if workers else None,
        # Not Python's own, which is a server's from 3.14 on: sources are read where they lie, and not sent.
        multiprocessing_context="fork" if workers else None,
    )
    others = {*active_children()}
    batches = iter(loader)
    with (
        ended_with(batches, [child for child in active_children() if child not in others]),
        flight.explained(),
    ):
        yield from awaited(batches, timeout)


@frozen(eq=False)
class ValidationSet:
    """The fixed validation samples: the same ones at every evaluation of every run that names the same data.

    At most `samples` of them, an equal share of each source, chosen by a rule that knows no seed. Bad ones are
    left out once, at the start, and named.

    questions: by "source/id", those that are answered, without what they show; the last turn is the assistant's own.

    floor: the loss on them of a model that knows all there is to know, in nats a supervised token (`Sample.nats`); None
    where one of them does not say.
    """

    batches: tuple[Batch, ...]
    bad: tuple[BadReport, ...]
    questions: Mapping[str, Sample] = field(factory=dict[str, Sample])
    floor: float | None = None
    samples: int = field(init=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "samples", sum(len(batch.counts) for batch in self.batches))


def chosen_validation(source: DataSource, samples: int) -> list[int]:
    """The first `samples` of a source by a hash of their ids: the same ones whatever else the source holds."""
    ranked: list[tuple[int, int]] = []
    for index in range(len(source)):
        try:
            name = source.sample_id(index)
        except BadSample:
            name = str(index)  # it is tried, found bad again, and named
        ranked.append((derive(0, "validation", name), index))
    return [index for _, index in sorted(ranked)[:samples]]


def validation_set(
    sources: Sequence[DataSource], preparer: Preparer, samples: int, batch_size: int, answered: int = 0
) -> ValidationSet:
    """Decode the validation samples once and keep them: uint8 frames, 0.15 MB each at 224 px.

    answered: how many of them are questions too, an equal share of each source: the first ones that end with an answer
    and whose prompt is not cut.
    """
    examples: list[Example] = []
    questions: dict[str, Sample] = {}
    bad: list[BadReport] = []
    for number, source in enumerate(sources):
        share, asked = (n // len(sources) + (number < n % len(sources)) for n in (samples, answered))
        chosen = chosen_validation(source, share)
        source.read_ahead(chosen)
        for index in chosen:
            name = f"{source.name}/{index}"
            try:
                sample = source[index]
                name = f"{sample.source}/{sample.id}"
                examples.append(preparer.example(sample))
            except BadSample as error:
                bad.append(BadReport(name, str(error)))
                continue
            if asked and preparer.asks(sample.turns):
                questions[name] = evolve(sample, video=None, images=(), signals=())
                asked -= 1
    # Samples of like length share a batch, so that little of it is padding.
    examples.sort(key=lambda example: (len(example.frames), len(example.ids), example.id))
    batches = [collate(examples[start : start + batch_size]) for start in range(0, len(examples), batch_size)]
    return ValidationSet(tuple(batches), tuple(bad), questions, _floor(examples))


def _floor(examples: Sequence[Example]) -> float | None:
    """Nats a supervised token of a model that knows the odds of each."""
    nats = [example.nats for example in examples if example.nats is not None]
    if not nats or len(nats) < len(examples):
        return None
    return sum(nats) / sum(int(example.supervised.sum()) for example in examples)

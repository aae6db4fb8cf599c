"""What a data source promises; see `DataSource`. Imports no torch."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

import attrs
import numpy as np

from fvlm_core.interfaces.data import DataSource, FrameArray, Role, Sample, Split
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.testing.finding import Promise, expect, promises, skip
from fvlm_core.testing.subject import ComponentUnderTest
from fvlm_core.utils.errors import Problem

PROMISES: list[Promise] = []
MOST = 512
"""Samples of a split that are looked at; the first ones."""

SPLITS: tuple[Split, ...] = get_args(Split)
DECODED = 4
"""Samples of a split that are decoded; the first ones."""

SHOWN = 80
"""Characters of a value in a message, around where it differs."""

SIZE = 28
"""Side of the frames that the first samples are decoded to."""


class Supply:
    """The source under test: both splits, and the first samples of each."""

    def __init__(self, subject: ComponentUnderTest) -> None:
        self.component = subject.component
        self.config = subject.config
        self.target = subject.load()

    def open(self, split: Split) -> Any:
        """The source listed once more."""
        return self.target(self.config, split)

    @cached_property
    def sources(self) -> dict[Split, Any]:
        """Both splits."""
        return {split: self.open(split) for split in SPLITS}

    @cached_property
    def samples(self) -> dict[Split, list[Any]]:
        """The first samples of each split, in order."""
        return {
            split: [source[index] for index in range(min(MOST, len(source)))]
            for split, source in self.sources.items()
        }


def prepare(subject: ComponentUnderTest) -> Supply:
    """The source under test."""
    return Supply(subject)


@promises(PROMISES, "build(config, split) lists each split", DataSource, "The component's target is")
def _build(supply: Supply) -> None:
    for split, source in supply.sources.items():
        expect(isinstance(source, DataSource), f"{split}: {supply.component.target} gives {source!r}")
        name = getattr(source, "name", None)
        expect(isinstance(name, str) and name, f"{split}: its name is {name!r}, expected a string")


@promises(PROMISES, "each split has samples", DataSource.__len__, "Samples of this split")
def _length(supply: Supply) -> None:
    for split, source in supply.sources.items():
        expect(len(source) > 0, f"{split} has no sample")


@promises(PROMISES, "samples are samples", Sample, "video: a clip")
def _samples(supply: Supply) -> None:
    for split, index, sample in _every(supply):
        here = f"sample {index} of {split}"
        expect(isinstance(sample, Sample), f"{here} is a {type(sample).__name__}")
        expect(sample.video is None or not sample.images, f"{here} has a video and images")
        expect(len(sample.turns) > 0, f"{here} has no turns")
        for turn in sample.turns:
            expect(turn.role in get_args(Role), f'{here} has a turn of "{turn.role}"')


@promises(PROMISES, "it says what it gives beside frames", DataSource, "Names of the signals")
def _signals(supply: Supply) -> None:
    for split, index, sample in _every(supply):
        names = [signal.modality for signal in sample.signals]
        here = f"sample {index} of {split} gives {', '.join(names)}"
        declared = supply.sources[split].modalities
        expect(set(names) <= set(declared), f"{here}; its source declares {declared}")
        expect(len(names) == len(set(names)), f"{here}: expected one signal of a modality at most")


@promises(PROMISES, "ids are unique", Sample, "One training example; id is stable and unique")
def _unique(supply: Supply) -> None:
    for split, samples in supply.samples.items():
        seen: dict[str, int] = {}
        for index, sample in enumerate(samples):
            expect(isinstance(sample.id, str), f"sample {index} of {split} has the id {sample.id!r}")
            first = seen.setdefault(sample.id, index)
            expect(first == index, f'samples {first} and {index} of {split} both have the id "{sample.id}"')


@promises(PROMISES, "samples are the same in any order", DataSource, "Random access is what makes")
def _random_access(supply: Supply) -> None:
    for split, samples in supply.samples.items():
        again = supply.open(split)
        order = np.random.default_rng(0).permutation(len(samples)).tolist()
        for index in order:
            _same(again[index], samples[index], f"sample {index} of {split}, listed again, in another order")


@promises(PROMISES, "ids are stable", Sample, "One training example; id is stable and unique")
def _stable(supply: Supply) -> None:
    for split, samples in supply.samples.items():
        again = supply.open(split)
        for index in (0, len(samples) - 1):
            got, wanted = again[index].id, samples[index].id
            expect(got == wanted, f'sample {index} of {split} is "{wanted}", and "{got}" when listed again')


@promises(PROMISES, "data workers can hold a copy", DataSource, "Picklable: data workers hold")
def _pickles(supply: Supply) -> None:
    for split, source in supply.sources.items():
        copy = pickle.loads(pickle.dumps(source))
        expect(len(copy) == len(source), f"{split}: a pickled copy has {len(copy)} samples of {len(source)}")
        for index, sample in enumerate(supply.samples[split]):
            _same(copy[index], sample, f"sample {index} of {split} in a pickled copy")


@promises(
    PROMISES, "train and validation share nothing", DataSource, "Train and validation of one config never"
)
def _disjoint(supply: Supply) -> None:
    train, validation = ({sample.id for sample in supply.samples[split]} for split in SPLITS)
    both = sorted(train & validation)
    expect(not both, f'"{both[0] if both else ""}" is in both')
    shown = {_shown(sample) for sample in supply.samples["train"]} - {None}
    for sample in supply.samples["validation"]:
        expect(_shown(sample) not in shown, f'"{sample.id}" of validation shows what a sample of train shows')


@promises(PROMISES, "the fingerprint is of what it holds", DataSource.fingerprint, "A short hash")
def _fingerprint(supply: Supply) -> None:
    found: dict[Split, Any] = {split: source.fingerprint() for split, source in supply.sources.items()}
    for split, value in found.items():
        expect(isinstance(value, str) and value, f"the fingerprint of {split} is {value!r}")
        again = supply.open(split).fingerprint()
        expect(again == value, f"the fingerprint of {split} is {value}, and {again} when listed again")
    expect(found["train"] != found["validation"], "train and validation have one fingerprint")


@promises(
    PROMISES, "frame counts are those of the samples", DataSource.frame_counts, "Frames of every sample"
)
def _frame_counts(supply: Supply) -> None:
    from fvlm_core.media.frames import count_frames

    said: dict[Split, Any] = {split: source.frame_counts() for split, source in supply.sources.items()}
    if all(counts is None for counts in said.values()):
        skip("it does not know them without opening files")
    for split, counts in said.items():
        if counts is None:
            continue
        total = len(supply.sources[split])
        expect(len(counts) == total, f"{len(counts)} frame counts of {total} samples of {split}")
        for index, sample in enumerate(supply.samples[split][:20]):
            wanted = count_frames(sample)
            expect(counts[index] == wanted, f"{counts[index]} frames of sample {index} of {split}: {wanted}")


@promises(PROMISES, "what is left out is named", DataSource.problems, "Rows left out while listing")
def _problems(supply: Supply) -> None:
    for split, source in supply.sources.items():
        found: Sequence[Any] = source.problems()
        wrong = [one for one in found if not isinstance(one, Problem)]
        expect(not wrong, f"{split}: {wrong[:1]!r} is no Problem")


@promises(PROMISES, "texts are those of the turns", DataSource.texts, "Every text of every turn")
def _texts(supply: Supply) -> None:
    samples = supply.samples["train"]
    wanted = [turn.content for sample in samples for turn in sample.turns]
    got = [text for text, _ in zip(supply.sources["train"].texts(), wanted, strict=False)]
    expect(got == wanted, "`texts` are not the turns' texts in order")


@promises(PROMISES, "preparing changes no sample", DataSource.prepare, "The samples stay what they were")
def _prepares(supply: Supply) -> None:
    if all(type(source).prepare is DataSource.prepare for source in supply.sources.values()):
        skip("it has nothing to prepare")
    for split, source in supply.sources.items():
        for _ in range(2):  # finished work is not repeated, and must not be in the way
            source.prepare(lambda what, done, total: None)
        for index, sample in enumerate(supply.samples[split][:DECODED]):
            _same(source[index], sample, f"sample {index} of {split} after `prepare`")


@promises(PROMISES, "what it shows can be decoded", Sample, "What a sample shows can be decoded")
def _decodes(supply: Supply) -> None:
    from fvlm_core.media.frames import decode_frames

    for split, source in supply.sources.items():
        source.prepare(lambda what, done, total: None)
        bad: list[str] = []
        first = supply.samples[split][:DECODED]
        for index, sample in enumerate(first):
            try:
                frames = decode_frames(sample, SIZE)
            except BadSample as error:  # a run counts and replaces it
                bad.append(str(error))
                continue
            expect(len(frames) > 0 or not sample.visual, f"sample {index} of {split} shows nothing")
        expect(len(bad) < len(first), f"of the first {len(first)} of {split} none can be decoded: {bad[:1]}")


def _every(supply: Supply) -> list[tuple[Split, int, Any]]:
    return [
        (split, index, sample)
        for split, samples in supply.samples.items()
        for index, sample in enumerate(samples)
    ]


def _same(got: Any, wanted: Any, what: str) -> None:
    if got != wanted:
        expect(False, f"{what}: {_difference(got, wanted)}")


def _difference(got: Any, wanted: Any, where: str = "") -> str:
    """Where two unequal values first differ, and what each has there: `turns[1].content is "...", and was "..."`."""
    if type(got) is type(wanted) and attrs.has(type(got)):
        for of in (one for one in attrs.fields(type(got)) if one.eq):
            pair = getattr(got, of.name), getattr(wanted, of.name)
            key = of.eq_key or (lambda value: value)
            if key(pair[0]) != key(pair[1]):
                return _difference(*pair, f"{where}.{of.name}".lstrip("."))
    if isinstance(got, tuple) and isinstance(wanted, tuple):
        pairs: list[tuple[Any, Any]] = list(zip(got, wanted, strict=False))  # pyright: ignore[reportUnknownArgumentType]
        for at, (one, other) in enumerate(pairs):
            if one != other:
                return _difference(one, other, f"{where}[{at}]")
        return f"{len(got)} {where}, and {len(wanted)} before"  # pyright: ignore[reportUnknownArgumentType]
    texts = repr(got), repr(wanted)
    same = next((at for at, (a, b) in enumerate(zip(*texts, strict=False)) if a != b), min(map(len, texts)))
    first, second = (_excerpt(text, same) for text in texts)
    return f"{where} is {first}, and was {second} before".lstrip()


def _excerpt(text: str, at: int) -> str:
    """A long text around one of its characters."""
    start, end = max(0, at - SHOWN // 2), max(0, at - SHOWN // 2) + SHOWN
    return f"{'...' if start else ''}{text[start:end]}{'...' if end < len(text) else ''}"


def _shown(sample: Any) -> Any:
    """What a sample shows, to compare; None for text, and for tables where many pictures share a path."""
    video = sample.video
    if isinstance(video, FrameArray):
        return video.content()
    if video is not None and getattr(video, "member", None) is None and isinstance(video.path, Path):
        return (video.path, getattr(video, "starts", ()))
    return None

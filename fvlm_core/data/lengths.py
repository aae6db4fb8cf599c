"""How long the samples of a run are: frames, text tokens and labels, without decoding a picture."""

from __future__ import annotations

import time
from collections.abc import Iterator

from attrs import evolve, frozen

from fvlm_core.data.augment import kept
from fvlm_core.data.collate import Preparer
from fvlm_core.data.mixture_weights import make_mixture
from fvlm_core.data.modalities import count_items
from fvlm_core.data.sources import Sources
from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.data import Sample
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.frames import count_frames, decode_frames
from fvlm_core.recipes.schema import RunRecipe

LOOKED_AT = 256
"""Samples whose mean stands for the data: a standard error of 3 % where lengths vary by half their mean."""

DECODED = 8
"""Samples decoded to see how long that takes."""


@frozen
class SampleLengths:
    """One sample. frames: T, 0 for text only. text: what the language model reads beside visual tokens: text after
    truncation, and the tokens of other modalities. supervised: how many are labels.

    rejected: of a pair, text and labels with the worse answer. items: of each modality beside frames. question: text
    tokens before the first answer.
    """

    frames: int
    text: int
    supervised: int
    rejected: tuple[int, int] | None = None
    items: tuple[int, ...] = ()
    question: int = 0


TYPICAL = SampleLengths(frames=8, text=128, supervised=127, question=32)
"""Stands for data that are not on this machine: the sample of the founding project's budgets, with a short question."""


@frozen
class FirstSamples:
    """What the first samples of a run are like. bad: why each of those is left out that cannot be used, by
    "source/id"."""

    lengths: list[SampleLengths]
    bad: dict[str, str]


def first_samples(config: RunRecipe, sources: Sources, chat: Chat) -> FirstSamples:
    """The first samples of the training mixture, as the model will see them; unusable ones are left out.

    Raises `BadSample` when none of them can be used.
    """
    training = config.training
    preparer = Preparer(
        chat,
        1,
        training.supervise,
        config.data.max_text_tokens,
        config.model.score_first_token,
        pairs=training.objective_spec.pairs,
        modalities=tuple(chosen.config.spec() for chosen in config.model.modalities or ()),
    )
    found: list[SampleLengths] = []
    bad: dict[str, str] = {}
    problem: BadSample | None = None
    known: dict[tuple[int, int], tuple[Sample, SampleLengths | BadSample]] = {}
    augment, seed = config.data.augment, training.seed
    for place, (source, index) in enumerate(_first(config, sources, chat, LOOKED_AT)):
        if (source, index) not in known:  # few samples come again and again
            sample = sources.train[source][index]
            known[source, index] = sample, _lengths(preparer, sample, config.data.image_repeats)
        sample, read = known[source, index]
        if isinstance(read, BadSample):
            problem = read
            bad[f"{sample.source}/{sample.id}"] = str(read)
        elif augment is None:
            found.append(read)
        else:
            shown = len(kept(read.frames, sample, augment, seed, place))
            found.append(evolve(read, frames=shown))
    if not found and problem:
        raise problem
    return FirstSamples(found, bad)


def _lengths(preparer: Preparer, sample: Sample, image_repeats: int) -> SampleLengths | BadSample:
    try:
        text = preparer.example(evolve(sample, video=None, images=(), signals=()))
        frames = count_frames(sample, image_repeats)
        items = tuple(count_items(sample, spec) for spec in preparer.modalities)
    except BadSample as error:
        return error
    worse = text.rejected
    more = sum(n * spec.tokens_per_item for n, spec in zip(items, preparer.modalities, strict=True))
    rejected = (len(worse.ids) + more, int(worse.supervised.sum())) if worse else None
    labels = int(text.supervised.sum())
    return SampleLengths(frames, len(text.ids) + more, labels, rejected, items, text.question)


def decoding_seconds(
    config: RunRecipe, sources: Sources, size: int, chat: Chat | None = None
) -> float | None:
    """How long one core takes to decode a sample to frames of `size` pixels; None while there is no clip to decode."""
    times: list[float] = []
    for source, index in _first(config, sources, chat, DECODED + 1):
        sample = sources.train[source][index]
        begun = time.perf_counter()
        try:
            if sample.visual:
                decode_frames(sample, size)
        except BadSample:
            continue
        times.append(time.perf_counter() - begun)
    decoded = times[1:]  # the first one loads the decoder
    return sum(decoded) / len(decoded) if decoded else None


def _first(config: RunRecipe, sources: Sources, chat: Chat | None, count: int) -> Iterator[tuple[int, int]]:
    """(source, index) of the first samples of the training mixture, under the recipe's own seed."""
    mixture = make_mixture(config.data, sources.train, chat, config.training.seed)
    for place in range(count if mixture.places is None else min(count, mixture.places)):
        yield mixture.at(place)

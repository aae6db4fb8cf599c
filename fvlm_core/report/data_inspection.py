"""Samples of a source as the model will see them, and the lengths of many."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fvlm_core.data.permutation import Permutation
from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.data import DataSource, FrameArray, Progress, Sample, StoredFrames, VideoFile
from fvlm_core.media.arrays import decode_array
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.frames import count_frames, decode_frames
from fvlm_core.recipes.schema import RunRecipe
from fvlm_core.report.samples import LengthsOf, ShownSample
from fvlm_core.utils.seeding import derive


def chosen(source: DataSource, count: int) -> Iterator[int]:
    """Up to `count` places of a source, the same ones every time."""
    order = Permutation(len(source), derive(0, "inspect"))
    for place in range(min(count, len(source))):
        yield order.at(place)


def shown(sample: Sample, size: int, chat: Chat | None, recipe: RunRecipe | None) -> ShownSample:
    """A sample decoded, tokenised and masked as in training. Raises `BadSample`."""
    repeats = recipe.data.image_repeats if recipe else 1
    frames = decode_frames(sample, size, repeats)
    times: tuple[float, ...] = ()
    if isinstance(sample.video, StoredFrames) and not sample.video.still:
        times = sample.video.times
    elif isinstance(sample.video, VideoFile):
        from fvlm_core.media.decoders import decode_timed

        times = tuple(decode_timed(sample.video, 14)[1])
    elif isinstance(sample.video, FrameArray):
        times = tuple(decode_array(sample.id, sample.video, 14)[1])
    rejected = "\n".join(f"{turn.role}: {turn.content}" for turn in sample.rejected)
    return ShownSample(f"{sample.source}/{sample.id}", frames, times, _tokens(sample, chat, recipe), rejected)


def lengths_of(
    source: DataSource, count: int, chat: Chat | None, recipe: RunRecipe | None, progress: Progress
) -> tuple[LengthsOf, list[str]]:
    """The lengths of up to `count` samples, and what was wrong with the others. Decodes nothing."""
    frames: list[int] = []
    text: list[int] = []
    bad: list[str] = []
    total = min(count, len(source))
    for done, index in enumerate(chosen(source, count)):
        progress(f"measuring {source.name}", done, total)
        try:
            sample = source[index]
            frames.append(count_frames(sample, recipe.data.image_repeats if recipe else 1))
        except BadSample as error:
            bad.append(str(error))
            continue
        if chat is None:
            text.append(sum(len(turn.content) for turn in sample.turns))
        else:
            tokens = len(chat.encode(sample.turns).ids)
            text.append(min(tokens, recipe.data.max_text_tokens) if recipe else tokens)
    progress(f"measuring {source.name}", total, total)
    return LengthsOf(source.name, frames, text, "text tokens" if chat else "characters"), bad


def _tokens(sample: Sample, chat: Chat | None, recipe: RunRecipe | None) -> tuple[tuple[str, str], ...]:
    """The text in pieces, each with what it is."""
    if chat is None or recipe is None:
        return tuple(
            (word, "content" if turn.role == "assistant" else "context")
            for turn in sample.turns
            for word in f"{turn.role}: {turn.content}\n".replace(" ", " \0").split("\0")
        )
    encoded = chat.encode(sample.turns)
    supervise = recipe.training.supervise
    scored = {"all": np.ones_like(encoded.answer), "answer": encoded.answer, "content": encoded.content}[
        supervise
    ]
    scored = scored.copy()
    if not (recipe.model.score_first_token and sample.visual):
        scored[:1] = False
    kinds = np.where(scored, np.where(encoded.content, "content", "answer"), "context")
    kinds[recipe.data.max_text_tokens :] = "cut"
    return tuple(zip(_pieces(chat, encoded.ids.tolist()), kinds.tolist(), strict=True))


def _pieces(chat: Chat, ids: list[int]) -> list[str]:
    """The text of every token, special tokens by their names where the tokenizer tells them."""
    tokenizer = getattr(chat, "tokenizer", None)
    if tokenizer is None:
        return [chat.decode([one]) or "□" for one in ids]
    return [tokenizer.decode([one], skip_special_tokens=False) for one in ids]

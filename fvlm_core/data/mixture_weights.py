"""From a recipe's shares of samples, tokens or frames to a mixture of samples."""

from __future__ import annotations

from collections.abc import Sequence

from fvlm_core.data.mixture import Mixture
from fvlm_core.data.order import Order
from fvlm_core.data.permutation import Permutation
from fvlm_core.interfaces.chat import Chat
from fvlm_core.interfaces.data import DataSource
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.frames import count_frames
from fvlm_core.recipes.schema import Data
from fvlm_core.utils.errors import FvlmError
from fvlm_core.utils.seeding import derive

WEIGHED = 512
"""Samples of a source whose mean length stands for all: a standard error of 2 % where it varies by half its mean."""


def make_mixture(
    data: Data, sources: Sequence[DataSource], chat: Chat | None, seed: int, samples: int = 0
) -> Mixture:
    """The training mixture of a recipe, from its first sample on. samples: how many will be trained on.

    Raises `FvlmError` as `make_order`, and when the sources end before `samples`.
    """
    mixture = make_order(data, sources, chat, seed).mixture
    check_places(mixture, samples)
    return mixture


def make_order(data: Data, sources: Sequence[DataSource], chat: Chat | None, seed: int) -> Order:
    """The order in which a recipe reads its sources, from its first sample on.

    Where shares are of tokens or frames, a source's share of samples is its share divided by what a sample of it has
    of them in the mean. chat: None where its tokenizer is not here: characters then stand for tokens, in plans.
    Raises `FvlmError` for a source with nothing to weigh.
    """
    shares = [share for _, share in data.mixed]
    if data.weigh_by != "samples":
        means = [_mean(source, data, chat) for source in sources]
        for source, mean in zip(sources, means, strict=True):
            if not mean:
                raise FvlmError(f'data.weigh_by = "{data.weigh_by}": {source.name} has none to weigh')
        shares = [share / mean for share, mean in zip(shares, means, strict=True)]
    named = [(source.name, len(source), share) for source, share in zip(sources, shares, strict=True)]
    return Order.of(named, seed, cycle=data.exhausted == "cycle")


def check_places(mixture: Mixture, places: int) -> None:
    """Raise `FvlmError` when the sources end before so many places."""
    if mixture.places is not None and places > mixture.places:
        raise FvlmError(
            f"the sources hold {mixture.places:,} samples and {places:,} are to be trained on: train on fewer, or "
            'begin again with data.exhausted = "cycle"'
        )


def _mean(source: DataSource, data: Data, chat: Chat | None) -> float:
    """The mean length of a source's samples, in what the recipe weighs by: all of them, or a fixed choice."""
    order = Permutation(len(source), derive(0, "weighed"))
    total = count = 0
    for place in range(min(WEIGHED, len(source))):
        sample = source[order.at(place)]
        try:
            if data.weigh_by == "frames":
                total += count_frames(sample, data.image_repeats)
            elif chat is None:
                total += sum(len(turn.content) for turn in sample.turns)
            else:
                total += min(len(chat.encode(sample.turns).ids), data.max_text_tokens)
        except BadSample:
            continue
        count += 1
    return total / count if count else 0.0

"""Random choices from `Random.random` alone, whose numbers for a seed Python promises never to change."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from random import Random
from typing import TypeVar

T = TypeVar("T")


def pick(random: Random, choices: Sequence[T]) -> T:
    """One of `choices`, all equally likely."""
    return choices[int(random.random() * len(choices))]


def rank_pick(random: Random, choices: Sequence[T], but: T | None = None) -> T:
    """One of `choices` other than `but`, the k-th with a weight of 1/k: there is always something rarer."""
    weights = _cumulative(len(choices))
    while True:
        choice = choices[bisect(weights, random.random() * weights[-1])]
        if choice != but:
            return choice


def several(random: Random, choices: Sequence[T], count: int) -> list[T]:
    """`count` different ones of `choices`, in random order."""
    left = list(choices)
    return [left.pop(int(random.random() * len(left))) for _ in range(count)]


@lru_cache
def _cumulative(count: int) -> tuple[float, ...]:
    return tuple(accumulate(1 / rank for rank in range(1, count + 1)))

"""The order of an epoch: every sample once, at any size, in bounded memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fvlm_core.data.mixture import Mixture
from fvlm_core.data.permutation import DRAWN, Permutation

MANY = 50_000_000


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300_000), st.integers(0, 2**62))
@example(DRAWN + 4_321, 5)  # computed, not drawn
def test_every_place_holds_another_sample(size: int, seed: int) -> None:
    order = Permutation(size, seed)
    found = order.many(np.arange(size))
    assert np.array_equal(np.sort(found), np.arange(size))
    places = np.random.default_rng(0).integers(0, size, 50)
    assert [order.at(int(place)) for place in places] == found[places].tolist()


def test_fifty_million_samples_are_planned_in_little_memory() -> None:
    mixture = Mixture([MANY, 1000], [0.86, 0.14], seed=1)
    tracemalloc.start()
    try:
        for place in [*range(2000), MANY, 3 * MANY, 10 * MANY + 17]:
            source, index = mixture.at(place)
            assert 0 <= index < (MANY if source == 0 else 1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("size", [3_000_001, pytest.param(MANY, marks=pytest.mark.soak)])
def test_millions_of_places_hold_as_many_samples(size: int) -> None:
    order = Permutation(size, 7)
    seen = np.zeros(size, dtype=np.bool_)
    for start in range(0, size, 1 << 20):
        seen[order.many(np.arange(start, min(start + (1 << 20), size)))] = True
    assert seen.all()


@pytest.mark.parametrize("size", [DRAWN + 1, 100_003, 1 << 20])
def test_a_computed_order_looks_drawn(size: int) -> None:
    """Fixed points, neighbours and halves as of a random order: bounds of five standard deviations."""
    for seed in range(3):
        found = Permutation(size, seed).many(np.arange(size))
        assert np.count_nonzero(found == np.arange(size)) <= 8
        bound = 5 / np.sqrt(size)
        assert abs(np.corrcoef(found, np.arange(size))[0, 1]) < bound
        assert abs(np.corrcoef(found[1:], found[:-1])[0, 1]) < bound
        steps = np.bincount((found[1:] - found[:-1]) % 64, minlength=64)
        assert abs(steps - (size - 1) / 64).max() < 5 * np.sqrt(size / 64)
    assert not np.array_equal(
        Permutation(size, 0).many(np.arange(1000)), Permutation(size, 1).many(np.arange(1000))
    )

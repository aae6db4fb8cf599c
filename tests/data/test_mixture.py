"""The mixture: exact shares, every sample once an epoch, nothing depends on what was asked before."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fvlm_core.data.mixture import BLOCK, Mixture
from fvlm_core.utils.errors import FvlmError


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 400), min_size=1, max_size=4),
    seed=st.integers(0, 2**31),
    data=st.data(),
)
def test_shares_hold_to_one_sample_in_every_block(lengths: list[int], seed: int, data: st.DataObject) -> None:
    weights = data.draw(st.lists(st.floats(0.05, 10), min_size=len(lengths), max_size=len(lengths)))
    mixture = Mixture(lengths, weights, seed)
    places = [mixture.at(place) for place in range(2 * BLOCK)]
    for start in (0, BLOCK):
        counts = Counter(source for source, _ in places[start : start + BLOCK])
        for source, weight in enumerate(weights):
            assert abs(counts[source] - BLOCK * weight / sum(weights)) <= 2
    assert all(index < lengths[source] for source, index in places)


def test_every_sample_is_read_once_an_epoch_and_the_order_changes() -> None:
    mixture = Mixture([700], [1.0], seed=3)
    order = [mixture.at(place)[1] for place in range(1400)]
    assert sorted(order[:700]) == sorted(order[700:]) == list(range(700))
    assert order[:700] != order[700:]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 5000), min_size=1, max_size=20), st.integers(0, 2**31))
def test_a_place_holds_the_same_sample_whatever_was_asked_before(places: list[int], seed: int) -> None:
    lengths, weights = [37, 1000, 5], [0.2, 0.66, 0.14]
    used = Mixture(lengths, weights, seed)
    assert [used.at(place) for place in places] == [
        Mixture(lengths, weights, seed).at(place) for place in places
    ]


@settings(max_examples=8, deadline=None)
@given(
    rare=st.lists(st.floats(1e-5, 2e-3), min_size=1, max_size=3),
    place=st.integers(0, 3),
    common=st.floats(0.1, 0.9),
    seed=st.integers(0, 2**31),
)
def test_samples_of_a_source_with_less_than_one_a_block_come_in_turn(
    rare: list[float], place: int, common: float, seed: int
) -> None:
    """The difference of two rounded counts can fall again: a sample came twice in an epoch, another one never."""
    weights = [common, *rare, 1 - common]
    weights.insert(place, 0.2)
    lengths = [5] * len(weights)
    mixture = Mixture(lengths, weights, seed)
    seen: list[list[int]] = [[] for _ in lengths]
    for at in range(8 * BLOCK):
        source, index = mixture.at(at)
        seen[source].append(index)
    for read in seen:
        for epoch in range(0, len(read) - 4, 5):
            assert sorted(read[epoch : epoch + 5]) == [0, 1, 2, 3, 4]


def test_another_seed_gives_another_order() -> None:
    first, second = (Mixture([500], [1.0], seed) for seed in (1, 2))
    assert [first.at(place) for place in range(50)] != [second.at(place) for place in range(50)]


@pytest.mark.parametrize("place", [0, 17])
def test_replacements_come_from_the_same_source_by_a_fixed_rule(place: int) -> None:
    mixture = Mixture([10, 1000], [0.5, 0.5], seed=0)
    source, _ = mixture.at(place)
    replacements = [mixture.replacement(place, attempt) for attempt in range(5)]
    assert {found for found, _ in replacements} == {source}
    assert replacements == [Mixture([10, 1000], [0.5, 0.5], seed=0).replacement(place, a) for a in range(5)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6000), st.floats(0.01, 10)), min_size=1, max_size=4),
    st.integers(0, 2**31),
)
@example([(177, 1.009765625), (1411, 8.046875), (2, 0.01), (1411, 8.046875)], 0)  # half a sample a block
def test_sources_that_end_leave_their_part_and_lose_no_sample(
    parts: list[tuple[int, float]], seed: int
) -> None:
    lengths, weights = [n for n, _ in parts], [w for _, w in parts]
    mixture = Mixture(lengths, weights, seed, cycle=False)
    assert mixture.places == sum(lengths)
    places = [mixture.at(place) for place in range(mixture.places)]
    assert sorted(places) == [(source, index) for source, n in enumerate(lengths) for index in range(n)]
    for seen in {0, 1, 500, BLOCK, BLOCK + 1, 3 * BLOCK - 7, mixture.places}:
        counts = Counter(source for source, _ in places[:seen])
        if seen <= mixture.places:
            assert mixture.drawn(seen) == [counts[source] for source in range(len(lengths))]
    with pytest.raises(FvlmError, match="cycle"):
        mixture.at(mixture.places)


def test_hundreds_of_small_sources_lose_no_sample() -> None:
    """The largest of 1,500 has less than one in a thousand places, too, and no room for the others."""
    lengths, weights = [4] * 1500, [1 + number % 7 / 10 for number in range(1500)]
    mixture = Mixture(lengths, weights, 3, cycle=False)
    places = [mixture.at(place) for place in range(6000)]
    assert mixture.places == len(places)
    assert sorted(places) == [(source, index) for source in range(1500) for index in range(4)]


def test_fourteen_per_cent_is_fourteen_per_cent() -> None:
    mixture = Mixture([5000, 300, 900, 20_000], [0.43, 0.215, 0.215, 0.14], seed=42)
    assert mixture.drawn(50_000) == [21_500, 10_750, 10_750, 7_000]
    assert mixture.drawn(50_003)[3] in (7000, 7001, 7002, 7003)

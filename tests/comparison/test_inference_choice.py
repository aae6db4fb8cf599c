"""Which setting to answer with, by seeds: against made settings whose truth is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, ttest_rel

from fvlm_core.comparison.inference_choice import Offer, choose_among, choose_by_budget, difference

SEEDS = 3


def offers(
    truth: dict[str, tuple[float, float]], generator: np.random.Generator, noise: float
) -> list[Offer]:
    """Settings of known costs and losses; all share what a seed does to every one of them."""
    shared = generator.normal(0, 1.0, SEEDS)
    return [
        Offer(name, cost, loss + shared + generator.normal(0, noise, SEEDS))
        for name, (cost, loss) in truth.items()
    ]


def test_at_each_budget_the_truly_best_one_is_chosen_and_told() -> None:
    truth = {"one": (1.0, 2.0), "four": (4.0, 1.5), "nine": (9.0, 1.8), "all": (20.0, 1.0)}
    found = choose_by_budget(offers(truth, np.random.default_rng(1), 0.01))
    assert [(one.low, one.high, one.best.name) for one in found] == [
        (1.0, 4.0, "one"),
        (4.0, 9.0, "four"),
        (9.0, 20.0, "four"),
        (20.0, math.inf, "all"),
    ]
    assert [one.second.name if one.second else None for one in found] == [None, "one", "nine", "four"]
    assert [one.told for one in found] == [False, True, True, True]
    assert all(one.share is not None and one.share > 0.97 for one in found)
    [*_, last] = found
    assert last.difference is not None
    assert last.difference.low < 0.5 < last.difference.high


def test_what_a_seed_does_to_all_settings_is_no_noise() -> None:
    made = offers({"a": (1.0, 1.0), "b": (1.0, 1.1)}, np.random.default_rng(3), 0.01)
    assert np.ptp(made[0].values) > 0.5
    [choice] = choose_by_budget(made)
    assert choice.told
    assert choice.best.name == "a"


def test_the_interval_of_a_difference_is_students_of_pairs() -> None:
    made = offers({"a": (1.0, 1.0), "b": (2.0, 1.1)}, np.random.default_rng(4), 0.3)
    ours = difference(made[1], made[0])
    assert ours is not None
    theirs = ttest_rel(made[1].values, made[0].values).confidence_interval(0.95)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high))


@pytest.mark.parametrize("count", [2, 5, 13])
def test_of_settings_that_are_truly_alike_one_is_seldom_called_the_best(count: int) -> None:
    """The worst case: nothing is to be told. Promised is at most one study in twenty; the bound is its 99.9 % point."""
    generator, studies = np.random.default_rng(count), 600
    truth = {str(number): (1.0, 1.0) for number in range(count)}
    told = sum(choose_by_budget(offers(truth, generator, 0.2), draws=2)[0].told for _ in range(studies))
    assert told <= binom.ppf(0.999, studies, 0.05)


def test_alike_settings_are_the_best_equally_often_over_draws() -> None:
    generator, shares = np.random.default_rng(7), []
    for _ in range(300):
        [choice] = choose_by_budget(offers({"a": (1.0, 1.0), "b": (1.0, 1.0)}, generator, 0.2), draws=400)
        assert choice.share is not None
        shares.append(choice.share)
        if choice.told:
            assert choice.share > 0.95
    assert np.mean(np.array(shares) > 0.9) < 0.3


def test_a_share_is_students_chance_where_there_are_two() -> None:
    made = offers({"a": (1.0, 1.0), "b": (1.0, 1.15)}, np.random.default_rng(11), 0.1)
    [choice] = choose_by_budget(made)
    test = ttest_rel(made[0].values, made[1].values)
    assert choice.share == pytest.approx(1 - test.pvalue / 2, abs=0.02)


def test_one_seed_tells_nothing() -> None:
    [cheap, dear] = choose_by_budget([Offer("a", 1.0, np.array([2.0])), Offer("b", 2.0, np.array([1.0]))])
    assert (cheap.best.name, dear.best.name) == ("a", "b")
    assert (dear.share, dear.difference, dear.told) == (None, None, False)
    assert [one.name for one in dear.alike] == ["a"]


def test_those_that_cannot_be_told_from_the_best_are_named_cheapest_first() -> None:
    made = [
        Offer("dear", 9.0, np.array([1.0, 1.4, 1.2])),
        Offer("cheap", 1.0, np.array([1.5, 1.1, 1.3])),
        Offer("middle", 3.0, np.array([1.2, 1.3, 1.4])),
        Offer("bad", 0.5, np.array([9.0, 9.4, 9.2])),
    ]
    *_, last = choose_by_budget(made)
    assert last.best.name == "dear"
    assert [one.name for one in last.alike] == ["cheap", "middle"]
    assert not last.told
    dearer = Offer("dearer", 20.0, np.array([1.1, 1.4, 1.3]))
    assert [one.name for one in choose_among([*made, dearer]).alike] == ["cheap", "middle", "dearer"]


@given(
    costs=st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.0]), min_size=1, max_size=6),
    seed=st.integers(0, 10**6),
)
def test_budgets_cover_all_costs_without_a_gap_and_more_money_is_never_worse(
    costs: list[float], seed: int
) -> None:
    generator = np.random.default_rng(seed)
    made = [Offer(str(at), cost, generator.normal(0, 1, SEEDS)) for at, cost in enumerate(costs)]
    found = choose_by_budget(made, draws=10)
    assert found[0].low == min(costs)
    assert found[-1].high == math.inf
    assert all(a.high == b.low for a, b in itertools.pairwise(found))
    assert [one.best.mean for one in found] == sorted((one.best.mean for one in found), reverse=True)
    for cost in costs:
        [row] = [one for one in found if one.low <= cost < one.high]
        assert row.best.mean <= min(one.mean for one in made if one.cost <= cost)


def test_offers_of_other_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="same seeds"):
        choose_by_budget([Offer("a", 1.0, np.ones(2)), Offer("b", 1.0, np.ones(3))])
    with pytest.raises(ValueError, match="expected offers"):
        choose_among([])


def test_nothing_offered_is_nothing_chosen() -> None:
    assert choose_by_budget([]) == []

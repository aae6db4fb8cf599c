"""Campaigns against truths that are known: what they find, when they end, and that a decision is one of its points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attrs import evolve

from fvlm_core.scaling.campaign.belief import Question
from fvlm_core.scaling.campaign.decide import decide
from fvlm_core.scaling.campaign.loop import play
from fvlm_core.scaling.campaign.offers import Offer, ladder, missing, offers
from fvlm_core.scaling.campaign.rates import best_rate, sweep
from fvlm_core.scaling.campaign.record import Journal, Round, Verdict
from fvlm_core.scaling.campaign.truth import Truth, read_truth
from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.scaling.predict.cost import Size
from fvlm_core.utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("quick_fits")

SIZES = [Size(f"{n:g}", n, 6.0 * n) for n in (1e5, 2e5, 4e5, 8e5, 1.6e6)]
LADDER = [1000 * 2**at for at in range(8)]
LAW = "joint-chinchilla"
TEXT = f"{LAW}:E=1.2,A=60,B=30,alpha=.4,beta=.4,noise=.004"


def question(
    within: float = 0.03, budget: float = 2e12, sizes: Any = SIZES, law: str = LAW, **more: Any
) -> Question:
    """A target at twice the largest size."""
    model = load_model(law)
    return Question(model, 3.2e6, 4e5, budget, within, tuple(offers(sizes, LADDER, 3, budget)), **more)


def truth() -> Truth:
    """E = 1.2, and terms of .6 nats at the smallest runs."""
    return read_truth(TEXT)


def right(n: float, d: float) -> float:
    """The same by hand."""
    return 1.2 + 60 * n**-0.4 + 30 * d**-0.4


@pytest.fixture(scope="module")
def played() -> tuple[Question, Journal]:
    """A campaign to its end."""
    asked, journal = question(), Journal()
    play(asked, journal, lambda one: truth().measured(one.runs), lambda _: None)
    return asked, journal


def test_it_ends_as_narrow_as_asked_and_its_interval_holds_the_truth(
    played: tuple[Question, Journal],
) -> None:
    asked, journal = played
    found = journal.finding
    assert journal.verdict is not None
    assert journal.verdict.outcome == "narrow enough"
    assert found is not None
    assert found.half_width is not None
    assert found.loss is not None
    assert found.half_width <= asked.within
    assert found.low is not None
    assert found.high is not None
    assert found.low < right(asked.n, asked.d) < found.high
    assert found.half_width == pytest.approx((found.high - found.low) / 2 / found.loss)
    assert journal.spent < 0.8 * asked.budget
    assert len(journal.rounds) > 1


def test_what_it_spends_is_the_ledgers_and_no_run_is_bought_twice(played: tuple[Question, Journal]) -> None:
    asked, journal = played
    runs = [run for one in journal.rounds for run in one.runs]
    assert len({run.run for run in runs}) == len(runs)
    assert journal.spent == pytest.approx(sum(6.0 * run.n * run.d for run in runs))
    assert journal.spent <= asked.budget
    assert max(run.flops for run in runs) <= asked.budget / 4


def test_the_pilot_alone_tells_the_law(played: tuple[Question, Journal]) -> None:
    asked, journal = played
    pilot = journal.rounds[0].runs
    assert len({run.n for run in pilot}) >= 3
    assert len({run.d for run in pilot}) >= 3
    assert missing(asked.law, [(run.n, run.d) for run in pilot]) == ""
    assert sum(run.flops for run in pilot) < 0.2 * asked.budget


def test_the_same_points_give_the_same_choice_in_whatever_order_they_came(
    played: tuple[Question, Journal],
) -> None:
    asked, journal = played
    first = journal.rounds[0]
    assert first.losses is not None
    turned = dict(reversed(first.losses.items()))
    again = Journal(rounds=[evolve(first, losses=turned)])
    assert decide(asked, again) == decide(asked, Journal(rounds=[first]))
    chosen = decide(asked, again)
    assert isinstance(chosen, Round)
    assert [run.run for run in chosen.runs] == [run.run for run in journal.rounds[1].runs]


def test_another_measurement_may_give_another_choice(played: tuple[Question, Journal]) -> None:
    """The planner looks at the losses and not at the design alone."""
    asked, journal = played
    first = journal.rounds[0]
    other = read_truth(f"{LAW}:E=.1,A=3000,B=4,alpha=.7,beta=.2,noise=.004").measured(first.runs)
    chosen = decide(asked, Journal(rounds=[evolve(first, losses=other)]))
    assert isinstance(chosen, Round)
    assert [run.run for run in chosen.runs] != [run.run for run in journal.rounds[1].runs]


@pytest.mark.parametrize("where", ["before", "after"])
def test_a_campaign_that_dies_at_any_write_goes_on_to_the_same_end(where: str) -> None:
    asked, undisturbed = question(within=0.3), Journal()
    play(asked, undisturbed, lambda one: truth().measured(one.runs), lambda _: None)
    kept: list[Any] = [Journal().to_json()]
    measured: list[str] = []
    deaths = 0
    while True:
        journal = Journal.from_json(kept[-1])
        writes = 0

        def keep(changed: Journal) -> None:
            nonlocal writes
            writes += 1
            if where == "after":
                kept.append(changed.to_json())
            if writes == 2:
                raise KeyboardInterrupt
            if where == "before":
                kept.append(changed.to_json())

        def measure(one: Round) -> dict[str, float]:
            written = kept[-1]["rounds"][-1]["runs"]  # a decision is kept before it is acted upon
            assert [run["run"] for run in written] == [run.run for run in one.runs]
            measured.extend(run.run for run in one.runs)
            return truth().measured(one.runs)

        try:
            play(asked, journal, measure, keep)
        except KeyboardInterrupt:
            deaths += 1
            continue
        break
    assert deaths >= len(undisturbed.rounds) >= 2
    assert Journal.from_json(kept[-1]).to_json() == undisturbed.to_json()
    assert set(measured) == {run.run for run, _ in undisturbed.measured}


def test_an_interval_must_be_narrow_twice_as_long_as_there_is_a_round_to_be_had(
    played: tuple[Question, Journal],
) -> None:
    asked, journal = played
    first, second = journal.rounds[:2]
    assert second.finding is not None
    narrow, wide = evolve(second.finding, half_width=0.02), evolve(second.finding, half_width=0.04)
    for before, now, ends in ((wide, narrow, False), (narrow, wide, False), (narrow, narrow, True)):
        so_far = Journal(rounds=[evolve(first, finding=before), evolve(second, finding=now)])
        assert isinstance(decide(asked, so_far), Verdict) == ends
    broke = evolve(asked, budget=sum(one.flops for one in journal.rounds[:2]))
    so_far = Journal(rounds=[evolve(first, finding=wide), evolve(second, finding=narrow)])
    verdict = decide(broke, so_far)
    assert isinstance(verdict, Verdict)
    assert verdict.outcome == "narrow enough"


def test_two_sizes_cannot_tell_the_law_and_three_can() -> None:
    places = [(size.n, float(d)) for size in SIZES[:2] for d in LADDER]
    assert "at least three model sizes" in missing(load_model(LAW), places)
    assert missing(load_model(LAW), [*places, (SIZES[2].n, 1000.0), (SIZES[3].n, 1000.0)]) == ""


def test_a_budget_that_is_spent_ends_it_with_what_is_left() -> None:
    asked, journal = question(within=0.001, budget=5e10), Journal()
    verdict = play(asked, journal, lambda one: truth().measured(one.runs), lambda _: None)
    assert verdict.outcome in ("budget spent", "nothing helps")
    assert "0.10% asked for" in verdict.reasons[0]
    assert journal.spent <= 5e10


def test_scatter_that_is_wider_than_what_is_asked_ends_it_before_the_budget() -> None:
    asked, journal = question(within=0.01), Journal()
    loud = read_truth(TEXT.replace("noise=.004", "noise=.02"))
    verdict = play(asked, journal, lambda one: loud.measured(one.runs), lambda _: None)
    assert verdict.outcome == "nothing helps"
    assert "runs alone scatter by" in verdict.reasons[0]
    assert journal.spent < asked.budget


def test_a_pilot_that_the_recipe_names_is_made_as_it_says() -> None:
    named = tuple(offers(SIZES[:3], LADDER[:3], 1, np.inf))
    chosen = decide(question(pilot=named), Journal())
    assert isinstance(chosen, Round)
    assert chosen.runs == named


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"budget": 1e9}, "is less than the pilot takes"),
        ({"n": 1e5, "d": 1000.0}, "is no larger than the pilot's runs"),
    ],
)
def test_a_pilot_that_cannot_be_is_refused(change: dict[str, float], said: str) -> None:
    named = tuple(offers(SIZES[:3], LADDER[:3], 1, np.inf))
    with pytest.raises(UsageError, match=said):
        decide(evolve(question(pilot=named), **change), Journal())


def test_a_named_pilot_that_cannot_tell_the_law_is_refused() -> None:
    """Two sizes on three amounts of data, where the recipe has more."""
    named = tuple(offers(SIZES[:2], LADDER[:3], 1, np.inf))
    with pytest.raises(UsageError, match=r"\[campaign.pilot\]: .*at least three model sizes"):
        decide(question(pilot=named), Journal())


def test_a_ladder_doubles_from_a_hundred_steps_on_as_far_as_a_run_may_cost() -> None:
    assert ladder(16, budget=1e9, cheapest=1e4) == [1600, 3200, 6400, 12800]  # 25,000 samples take a quarter
    assert ladder(16, budget=1.0, cheapest=1e4) == [1600]


def test_the_best_rate_of_two_sizes_is_followed_as_a_power_of_their_n() -> None:
    """Parabolas in ln(rate) whose minima lie at .5 N^-.5."""
    rates = [2e-4, 4e-4, 8e-4, 1.6e-3, 3.2e-3]
    done = sweep(SIZES[:2], rates, 4000)
    done.losses = {
        run.run: 2.0 + 0.1 * np.log(done.rates[run.run] / (0.5 * run.n**-0.5)) ** 2 for run in done.runs
    }
    found = best_rate(done, batch=16)
    assert isinstance(found, tuple)
    assert found == pytest.approx((0.5, -0.5), rel=1e-3)


def test_a_sweep_whose_best_rate_lies_at_its_edge_tells_none() -> None:
    done = sweep(SIZES[:2], [1e-5, 2e-5, 4e-5], 4000)
    done.losses = {run.run: 3.0 + 0.05 * np.log(done.rates[run.run] / 8e-5) ** 2 for run in done.runs}
    found = best_rate(done, batch=16)
    assert isinstance(found, list)
    assert found


def test_a_journal_reads_what_it_wrote(played: tuple[Question, Journal]) -> None:
    _, journal = played
    assert Journal.from_json(journal.to_json()) == journal


def test_a_truth_is_the_law_with_its_values_and_a_scatter_of_each_run() -> None:
    known = truth()
    assert known.loss(3.2e6, 4e5) == pytest.approx(right(3.2e6, 4e5))
    runs = [Offer(f"r{at}", "a", 1e5, 1000, at, 1.0) for at in range(400)]
    apart = np.log(list(known.measured(runs).values())) - np.log(right(1e5, 1000))
    assert np.std(apart) == pytest.approx(0.004, rel=0.1)
    assert known.measured(runs[:3]) == {one.run: known.measured(runs)[one.run] for one in runs[:3]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{LAW}:E=1", "takes A, B, alpha, beta too"),
        (f"{LAW}:E=1,A=1,B=1,alpha=1,bta=1", 'no parameter "bta": did you mean "beta"'),
        (f"{LAW}:E", "expected parameter=value"),
        (TEXT.replace(".004", "2"), "noise is a part of the loss"),
        ("nothing.json", "no such file"),
        ("per-size:E=1", "take a law of N and D"),
    ],
)
def test_a_truth_that_cannot_be_read_says_why(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_truth(text)

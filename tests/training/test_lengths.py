"""A run trains the samples that it was asked for, and what remains after a drift is counted from what is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import RECIPE, run_cli, train

from fvlm_core.api.views.display import rate
from fvlm_core.data.mixture import Mixture
from fvlm_core.data.order import Order
from fvlm_core.data.planning import Pieces, RankShare
from fvlm_core.recipes.schema import Training
from fvlm_core.runs.store import list_runs
from fvlm_core.training.length import Length, Spent, schedules
from fvlm_core.utils.errors import FvlmError


def trained(**goal: Any) -> Training:
    return Training(**{"micro_batch_size": 1, "warmup": 0.0, **goal})


@settings(deadline=None)
@given(size=st.integers(1, 64), samples=st.integers(1, 5000))
def test_a_goal_of_samples_is_met_exactly(size: int, samples: int) -> None:
    length = Length.of(trained(samples=samples, batch_size=size), Spent(1.0))
    assert length.samples == samples
    assert (length.steps - 1) * size < samples <= length.steps * size
    assert length.last == samples - (length.steps - 1) * size


@settings(deadline=None)
@given(size=st.integers(1, 64), samples=st.integers(64, 5000), each=st.floats(1.0, 1e12))
def test_a_budget_is_trained_in_whole_steps_and_not_exceeded(size: int, samples: int, each: float) -> None:
    budget = samples * each
    length = Length.of(trained(budget=budget, batch_size=size), Spent(each))
    assert length.samples == length.steps * size
    assert length.samples * each <= budget * (1 + 1e-12)
    assert budget - length.samples * each < (size + 1) * each
    with pytest.raises(FvlmError, match="less than one step"):
        Length.of(trained(budget=each * size * 0.99, batch_size=size), Spent(each))


@settings(deadline=None)
@given(
    goal=st.sampled_from(["steps", "samples", "budget"]),
    amount=st.integers(100, 3000),
    stretches=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 7), st.floats(1.0, 9.0)), min_size=1, max_size=5),
)  # fmt: skip
def test_what_remains_is_counted_from_what_is_done(
    goal: str, amount: int, stretches: list[tuple[int, int, float]]
) -> None:
    """stretches: steps made, samples of a step and FLOPs of a sample under one recipe after the other."""
    step = samples = 0
    flops = 0.0
    spent: Spent | None = None
    for made, size, each in stretches:
        spent = spent.continued(each, samples) if spent else Spent(each)
        length = Length.of(trained(**{goal: amount, "batch_size": size}), spent, step, samples)
        left = length.samples - samples
        if goal == "steps":
            assert (length.steps, left) == (max(amount, step), max(0, amount - step) * size)
        elif goal == "samples":
            assert length.samples == max(amount, samples)
        else:
            assert left == 0 or flops + left * each <= amount * (1 + 1e-9)
            assert flops + (left + size) * each > amount * (1 - 1e-9)
        again = Length.of(trained(**{goal: amount, "batch_size": size}), spent, step, samples)
        assert again == length
        for _ in range(min(made, length.steps - step)):
            done = min(size, length.samples - samples)
            step, samples, flops = step + 1, samples + done, flops + done * each
            resumed = Length.of(trained(**{goal: amount, "batch_size": size}), spent, step, samples)
            assert (resumed.steps, resumed.samples) == (length.steps, length.samples)
        assert spent.at(samples) == pytest.approx(flops)


def test_flops_of_an_unbroken_run_are_samples_times_their_price_to_the_last_bit() -> None:
    spent = Spent(1 / 3)
    for samples in range(0, 10_000, 7):
        assert spent.at(samples) == samples * (1 / 3)
        assert spent.continued(1 / 3, samples) is spent


@pytest.mark.parametrize("goal", ["steps", "samples"])
def test_a_schedule_goes_on_where_it_stood_when_the_batch_size_changes(goal: str) -> None:
    amount = 20 if goal == "steps" else 80
    rates = {"connector": 1.0, "encoder": 1.0, "llm": 1.0}

    def factor(training: Training, step: int, samples: int) -> float:
        length = Length.of(training, Spent(1.0), step, samples)
        return schedules(training, length, rates)["llm"].factor(length.update(step, samples))

    before = trained(**{goal: amount, "batch_size": 4})
    for size in (2, 8, 5):
        after = trained(**{goal: amount, "batch_size": size})
        assert factor(after, 10, 40) == pytest.approx(factor(before, 10, 40), rel=0.02)
        end = Length.of(after, Spent(1.0), 10, 40)
        assert factor(after, end.steps, end.samples) == pytest.approx(after.floor)


@settings(deadline=None)
@given(
    size=st.integers(1, 9), micro=st.integers(1, 9), ranks=st.integers(1, 4), begin=st.integers(0, 50),
    samples=st.integers(1, 60),
)  # fmt: skip
def test_ranks_share_every_place_once_to_the_last_smaller_step(
    size: int, micro: int, ranks: int, begin: int, samples: int
) -> None:
    shares = [RankShare(size, micro, rank, ranks, begin=begin, end=begin + samples) for rank in range(ranks)]
    whole = [place for share in shares for piece in Pieces(share, 0) for place in piece.places]
    assert sorted(whole) == list(range(begin, begin + samples))
    steps = -(-samples // size)
    assert [shares[0].holds(step) for step in range(steps + 1)] == [True] * steps + [False]
    for step in range(steps):
        first = begin + step * size
        places = range(first, min(first + size, begin + samples))
        pieces = [share.pieces(step) for share in shares]
        assert sorted(p for of in pieces for piece in of for p in piece.places) == list(places)
        assert sum(bool(of) for of in pieces) >= min(ranks, len(places))
        for of in pieces:
            assert [piece.last for piece in of] == [False] * (len(of) - 1) + [True] * bool(of)
        offsets = {piece.offset: piece.places for of in pieces for piece in of}
        assert [p for at in sorted(offsets) for p in offsets[at]] == list(places)


NAMES = st.sampled_from(["a", "b", "c"])
STRETCH = st.tuples(
    st.dictionaries(NAMES, st.tuples(st.sampled_from([3, 7, 300]), st.floats(0.05, 1.0)), min_size=1),
    st.integers(0, 700),
)


@settings(deadline=None, max_examples=40)
@given(stretches=st.lists(STRETCH, min_size=1, max_size=4), seed=st.integers(0, 9))
def test_an_order_under_changing_shares_reads_every_sample_by_turns(
    stretches: list[tuple[dict[str, tuple[int, float]], int]], seed: int
) -> None:
    lengths: dict[str, int] = {}
    order: Order | None = None
    place = 0
    read: dict[str, list[int]] = {}
    for sources, places in stretches:
        named = [(name, length, share) for name, (length, share) in sources.items()]
        now = Order.of(named, seed + place, cycle=True)
        order = order.continued(now, place) if order else now
        order = Order.from_json(json.loads(json.dumps(_plain(order))))
        for name, length, _ in named:
            if lengths.get(name, length) != length:
                read[name] = []  # other samples: it begins
            lengths[name] = length
        gone = set(read) - set(sources)
        mixture = order.mixture
        names = [part.name for part in order.parts if part.share]
        for at in range(place, place + places):
            source, index = mixture.at(at)
            read.setdefault(names[source], []).append(index)
        place += places
        assert dict(zip(names, mixture.drawn(place), strict=True)) == {n: len(read.get(n, [])) for n in names}
        for name, indices in read.items():
            length = lengths[name]
            for first in range(0, len(indices), length):
                turn = indices[first : first + length]
                assert len(set(turn)) == len(turn), (name, name in gone)


def _plain(order: Order) -> dict[str, Any]:
    from attrs import asdict

    return asdict(order)


def test_sources_that_end_do_so_once_under_changing_shares_too() -> None:
    order = Order.of([("a", 1500, 0.5), ("b", 1500, 0.5)], 1, cycle=False)
    seen: list[tuple[str, int]] = []
    for start, end, share in ((0, 700, 0.9), (700, 1900, 0.1), (1900, 3000, 0.5)):
        order = order.continued(Order.of([("a", 1500, share), ("b", 1500, 1 - share)], 1, cycle=False), start)
        mixture: Mixture = order.mixture
        assert mixture.places == 3000
        seen += [("ab"[source], index) for source, index in map(mixture.at, range(start, end))]
    assert sorted(seen) == [(name, index) for name in "ab" for index in range(1500)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("steps = 6", "samples = 11"))
    return tmp_path


def test_a_run_of_eleven_samples_in_steps_of_four_trains_eleven(place: Path) -> None:
    observer = train(Path("tiny.toml"), Path("runs"), "training.log_every=1", until=2)
    train(Path("tiny.toml"), Path("runs"), "training.log_every=1")
    (run,) = list_runs(Path("runs"))
    assert [row["samples_seen"] for row in run.train_rows()] == [4, 8, 11]
    assert run.summary["total_samples"] == sum(run.summary["samples_by_source"].values()) == 11
    assert run.train_rows()[-1]["flops"] == 11 * run.record["flops_per_sample"]
    assert observer.warnings == [
        "the last step holds the 3 samples that are left, not 4: 3 steps, 11 samples"
    ]
    train(Path("tiny.toml"), Path("whole"), "training.log_every=1")
    whole = list_runs(Path("whole"))[0].train_rows()
    assert [row["train_loss"] for row in whole] == [row["train_loss"] for row in run.train_rows()]


def test_the_plan_says_what_a_run_really_trains(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_cli(["run", "tiny.toml", "--dry-run", "--json"], monkeypatch, capsys)
    plan = json.loads(out)["runs"][0]["plan"]
    assert (code, plan["steps"], plan["samples"]) == (0, 3, 11)
    each = plan["flops_per_sample"]["total"]
    assert plan["flops"] == pytest.approx(11 * each)
    assert "the last step holds the 3 samples that are left, not 4" in plan["notes"]
    recipe = Path("tiny.toml").read_text().replace("samples = 11", f"budget = {11.5 * each!r}", 1)
    Path("tiny.toml").write_text(recipe)
    code, out, _ = run_cli(["run", "tiny.toml", "--dry-run"], monkeypatch, capsys)
    assert code == 0
    assert "training.budget is trained in whole steps of 4, rounded down" in out
    code, out, _ = run_cli(["run", "tiny.toml"], monkeypatch, capsys)
    assert code == 0
    assert "2 steps, 8 samples of the 11 that the budget pays for" in out


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (0.27, "0.27"), (0.0412, "0.041"), (1.26e-4, "0.00013"), (1.0, "1.0"), (3.44, "3.4"),
        (9.96, "10.0"), (10.0, "10"), (53.2, "53"), (12_345.6, "12,346"),
    ],
)  # fmt: skip
def test_a_slow_rate_is_shown_in_two_digits(value: float, text: str) -> None:
    assert rate(value) == text

"""Whatever the points: the truth is found, and order, copies and names do not matter."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from measured import SIZES, STEPS, TRUTH, points

from fvlm_core.plugin_api import FitModel, FvlmError, Parameter, UsageError
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.points.points import tidy

QUICK = settings(
    max_examples=6,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
SAMPLES = [step * 32 for step in STEPS]
ALONE = Options(sensitivity=False)
"""Without the other ways to fit."""


@pytest.fixture
def few_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one truth lies near enough to the guess."""
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)


truths = st.fixed_dictionaries(
    {
        "E": st.floats(0.2, 2.0),
        "A": st.floats(5.0, 500.0),
        "B": st.floats(5.0, 500.0),
        "alpha": st.floats(0.25, 0.8),
        "beta": st.floats(0.25, 0.9),
    }
)


@given(truth=truths, objective=st.sampled_from(["mse", "log-huber"]))
@QUICK
def test_exact_points_give_back_the_truth(truth: dict[str, float], objective: str) -> None:
    sizes = [1e4, 4e4, 1.6e5, 6.4e5, 2.5e6]
    table = points(truth, sizes, [1e3, 3e3, 1e4, 3e4, 1e5])
    report = fit_points(tidy(table, "truth"), load_model("joint-chinchilla"), objective, 10, ALONE)  # type: ignore[arg-type]
    assert report.status == "ok", report.reasons
    for name, value in report.fits[0].values.items():
        assert value == pytest.approx(truth[name], rel=1e-4), name


@pytest.mark.usefixtures("few_starts")
@given(seed=st.integers(0, 2**20), objective=st.sampled_from(["mse", "log-huber"]))
@QUICK
def test_noisy_points_give_the_truth_within_their_intervals(seed: int, objective: str) -> None:
    table = points(TRUTH, [1e4, 4e4, 1.6e5, 6.4e5, 2.5e6], SAMPLES, noise=0.003, seed=seed)
    report = fit_points(tidy(table, "noisy"), load_model("joint-chinchilla"), objective, 200, ALONE)  # type: ignore[arg-type]
    (fit,) = report.fits
    for estimate in fit.estimates:
        # An interval more on each side: of 6 examples of 5 numbers one or two of the 95 % intervals must miss.
        low, high = estimate.interval.low or 0.0, estimate.interval.high or np.inf
        room = high - low
        assert low - room <= TRUTH[estimate.name] <= high + room, estimate


TWO = list(SIZES.values())[:2]


@pytest.fixture
def plain(few_starts: None) -> list[dict[str, Any]]:
    """The fits of the points in their own order."""
    table = tidy(points(TRUTH, TWO, SAMPLES, noise=0.01), "plain")
    return [fit.to_json() for fit in fit_points(table, load_model("per-size"), draws=20, options=ALONE).fits]


@pytest.mark.usefixtures("few_starts")
@given(order=st.permutations(range(len(TWO) * len(STEPS))), copies=st.integers(1, 3))
@settings(QUICK, max_examples=3)
def test_order_of_rows_and_copies_of_files_do_not_matter(
    plain: list[dict[str, Any]], order: list[int], copies: int
) -> None:
    table = points(TRUTH, TWO, SAMPLES, noise=0.01)
    shuffled = tidy(pd.concat([table.iloc[order]] * copies), "shuffled")
    assert len(shuffled.table) == len(table)
    assert bool(shuffled.remarks) == (copies > 1)
    again = fit_points(shuffled, load_model("per-size"), draws=20, options=ALONE)
    assert plain == [fit.to_json() for fit in again.fits]


def test_a_law_without_influence_of_size_is_not_given_an_exponent() -> None:
    same = points({**TRUTH, "A": 0.0}, list(SIZES.values()), SAMPLES, noise=0.003)
    report = fit_points(tidy(same, "same"), load_model("joint-chinchilla"), draws=20)
    assert report.status == "reduced" or report.fits[0].estimates[1].interval.low is None


def test_larger_models_that_are_worse_put_a_at_its_bound() -> None:
    table = points(TRUTH, list(SIZES.values()), SAMPLES)
    table["n"] = table["n"].max() * table["n"].min() / table["n"]
    report = fit_points(tidy(table, "upside down"), load_model("joint-chinchilla"), draws=20)
    assert report.status == "reduced"
    assert report.withheld == ("E", "A", "alpha")
    assert "A rests on its bound 0: the points ask for a value beyond it" in report.reasons


def test_three_sizes_are_fitted_and_said_to_be_unchecked() -> None:
    table = points(TRUTH, list(SIZES.values()), SAMPLES, noise=0.003)
    report = fit_points(tidy(table, "three"), load_model("joint-chinchilla"), draws=20)
    assert report.status == "ok"
    assert {"unchecked", "one-run"} <= {remark.code for remark in (*report.remarks, *report.fits[0].remarks)}


def test_autocorrelated_points_get_wider_intervals_than_independent_ones() -> None:
    d = np.geomspace(1e3, 1e5, 80)
    rng = np.random.default_rng(1)
    noise = np.zeros(80)
    for at in range(1, 80):
        noise[at] = 0.9 * noise[at - 1] + 0.01 * rng.standard_normal()
    loss = (30 * d**-0.5 + 1.0) * np.exp(noise)
    table = pd.DataFrame({"d": d, "loss": loss, "size": "s", "run": "r"})
    law = load_model("per-size")
    (blocks,) = fit_points(tidy(table, "one run"), law, draws=400, options=ALONE).fits
    (independent,) = fit_points(tidy(table.assign(run=""), "no run"), law, draws=400, options=ALONE).fits
    assert blocks.solution.total == independent.solution.total
    assert "autocorrelated" in {remark.code for remark in blocks.remarks}
    wide, narrow = (fit.estimates[2].interval for fit in (blocks, independent))
    assert (wide.high or np.inf) - (wide.low or 0.0) > 1.3 * ((narrow.high or np.inf) - (narrow.low or 0.0))


def test_mixed_schedules_in_one_size_are_named() -> None:
    table = points(TRUTH, [40_000], SAMPLES)
    table.loc[:5, "schedule"] = "cosine"
    (fit,) = fit_points(tidy(table, "mixed"), load_model("per-size"), draws=10).fits
    texts = {remark.code: remark.text for remark in fit.remarks}
    assert (
        texts["mixed-schedules"]
        == "points of different learning-rate schedules are mixed (constant and cosine)"
    )


def test_too_few_points_are_refused_with_the_reason() -> None:
    table = points(TRUTH, [40_000], [1e3, 1e4])
    report = fit_points(tidy(table, "two"), load_model("per-size"))
    assert report.status == "refused"
    assert report.fits == ()
    assert report.withheld == ("a", "b", "E")
    assert "2 points" in report.reasons[0]
    assert "identifiable" in report.reasons[0]


def test_one_size_with_too_few_points_does_not_cost_the_others_their_fit() -> None:
    table = pd.concat([points(TRUTH, [40_000], SAMPLES), points(TRUTH, [120_000], [1e3])])
    report = fit_points(tidy(table, "uneven"), load_model("per-size"), draws=10)
    assert report.status == "reduced"
    assert [fit.group for fit in report.fits] == ["40k"]
    assert report.reasons[0].startswith("120k: a, b and E are not identifiable from 1 point ")


def test_a_law_that_needs_a_missing_column_says_how_to_get_it() -> None:
    table = points(TRUTH, [40_000], SAMPLES).drop(columns="n")
    with pytest.raises(
        UsageError, match=r'fit "joint-chinchilla" needs N, the parameters of every point; 12 of 12'
    ):
        fit_points(tidy(table, "file.csv"), load_model("joint-chinchilla"))


def linear(d, *, k):  # type: ignore[no-untyped-def]
    """L = k D"""
    return k * d


def test_a_law_and_its_parameters_must_agree() -> None:
    with pytest.raises(FvlmError, match="the law takes k; declared: q"):
        FitModel("linear", linear, [Parameter("q", 1.0)])
    with pytest.raises(FvlmError, match=r"guess 2.0 is not within \[0, 1\]"):
        Parameter("k", 2.0, 0, 1)
    assert FitModel("linear", linear, [Parameter("k", 1.0)]).form == "L = k D"


def test_parameters_beyond_64_bit_integers_are_fitted() -> None:
    table = points({**TRUTH, "B": 1e6}, [1e12, 1e13, 1e14, 1e15], [1e18, 1e19, 1e20, 1e21])
    report = fit_points(tidy(table, "huge"), load_model("joint-chinchilla"), draws=10)
    assert report.fits
    assert np.isfinite(report.fits[0].rmse)

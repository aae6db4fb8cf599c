"""Bootstraps, profiles and criteria: each does what its name in the literature promises."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fvlm_core.plugin_api import FitModel, Parameter
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.model_selection import effective_points
from fvlm_core.scaling.fit.objective import FitObjective
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.resampling import SCHEMES, block_length, resample
from fvlm_core.scaling.fit.solver import solve
from fvlm_core.scaling.fit.uncertainty import MANY, bootstrap
from fvlm_core.scaling.points.points import tidy


def mean(d: object, *, level: object) -> object:
    """L = level"""
    return level + 0 * np.asarray(d)


MEAN = FitModel("mean", mean, (Parameter("level", 1.0, min=0.0, linear=True),))


def runs(count: int, points: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "size": "a",
            "run": np.repeat([f"r{at}" for at in range(count)], points),
            "d": np.tile(np.arange(1.0, points + 1), count),
        }
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_error_of_a_mean_is_what_theory_says(scheme: str) -> None:
    rng = np.random.default_rng(0)
    table = runs(40, 1).assign(loss=2 + 0.1 * rng.standard_normal(40))
    asked = Options(bootstrap=scheme, sensitivity=False)  # type: ignore[arg-type]
    report = fit_points(tidy(table, "x"), MEAN, "mse", 2000, asked)
    (fit,) = report.fits
    error = float(fit.drawn.errors(fit.solution.values, fit.drawn.values)[0])
    assert error == pytest.approx(table["loss"].std() / np.sqrt(40), rel=0.08)


def test_runs_that_differ_widen_the_interval_of_whole_runs_only() -> None:
    rng = np.random.default_rng(1)
    table = runs(12, 20)
    table["loss"] = 2 + 0.1 * rng.standard_normal(12).repeat(20) + 0.01 * rng.standard_normal(240)
    errors = {}
    for scheme in ("iid", "cluster", "auto", "wild"):
        asked = Options(bootstrap=scheme, force=True, sensitivity=False)  # type: ignore[arg-type]
        (fit,) = fit_points(tidy(table, "x"), MEAN, "mse", 1000, asked).fits
        errors[scheme] = float(fit.drawn.errors(fit.solution.values, fit.drawn.values)[0])
    wanted = table.groupby("run")["loss"].mean().std() / np.sqrt(12)
    assert errors["iid"] < 0.4 * wanted
    for scheme in ("cluster", "auto", "wild"):
        assert errors[scheme] == pytest.approx(wanted, rel=0.15), scheme


@settings(max_examples=40, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), min_size=1, max_size=6),
    lag1=st.floats(-1, 1),
    scheme=st.sampled_from(["block", "cluster", "iid"]),
)
def test_every_draw_has_as_many_points_and_blocks_stay_in_their_run(
    lengths: list[int], lag1: float, scheme: str
) -> None:
    table = pd.concat(
        [runs(1, length).assign(run=f"r{at}") for at, length in enumerate(lengths)], ignore_index=True
    )
    drawn = resample(table, scheme, "run", lag1, 1, 20, seed=0)  # type: ignore[arg-type]
    counts = drawn.of_points(slice(None))
    assert counts.shape == (20, len(table))
    if scheme != "cluster":
        assert (counts.sum(axis=1) == len(table)).all()
    if scheme == "block":
        for run in (name for name, length in zip(table["run"].unique(), lengths, strict=True) if length > 1):
            inside = (table["run"] == run).to_numpy()
            assert (counts[:, inside].sum(axis=1) == inside.sum()).all()
    assert all(1 <= block_length(length, lag1) <= max(1, length // 3) for length in lengths)


def test_very_many_points_take_one_step_to_the_same_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)
    rng = np.random.default_rng(0)
    n = np.repeat([1e7, 1e8, 1e9, 1e10], 300)
    d = np.tile(np.geomspace(1e8, 1e11, 300), 4)
    loss = (1.7 + 480 / n**0.35 + 2100 / d**0.37) * np.exp(0.01 * rng.standard_normal(1200))
    table = tidy(pd.DataFrame({"n": n, "d": d, "loss": loss}), "x").table
    for objective in ("mse", "log-huber"):
        problem = FitProblem(load_model("joint-chinchilla"), FitObjective(objective), table)
        solution = solve(problem)
        refits = bootstrap(problem, solution, (), 0.0, 300, "iid")
        with monkeypatch.context() as patch:
            patch.setattr("fvlm_core.scaling.fit.uncertainty.MANY", 100)
            steps = bootstrap(problem, solution, (), 0.0, 300, "iid")
        assert MANY > 1200
        ratio = steps.values.std(axis=0) / refits.values.std(axis=0)
        assert np.all(np.abs(np.log(ratio)) < 0.35), (objective, ratio)


def test_a_profile_is_the_parabola_of_a_linear_law_and_bends_where_the_law_does() -> None:
    rng = np.random.default_rng(0)
    table = runs(30, 1).assign(loss=2 + 0.1 * rng.standard_normal(30))
    alone = Options(sensitivity=False)
    (fit,) = fit_points(tidy(table, "x"), MEAN, "mse", 2000, alone).fits
    (line,) = fit.profiles()
    low, high = line.interval.low, line.interval.high
    assert low is not None
    assert high is not None
    (found,) = fit.estimates
    assert (low, high) == pytest.approx((found.interval.low, found.interval.high), rel=1e-3)
    middle = line.rise[(line.values > low) & (line.values < high)]
    assert middle.max() <= 1.0
    assert line.rise[0] > 1 < line.rise[-1]

    d = np.geomspace(1e3, 2e4, 25)
    curved = pd.DataFrame(
        {"n": 1e6, "d": d, "loss": (1.5 + 60 / d**0.5) * np.exp(0.01 * rng.standard_normal(25))}
    )
    (fit,) = fit_points(tidy(curved, "x"), load_model("per-size"), "mse", 400, alone).fits
    floor = next(one for one in fit.profiles() if one.name.startswith("E"))
    value = fit.values["E"]
    assert floor.interval.low is None or value - floor.interval.low > 1.1 * (
        (floor.interval.high or np.inf) - value
    )


def test_correlated_evaluations_are_worth_fewer_points() -> None:
    table = runs(3, 40)
    assert effective_points(table, 0.0) == 120
    assert effective_points(table, 0.5) == pytest.approx(40)
    assert effective_points(table, 0.99) == 3
    assert effective_points(table.assign(run=""), 0.9) == 120


def test_criteria_prefer_the_law_the_points_came_from() -> None:
    rng = np.random.default_rng(0)
    n, d = (grid.ravel() for grid in np.meshgrid(np.geomspace(1e7, 1e10, 6), np.geomspace(1e8, 1e11, 8)))
    tied = pd.DataFrame(
        {
            "n": n,
            "d": d,
            "loss": (1.7 + 300 / n**0.3 + 500 / d**0.3) * np.exp(0.003 * rng.standard_normal(48)),
        }
    )
    alone = Options(sensitivity=False)
    bic = {
        name: fit_points(tidy(tied, "x"), load_model(name), "mse", 20, alone).fits[0].criteria.bic
        for name in ("joint-chinchilla", "joint-tied", "kaplan")
    }
    assert min(bic, key=lambda name: bic[name] or np.inf) == "joint-tied"


def test_leaving_a_run_out_shows_which_one_the_others_do_not_predict() -> None:
    rng = np.random.default_rng(0)
    rows = [
        pd.DataFrame({"n": n, "run": f"{n:.0e}-{copy}", "d": np.geomspace(1e8, 1e10, 10)})
        for n in (1e7, 1e8, 1e9)
        for copy in range(3)
    ]
    table = pd.concat(rows, ignore_index=True)
    loss = 1.7 + 480 / table["n"] ** 0.35 + 2100 / table["d"] ** 0.37
    table["loss"] = (
        loss * np.exp(0.002 * rng.standard_normal(len(table))) * np.where(table["run"] == "1e+08-1", 1.03, 1)
    )
    (fit,) = fit_points(tidy(table, "x"), load_model("joint-chinchilla"), draws=40).fits
    errors = {line.label: line.error for line in fit.sensitivity or () if line.kind == "run"}
    assert len(errors) == 9
    assert max(errors, key=lambda run: abs(errors[run] or 0)) == "1e+08-1"
    assert errors["1e+08-1"] == pytest.approx(0.03, abs=0.006)

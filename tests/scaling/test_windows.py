"""Parabolas in windows about their minima: against the closed form of a law of N and D, and polynomials by numpy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from attrs import evolve

from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.fit.report import FitReport
from fvlm_core.scaling.points.points import tidy

A, B, E, ALPHA, BETA = 2e4, 300.0, 1.5, 0.6, 0.25
"""A law whose curves of equal compute are far from parabolas: steep at small sizes, flat at large ones."""

BUDGETS = (1e18, 3.16e19, 1e21)


@pytest.fixture(scope="module", autouse=True)
def few_starts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)
        patch.setattr("fvlm_core.scaling.fit.solver.FINALISTS", 4)
        yield


def best_size(budget: Any) -> Any:
    """Equation 4 of Hoffmann et al. (2022): where the derivative by N at C = 6ND is 0."""
    return (ALPHA * A / BETA / B) ** (1 / (ALPHA + BETA)) * (np.asarray(budget) / 6) ** (
        BETA / (ALPHA + BETA)
    )


def campaign(noise: float, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [
        (
            n,
            c / 6 / n,
            c,
            (E + A / n**ALPHA + B / (c / 6 / n) ** BETA) * np.exp(noise * rng.standard_normal()),
        )
        for c in BUDGETS
        for n in best_size(c) * np.geomspace(0.1, 10, 11)
    ]
    return pd.DataFrame(rows, columns=["n", "d", "compute", "loss"])


def isoflop(table: pd.DataFrame, *, windows: bool = True, draws: int = 100) -> FitReport:
    model = load_model("isoflop")
    asked = model if windows else evolve(model, windows=None)
    return fit_points(tidy(table, "made"), asked, draws=draws, options=Options(sensitivity=False))


def off(report: FitReport) -> Any:
    """How far ln N* is from the truth, by budget."""
    return np.log([fit.values["N"] for fit in report.fits]) - np.log(best_size(BUDGETS))


def test_windows_find_minima_that_one_parabola_through_everything_misses() -> None:
    table = campaign(0.001)
    assert np.abs(off(isoflop(table, windows=False, draws=2))).min() > 0.1
    report = isoflop(table)
    assert np.abs(off(report)).max() < 0.07
    for fit, true in zip(report.fits, best_size(BUDGETS), strict=True):
        assert fit.left_out is not None
        assert 0 < len(fit.left_out) < 8
        assert len(fit.left_out) + fit.n_points == 11
        (found,) = [one.interval for one in fit.estimates if one.name == "N"]
        assert found.low is not None
        assert found.high is not None
        assert found.low < true < found.high


def test_n_d_and_tokens_per_parameter_follow_the_published_powers() -> None:
    report = isoflop(campaign(0.001))
    a = BETA / (ALPHA + BETA)
    true = {"N": a, "D": 1 - a, "D/N": 1 - 2 * a}
    scale = {
        "N": best_size(6.0) / 6**a,
        "D": 1 / 6 / (best_size(6.0) / 6**a),
        "D/N": 1 / 6 / (best_size(6.0) / 6**a) ** 2,
    }
    assert report.relation is not None
    found = {one.relation.parameter: one for one in (report.relation, *report.derived)}
    assert list(found) == list(true)
    for name, one in found.items():
        assert one.exponent == pytest.approx(true[name], abs=0.03)
        for ends, truth in ((one.interval, true[name]), (one.scale_interval, scale[name])):
            assert ends.low is not None
            assert ends.high is not None
            assert ends.low < truth < ends.high
    # C = 6ND holds at every minimum, and between the coefficients.
    n, d, ratio = ([group.value for group in one.groups] for one in found.values())
    assert 6 * np.array(n) * np.array(d) == pytest.approx(BUDGETS, rel=1e-9)
    assert np.array(d) / np.array(n) == pytest.approx(ratio, rel=1e-9)
    best, low, high = found["N"].power(np.array([1e19, 1e24]))
    assert (low < best).all()
    assert (best < high).all()
    assert best[1] / low[1] > best[0] / low[0]  # less sure beyond the budgets


def test_a_true_parabola_is_fitted_to_all_of_its_points() -> None:
    rng = np.random.default_rng(3)
    n = np.geomspace(1e7, 1e9, 9)
    loss = 2.5 + 0.1 * np.log(n / 1.2e8) ** 2
    for noise in (0.0, 1e-3):
        table = pd.DataFrame({"n": n, "d": 1e18 / 6 / n, "compute": 1e18, "loss": loss})
        table["loss"] *= np.exp(noise * rng.standard_normal(9))
        (fit,) = isoflop(table, draws=20).fits
        assert fit.left_out is not None
        assert fit.left_out.empty or noise
        assert fit.values["N"] == pytest.approx(1.2e8, rel=0.02 if noise else 1e-6)
        bend, slope, _ = np.polyfit(np.log(n), table["loss"], 2)
        assert fit.values["N"] == pytest.approx(np.exp(-slope / 2 / bend), rel=0.02)


def test_a_row_known_to_be_unsure_neither_moves_the_minimum_nor_the_window() -> None:
    table = campaign(0.001).assign(sigma=0.003)
    wild = table.copy()
    wild.loc[[13], "loss"] -= 1.5  # of the second budget, far below its best size
    unsure = isoflop(wild.assign(sigma=np.where(wild.index == 13, 3.0, 0.003)), draws=2)
    assert np.abs(off(unsure)).max() < 0.07
    (reason,) = isoflop(wild, draws=2).reasons  # as sure as the others, it leaves no minimum to believe
    assert "the losses do not follow one" in reason


def test_the_case_whose_lowest_losses_are_inside_has_its_best_size_there(shared: Path) -> None:
    table = pd.read_csv(shared / "cases/tables/isoflop_inside.csv")
    points = pd.DataFrame({"n": table["N"], "d": table["D"], "loss": table["loss"]})
    (fit,) = isoflop(points.assign(compute=6 * points["n"] * points["d"])).fits
    assert fit.values["N"] == pytest.approx(1.3e7, rel=0.05)


def test_a_sweep_of_learning_rates_is_not_bent_by_one_that_diverges() -> None:
    rate = 1e-4 * 2.0 ** np.arange(9)
    rng = np.random.default_rng(0)
    loss = 2.5 + 0.05 * np.log(rate / 8e-4) ** 2 + 0.002 * rng.standard_normal(9)
    loss[-2:] += (0.9, 3.0)
    table = pd.DataFrame({"n": 1e8, "d": 1e9, "lr": rate, "loss": loss})
    found = fit_points(
        tidy(table, "made"), load_model("lr-optimum"), draws=50, options=Options(sensitivity=False)
    )
    (fit,) = found.fits
    assert fit.values["best"] == pytest.approx(8e-4, rel=0.1)
    assert fit.left_out is not None
    assert fit.left_out["lr"].max() == rate[-1]


def test_the_window_is_in_the_record_and_its_points_are_hollow_in_the_figure() -> None:
    from fvlm_core.report.figures import law_figure
    from fvlm_core.report.figures.style import caption_of

    report = isoflop(campaign(0.001), draws=20)
    for fit, record in zip(report.fits, report.to_json()["fits"], strict=True):
        window = record["window"]
        assert window["low"] == fit.problem.table["n"].min()
        assert all(not window["low"] <= n <= window["high"] for n in window["left_out"])
    figure = law_figure([report])
    left, right = figure.axes[:2]
    hollow = [line for line in left.lines if line.get_markerfacecolor() == "none"]
    outside = sum(11 - fit.n_points for fit in report.fits)
    assert sum(np.size(line.get_xdata()) for line in hollow) == outside > 0
    assert right.collections  # the band of the power
    assert "D/N ~ C^r" in " ".join(caption_of(figure))

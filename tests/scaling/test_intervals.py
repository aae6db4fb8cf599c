"""Intervals are as wide as the textbooks say (Student's t, freedom, leverages), and hold the truth that often."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from attrs import evolve
from linear_law import LINE, MEAN, hat, solved, table
from scipy import stats

from fvlm_core.scaling.fit import uncertainty
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.identifiability import rank_of
from fvlm_core.scaling.fit.leverage import nothing_left
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.fit.relation import relate
from fvlm_core.scaling.fit.report import FitReport
from fvlm_core.scaling.fit.resampling import resample
from fvlm_core.scaling.fit.uncertainty import bootstrap, quantile, standard_errors
from fvlm_core.scaling.points.points import tidy
from fvlm_core.scaling.predict.prediction import Predictor

FAST = Options(bootstrap="wild", sensitivity=False)
"""Residuals with random signs: of a linear law the spread of the draws is the textbook's, to 1/sqrt(2 draws)."""


def mean_of(count: int, draws: int = 4_000) -> tuple[FitReport, Any]:
    loss = np.exp(1.0 + 0.01 * np.random.default_rng(0).standard_normal(count))
    points = tidy(pd.DataFrame({"d": np.arange(1.0, count + 1), "loss": loss}), "made")
    return fit_points(points, MEAN, "log-mse", draws, FAST), np.log(loss)


def test_the_interval_of_a_mean_is_students() -> None:
    """Six points: t of 5 degrees of freedom, 2.571, and s / sqrt 6; scipy says both."""
    report, logs = mean_of(6)
    (fit,) = report.fits
    (one,) = fit.estimates
    low, high = stats.t.interval(0.95, 5, logs.mean(), stats.sem(logs))
    assert one.value == pytest.approx(np.exp(logs.mean()), rel=1e-9)
    found = np.log([one.interval.low or 0.0, one.interval.high or 0.0])
    assert found[1] - found[0] == pytest.approx(high - low, rel=0.04)
    assert fit.drawn.freedom == 5


def test_a_new_run_scatters_about_the_law_besides() -> None:
    """The interval of one more of n normal numbers is t s sqrt(1 + 1/n); of their mean alone, t s / sqrt n."""
    report, logs = mean_of(6)
    loss = Predictor(report.fits[0], None).at(1.0, 3.0).loss
    assert loss.band is not None
    assert loss.interval is not None
    t, s = stats.t.ppf(0.975, 5), logs.std(ddof=1)
    assert np.ptp(np.log(loss.band)) / 2 == pytest.approx(t * s / np.sqrt(6), rel=0.04)
    assert np.ptp(np.log(loss.interval)) / 2 == pytest.approx(t * s * np.sqrt(1 + 1 / 6), rel=0.01)


def test_a_slot_that_one_point_tells_is_widened_by_that_points_leverage() -> None:
    """A point far out pulls the line to itself, so that its residual hides its error: of what varies in the slope,
    residuals show 1 - sum c^2 h / sum c^2 (Bell and McCaffrey 2002, of units of one point)."""
    x = np.array([0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 2.4, 6.0])
    loss = 5 - 0.3 * x + 0.05 * np.random.default_rng(3).standard_normal(8)
    design = np.column_stack([np.ones(8), x])
    to, leverage = hat(design)
    best = to @ loss
    problem, solution = solved(LINE, table(np.exp(x), loss), best)
    apart = loss - design @ best
    drawn = bootstrap(problem, solution, (), 0.0, 4_000, "wild")
    for at in range(2):
        shown = 1 - (to[at] ** 2 * leverage).sum() / (to[at] ** 2).sum()
        error = np.sqrt((to[at] ** 2 * apart**2).sum() / shown)
        low, high = drawn.intervals[at].low, drawn.intervals[at].high
        assert low is not None
        assert high is not None
        assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 6) * error, rel=0.04)
    # Beside n / (n - p), which both share, the slope's leverage makes its interval half as wide again.
    assert drawn.widths[1] > 1.4 > 1.1 > drawn.widths[0]
    found = standard_errors(problem, solution)
    assert found == pytest.approx(np.sqrt((to**2 * apart**2).sum(1) * 8 / 6), rel=1e-9)  # White's, HC1


@pytest.mark.parametrize("freedom", [1, 2, 5, 30])
def test_what_lies_beyond_an_interval_is_a_twentieth(freedom: int) -> None:
    assert stats.t.cdf(quantile(freedom), freedom) == pytest.approx(0.975)


@pytest.mark.parametrize(("apart", "told"), [(1e-6, True), (1e-7, False)])
def test_slots_whose_effects_agree_to_seven_digits_are_not_told_apart(apart: float, told: bool) -> None:
    """Two columns at an angle of `apart` have singular values in the ratio apart / 2."""
    first = np.array([1.0, 0.0, 0.0, 0.0])
    second = np.array([np.cos(apart), np.sin(apart), 0.0, 0.0])
    found = rank_of(1e3 * np.stack([first, second]))
    assert (found.full, found.undetermined) == ((True, ()) if told else (False, (0, 1)))


def test_as_many_parameters_as_points_leave_nothing_over_whatever_the_residuals() -> None:
    problem, solution = solved(LINE, table([1.0, 2.0], [3.0, 4.0]), (3.1, 1.0))
    assert "2 points for 2 parameters leave no residual" in nothing_left(problem, solution, 2)
    assert nothing_left(problem, solution, 1) == ""


def hits(count: int, points: int, law: str, monkeypatch: pytest.MonkeyPatch) -> float:
    """Of so many simulated fits the share whose interval holds the truth. The optimum is that of `numpy.polyfit`; the
    weights of the draws, which only the number of points decides, are drawn once."""
    rng = np.random.default_rng(points)
    x = np.linspace(-1.2, 1.2, points)
    made = table(np.exp(x), 1.0).assign(lr=1e-3 * np.exp(x), sweep="one")
    parameters, level, truth = (2, 5 + 0.3 * x, 0.3) if law == "line" else (3, 2.5 + 0.1 * x**2, 1e-3)
    weights = resample(made, "auto", "run", 0.0, parameters, 100, 0)
    monkeypatch.setattr(uncertainty, "resample", lambda *_: weights)
    problem, solution = solved(
        LINE if law == "line" else load_model("lr-optimum"), made, (1.0, 1.0, 1.0)[:parameters]
    )
    held = 0
    for _ in range(count):
        problem.loss = level + 0.003 * rng.standard_normal(points)
        bent = np.polyfit(x, problem.loss, parameters - 1)
        middle = bent[1] / 2 / bent[0]
        values = (
            bent[::-1] if law == "line" else (bent[2] - bent[0] * middle**2, 1e-3 * np.exp(-middle), bent[0])
        )
        found = evolve(solution, values=np.array(values), theta=problem.search(np.array(values)))
        ends = uncertainty.bootstrap(problem, found, (), 0.0, 100).intervals[1]
        held += (ends.low or -np.inf) <= truth <= (ends.high or np.inf)
    return held / count


def test_intervals_hold_the_truth_as_often_as_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """400 fits of a line through sixteen points. Intervals that are narrower or wider by a factor of sqrt 2 lie far
    outside of what a binomial of 95 % gives."""
    sure = 2.5 * np.sqrt(0.95 * 0.05 / 400)
    narrow, wide = (2 * stats.t.cdf(by * stats.t.ppf(0.975, 14), 14) - 1 for by in (0.5**0.5, 2**0.5))
    assert narrow < 0.95 - 2 * sure
    assert wide > 0.95 + 1.4 * sure
    assert hits(400, 16, "line", monkeypatch) == pytest.approx(0.95, abs=sure)


@pytest.mark.parametrize("spare", [1, 2])
def test_intervals_with_few_residuals_hold_the_truth(spare: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best learning rate of a sweep of four or five: of 1.96 standard errors seven in ten would, or eight."""
    assert hits(120, 3 + spare, "best rate", monkeypatch) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / 120)


def test_an_exponent_across_groups_is_that_of_a_straight_line() -> None:
    """Groups without errors of their own: `scipy.stats.linregress`, and t of the groups that are left over."""
    rng = np.random.default_rng(1)
    sizes = np.geomspace(1e6, 1e8, 5)
    best = 1e-3 * (sizes / 1e7) ** -0.5 * np.exp(0.1 * rng.standard_normal(5))
    rows = [
        {"n": n, "d": 1e9, "lr": lr, "loss": 2 + 0.1 * np.log(lr / middle) ** 2}
        for n, middle in zip(sizes, best, strict=True)
        for lr in middle * np.array([0.4, 1.2, 3.0])
    ]
    law = load_model("lr-optimum")
    report = fit_points(tidy(pd.DataFrame(rows), "sweep"), law, draws=2, options=Options(sensitivity=False))
    assert law.relation is not None
    found, *_ = relate(law.relation, report.fits)
    line = stats.linregress(np.log(sizes), np.log(best))
    reach = stats.t.ppf(0.975, 3) * line.stderr
    assert found.exponent == pytest.approx(line.slope, rel=1e-6)
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (line.slope - reach, line.slope + reach), rel=1e-5
    )

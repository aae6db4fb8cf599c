"""Differences of runs are judged as Welch's and Student's tests judge them; scipy says both."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fvlm_core.comparison.statistics import Repeats, StudentInterval, over_both

ONE, OTHER = np.array([1.36, 1.41, 1.33, 1.38]), np.array([1.262, 1.258, 1.264])


def group(weight: float, losses: np.ndarray, parts: np.ndarray | None = None) -> Repeats:
    return Repeats(weight, losses, parts)


def test_seeds_of_unlike_spread_are_compared_as_welch_does() -> None:
    """The standard error, the degrees of freedom (Satterthwaite's), the interval, and the chance on both sides."""
    found = over_both([group(1.0, ONE), group(-1.0, OTHER)], np.zeros(0, np.int64))
    assert found is not None
    known = stats.ttest_ind(ONE, OTHER, equal_var=False)
    low, high = known.confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))
    assert found.freedom == pytest.approx(known.df)
    assert found.p == pytest.approx(known.pvalue)


def test_a_chance_is_of_either_side() -> None:
    assert StudentInterval(-2.0, 1.0, 7.0).p == pytest.approx(2 * stats.t.sf(2.0, 7))
    assert StudentInterval(2.0, 1.0, 7.0).p == pytest.approx(2 * stats.t.sf(2.0, 7))


def test_few_seeds_that_lie_close_together_are_not_trusted_for_the_many_samples() -> None:
    """Two seeds a side, one degree of freedom or two: their own interval, by Welch, is wider than the one that the
    degrees of freedom of the samples would make narrow, and is the one that is taken."""
    rng = np.random.default_rng(0)
    one, other = np.array([1.300, 1.306]), np.array([1.200, 1.205])
    parts = [np.tile(0.002 / 20 * rng.standard_normal(400), (2, 1)) for _ in range(2)]
    found = over_both([group(1.0, one, parts[0]), group(-1.0, other, parts[1])], np.zeros(400, np.int64))
    assert found is not None
    low, high = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_many_seeds_have_the_noise_of_the_samples_besides() -> None:
    """Beside the seeds' variance that of the mean over samples, within their source."""
    rng = np.random.default_rng(1)
    losses = 1.3 + 0.001 * rng.standard_normal(30)
    parts = np.tile(0.02 / 20 * rng.standard_normal(400), (30, 1))
    found = over_both([group(1.0, losses, parts)], np.zeros(400, np.int64))
    assert found is not None
    of_samples = 400 / 399 * ((parts[0] - parts[0].mean()) ** 2).sum()
    # The seeds' parts are alike: nothing is counted twice.
    assert found.error**2 == pytest.approx(losses.var(ddof=1) / 30 + of_samples, rel=1e-9)


def test_what_every_seed_has_of_its_own_on_every_sample_is_in_both_and_counted_once() -> None:
    """Seeds crossed with samples (Cameron, Gelbach and Miller 2011): of the seeds, plus of the samples, less of each
    cell by itself."""
    rng = np.random.default_rng(2)
    cells = (rng.standard_normal(400) + 1.5 * rng.standard_normal((12, 400))) / 400
    losses = 1.3 + 0.1 * rng.standard_normal(12)
    found = over_both([group(1.0, losses, cells)], np.zeros(400, np.int64))
    assert found is not None
    mean = cells.mean(axis=0)
    of_seeds, of_samples = losses.var(ddof=1) / 12, 400 / 399 * ((mean - mean.mean()) ** 2).sum()
    of_cells = cells.var(axis=0, ddof=1).sum() / 12
    assert of_cells > 0.05 * of_samples
    assert found.error**2 == pytest.approx(of_seeds + of_samples - of_cells, rel=1e-9)

"""What a law leaves of measurements: noise by the closed form of its posterior, and departures that rows ask for."""

from __future__ import annotations

import numpy as np
import pytest

from fvlm_core.scaling.pool.discrepancy import alike, drawn, expected, weighed


def test_noise_is_expected_where_rows_close_by_had_it() -> None:
    """Of k squares with sum q at the same place: the mean of the posterior of a variance, over that without any."""
    counts = np.array([5 / (4 + 9.0), 5 / (4 + 1.0), 5 / (4 + 25.0)])  # squares of 9, 1 and 25
    close = np.array([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    closed = np.array([(4 + 35) / (4 + 3 - 2), 4 / 2, (4 + 1) / (4 + 1 - 2)])
    assert expected(close, counts) == pytest.approx(closed / 2)


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_noise_is_no_reason_for_a_departure(noise: float) -> None:
    """A true line at 100 places: noise is found to a fifth, and the departure stays of the size that it usually has."""
    rng = np.random.default_rng(2)
    x = rng.uniform(0, 1, (100, 2))
    slopes = 2.0 * np.column_stack([np.ones(100), x]).T
    exact = 1 + x @ [2.0, -1.0]
    near = alike(x / x.std(0), x / x.std(0))
    scatters, told = weighed(
        exact + noise * rng.standard_normal(100), slopes, near, np.ones(100), exact.std()
    )
    found = drawn(scatters, told, 8)
    assert np.sqrt(np.mean([one.noise for one in found])) == pytest.approx(noise, rel=0.2)
    assert np.median([one.size * one.smooth**0.5 for one in found]) < 0.06 * exact.std()

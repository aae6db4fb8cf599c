"""What a fit minimises and the criteria made of it, against scipy and the straight line of the textbooks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from linear_law import LINE, solved, table
from scipy.special import huber

from fvlm_core.scaling.fit.model_selection import criteria
from fvlm_core.scaling.fit.objective import FitObjective

RESIDUALS = np.array([0.0, 1e-9, -3e-4, 9.99e-4, -1e-3, 1.01e-3, 0.02, -0.5, 7.0])


def test_the_huber_loss_is_scipys() -> None:
    found = FitObjective("log-huber").losses(RESIDUALS)
    assert found == pytest.approx(huber(1e-3, RESIDUALS), rel=1e-12)


def test_absolute_deviations_are_absolute_values() -> None:
    assert FitObjective("log-lad").losses(RESIDUALS) == pytest.approx(np.abs(RESIDUALS), abs=1e-7)


@pytest.mark.parametrize("name", ["log-huber", "log-lad", "log-mse", "mse"])
def test_weights_are_the_slope_of_the_loss_over_the_residual(name: Any) -> None:
    """psi(r) / r of iteratively reweighted least squares; of squares r^2 they count 1, half their slope."""
    objective = FitObjective(name)
    some = RESIDUALS[np.abs(RESIDUALS) > 1e-6]
    step = 1e-7 * np.abs(some)
    slope = (objective.losses(some + step) - objective.losses(some - step)) / (2 * step)
    scale = 0.5 if objective.delta is None else 1.0
    assert objective.weights(some) == pytest.approx(scale * slope / some, rel=1e-4)


def test_residuals_are_of_the_logarithm_where_the_name_says_so() -> None:
    predicted, loss = np.array([3.0, 2.0]), np.array([2.0, 4.0])
    assert FitObjective("log-mse").residuals(predicted, loss) == pytest.approx(np.log([1.5, 0.5]))
    assert FitObjective("mse").residuals(predicted, loss) == pytest.approx([1.0, -2.0])


def test_the_criteria_of_a_straight_line_are_those_of_the_textbooks() -> None:
    """n ln(RSS / n) + 2 p (Akaike), + p ln n (Schwarz), for p slots and normal errors."""
    x = np.linspace(0, 3, 12)
    loss = 5 - 0.3 * x + 0.05 * np.random.default_rng(0).standard_normal(12)
    design = np.column_stack([np.ones(12), x])
    best, (rss,), *_ = np.linalg.lstsq(design, loss)
    found = criteria(*solved(LINE, table(np.exp(x), loss), best), 0.0)
    assert found.effective == 12
    assert found.aic == pytest.approx(12 * np.log(rss / 12) + 2 * 2)
    assert found.bic == pytest.approx(12 * np.log(rss / 12) + 2 * np.log(12))

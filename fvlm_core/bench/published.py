"""The published way to fit L = E + A/N^alpha + B/D^beta, as plainly as it is described.

Hoffmann et al. (2022), "Training Compute-Optimal Large Language Models", section 3.3: the sum over points of Huber
losses of ln L, from every start of a grid, by L-BFGS; the best end is kept. Parameters: ln A, ln B, ln E, alpha, beta.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from attrs import frozen
from scipy.optimize import least_squares, minimize

from fvlm_core.scaling.fit.objective import HUBER_DELTA, Floats

HALVES = np.arange(0.0, 2.5, 0.5)

GRID: Floats = np.array([*product(range(0, 30, 5), range(0, 30, 5), HALVES - 1, HALVES, HALVES)], dtype=float)
"""Starts [4500, 5]: 6 x 6 x 5 x 5 x 5."""


@frozen(eq=False)
class LogPoints:
    """ln N, ln D and ln L, [n] each."""

    n: Floats
    d: Floats
    loss: Floats

    def residuals(self, x: Floats) -> Floats:
        """Predicted minus measured ln L, [n], for x [5].

        Two `logaddexp` take a fifth of the time of scipy's `logsumexp`, for the same numbers.
        """
        a, b, e, alpha, beta = x
        return np.logaddexp(np.logaddexp(a - alpha * self.n, b - beta * self.d), e) - self.loss

    def objective(self, x: Floats) -> float:
        """The sum of Huber losses."""
        size = np.abs(self.residuals(x))
        small = size <= HUBER_DELTA
        return float(np.where(small, 0.5 * size**2, HUBER_DELTA * (size - 0.5 * HUBER_DELTA)).sum())

    def drawn(self, counts: Any) -> LogPoints:
        """Each point as often as a draw has it: counts [n], whole numbers."""
        return LogPoints(*(np.repeat(column, counts) for column in (self.n, self.d, self.loss)))


def follow(points: LogPoints, starts: Floats) -> list[float]:
    """Where L-BFGS with numeric gradients ends from each of the starts [S, 5]: its objective."""
    with np.errstate(all="ignore"):
        return [float(minimize(points.objective, start, method="L-BFGS-B").fun) for start in starts]


def refit(points: LogPoints, best: Floats) -> float:
    """The objective of a draw, refitted from the optimum [5] by scipy's robust least squares: here quicker than L-BFGS,
    which stops farther up."""
    residuals: Callable[[Floats], Floats] = points.residuals
    found: Any = least_squares(residuals, best, loss="huber", f_scale=HUBER_DELTA, x_scale="jac")
    return float(found.cost)

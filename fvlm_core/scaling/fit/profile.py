"""Profile likelihood: how far one parameter can be moved when all others are allowed to make up for it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from attrs import frozen

from fvlm_core.scaling.fit.levenberg_marquardt import descend
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.solver import Solution
from fvlm_core.scaling.fit.uncertainty import Bootstrap, Interval, quantile

REACH = 4.0
"""Standard errors on either side of the estimate that are looked at."""

GRID = 41
"""Values tried."""

NORMAL = 1_000_000
"""Degrees of freedom that stand for the normal distribution."""


@frozen(eq=False)
class ParameterProfile:
    """One parameter's profile.

    name: as in the tables. values: [K], increasing. rise: [K] what the objective rises by when the parameter is held
    at each value, in units of the rise at the edge of the 95 % region: 1 is the threshold. interval: where it is
    crossed; None where it is not within `REACH` standard errors.
    """

    name: str
    values: Floats
    rise: Floats
    interval: Interval


def profile(problem: FitProblem, solution: Solution, drawn: Bootstrap, at: int) -> ParameterProfile:
    """Refit all other parameters with slot `at` held at each of a grid of values.

    The threshold is calibrated: near the estimate the profile is a parabola, and one standard error of the bootstrap
    away from it the rise counts as 1 in the scale of t^2. So the width is the bootstrap's, which knows of runs and
    autocorrelation, and the shape is the likelihood's, which knows of asymmetry and flat directions.
    """
    best = solution.theta[at]
    error = drawn.error_of(at, best, problem.search(drawn.values)[:, at]) if len(drawn.values) else 0.0
    if not np.isfinite(error) or error <= 0:
        error = max(abs(best), 1.0) * 0.1
    low = max(problem.lower[at], best - REACH * error)
    high = min(problem.upper[at], best + REACH * error)
    held = np.union1d(np.linspace(low, high, GRID), best + error * np.array([-0.25, 0.25]))
    held = held[(held >= low) & (held <= high)]
    theta = (
        np.repeat(solution.theta[None], len(held), axis=0)
        + _along(problem, solution, at) * (held - best)[:, None]
    )
    theta = np.clip(theta, problem.lower, problem.upper)
    theta[:, at] = held
    theta, total = descend(problem, theta, steps=200, tolerance=1e-10, held=[at])
    rise = np.maximum(total - solution.total, 0.0)
    near = np.abs(np.abs(held - best) - 0.25 * error) < 1e-9 * max(error, 1e-12)
    unit = 16 * float(np.mean(rise[near])) if near.any() else float("nan")
    threshold = unit * quantile(drawn.freedom or NORMAL) ** 2
    scaled = rise / threshold if threshold > 0 else np.full_like(rise, np.nan)
    values = np.exp(held) if problem.slots[at].parameter.log else held
    return ParameterProfile(
        problem.slots[at].name, values, scaled, _crossings(values, scaled, best_at=int(np.argmin(rise)))
    )


def _along(problem: FitProblem, solution: Solution, at: int) -> Floats:
    """How the other slots go along when one is moved, to first order: [P], 1 for the slot itself."""
    theta = solution.theta[None]
    jacobian = problem.jacobian(theta)[0]
    weight = problem.counts(problem.residuals(theta)[0])
    curvature = (jacobian * weight) @ jacobian.T
    free = [slot for slot, bound in enumerate(solution.bounds) if bound is None and slot != at]
    out = np.zeros(len(solution.theta))
    out[at] = 1.0
    if free:
        out[free] = -np.linalg.pinv(curvature[np.ix_(free, free)], rcond=1e-10) @ curvature[free, at]
    return out


def _crossings(values: Floats, rise: Floats, best_at: int) -> Interval:
    """Where the rise first exceeds 1 on either side of the estimate, by linear interpolation of its root."""
    root = np.sqrt(rise)

    def first(order: range) -> float | None:
        for here, there in pairwise(order):
            if root[there] > 1:
                share = (1 - root[here]) / (root[there] - root[here])
                return float(values[here] + share * (values[there] - values[here]))
        return None

    return Interval(first(range(best_at, -1, -1)), first(range(best_at, len(values))))

"""Information criteria, with the number of points that correlated evaluations are worth."""

from __future__ import annotations

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.solver import Solution


@frozen
class Criteria:
    """Akaike's and Schwarz's criteria; smaller is better, between laws fitted to the same points with one objective.

    effective: n_eff, the independent points that the evaluations are worth: n (1 - rho) / (1 + rho) of each run, at
    least 1, for autocorrelation rho between neighbours.
    """

    aic: float | None
    bic: float | None
    effective: float


def criteria(problem: FitProblem, solution: Solution, lag1: float, told: bool = True) -> Criteria:
    """-2 ln L with the scale of the residuals profiled out, plus 2 p or p ln n_eff.

    Squared residuals: n_eff ln(mean) (normal errors). Huber and absolute losses of residuals nearly all beyond delta:
    2 n_eff ln(mean) (Laplace's errors). None where nothing is left to estimate a scale from. told: whether the
    residuals are more than rounding.
    """
    effective = effective_points(problem.table, lag1)
    free = sum(bound is None for bound in solution.bounds)
    mean = solution.total / len(problem.loss)
    if not told or mean <= 0 or len(problem.loss) <= free:
        return Criteria(None, None, effective)
    deviance = (1.0 if problem.objective.delta is None else 2.0) * effective * np.log(mean)
    return Criteria(float(deviance + 2 * free), float(deviance + free * np.log(effective)), effective)


def effective_points(table: pd.DataFrame, lag1: float) -> float:
    """Independent points that these are worth."""
    rho = min(max(lag1, 0.0), 0.99)
    named = table["run"] != ""
    runs = table[named].groupby(["size", "run"], observed=True).size()
    return float(np.maximum(1.0, runs * (1 - rho) / (1 + rho)).sum() + (~named).sum())

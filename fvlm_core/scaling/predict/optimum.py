"""The best use of a budget under a law and a cost: N*, D* and L*, for one set of parameters or many draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.predict.cost import Cost
from fvlm_core.scaling.predict.question import At

GRID = 401
"""Sizes tried, evenly in ln N; a parabola through the best three finds the minimum between them (error in ln N below
1e-4 over a range of 1e4)."""


@frozen(eq=False)
class Optimum:
    """Of each of S parameter sets: n, d, loss [S]. edge [S]: -1 or 1 where the loss still falls at the smallest or
    largest N looked at, so that the optimum lies there or beyond."""

    n: Floats
    d: Floats
    loss: Floats
    edge: Floats


def optimum(
    problem: FitProblem,
    values: Floats,
    cost: Cost,
    budget: float,
    low: float,
    high: float,
    at: At | None = None,
) -> Optimum:
    """Minimise the loss (maximise what rises) over N in [low, high] with D = budget / cost(N).

    values: [S, P]. budget: training FLOPs. The cost must be known on the whole range. at: of the law's other columns.
    """
    x = np.linspace(np.log(low), np.log(high), GRID)
    tried = losses(problem, values, np.exp(x), budget / cost.flops(np.exp(x)), at)
    tried = -tried if problem.model.output.rising else tried
    tried = np.where(np.isfinite(tried), tried, np.inf)
    best = np.argmin(tried, axis=1)
    inner = np.clip(best, 1, GRID - 2)
    rows = np.arange(len(values))
    left, middle, right = (tried[rows, inner + side] for side in (-1, 0, 1))
    bend = left - 2 * middle + right
    edge = np.where(best == 0, -1.0, np.where(best == GRID - 1, 1.0, 0.0))
    usable = (edge == 0) & np.isfinite(bend) & (bend > 0)
    shift = np.where(usable, 0.5 * (left - right) / np.where(usable, bend, 1.0), 0.0)
    best_n = np.where(edge == 0, x[inner] + np.clip(shift, -1, 1) * (x[1] - x[0]), x[best])
    n = np.exp(best_n)
    d = budget / cost.flops(n)
    return Optimum(n, d, _diagonal(problem, values, n, d, at), edge)


def losses(problem: FitProblem, values: Floats, n: Floats, d: Floats, at: At | None = None) -> Floats:
    """The law at m points for S parameter sets: [S, m]."""
    return bound(problem, n, d, at=at).predict(values)


def bound(problem: FitProblem, n: Floats, d: Floats, size: str = "", at: At | None = None) -> FitProblem:
    """The law at other N and D, NaN for a law that does not read them. size: the label of all of them, for laws with
    parameters of each size. at: of the law's other columns. Raises `KeyError` for a label that the fit has not seen."""
    n, d = np.broadcast_arrays(np.asarray(n, float), np.asarray(d, float))
    table = pd.DataFrame({"n": n, "d": d, "loss": 1.0, "size": size, "run": "", "schedule": ""})
    return problem.at(table.assign(**dict(at or {})))


def _diagonal(problem: FitProblem, values: Floats, n: Floats, d: Floats, at: At | None) -> Floats:
    """Each parameter set at its own point, in blocks."""
    out = np.empty(len(values))
    for start in range(0, len(values), GRID):
        part = slice(start, start + GRID)
        out[part] = np.diagonal(bound(problem, n[part], d[part], at=at).predict(values[part]))
    return out

"""How sure the numbers are: standard errors from the Jacobian, and intervals from resampled points."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.scaling.descent import descend
from fvlm_core.scaling.objective import Floats
from fvlm_core.scaling.problem import Problem
from fvlm_core.scaling.solver import Solution

DRAWS = 1_000
"""Bootstrap draws of a fit."""

MOST_COUNTS = 20_000_000
"""Counts of points kept for all draws together (160 MB): very many points get fewer draws, at least `FEWEST`."""

FEWEST = 100

SEED = 0
LEVEL = 0.95

FAR = 14.0
"""An end of the interval of a scale that is further off than e^14 = 1e6 times the estimate counts as unbounded."""

NEAR = 1e-3
"""How close to its bound a draw counts as resting on it."""

CALM = 5.0
"""Where the bootstrap starts a scale that came out 0: e^-5 of its guess, where its slope has not vanished."""


@frozen
class Interval:
    """A 95 % interval; None: unbounded on that side, as far as the points and the parameter's bounds tell."""

    low: float | None
    high: float | None


@frozen(eq=False)
class Bootstrap:
    """Refits to resampled points. values: [draws, P]. lost: draws that gave no fit. scheme: how points were drawn."""

    values: Floats
    intervals: tuple[Interval, ...]
    lost: int
    scheme: str


def standard_errors(problem: Problem, solution: Solution) -> tuple[float | None, ...]:
    """Standard errors of the values, for independent residuals; None for slots on a bound or where there is none.

    The sandwich H^-1 (J' psi^2 J) H^-1 n/(n - p) of M-estimators (Huber 1967), H = J' psi' J: residuals may differ in
    spread, but not depend on each other. For Huber losses psi' is the density of residuals at 0, taken from the window
    that holds half of them: within delta there are too few (240 Chinchilla points: a half of the bootstrap's errors).
    """
    free = [at for at, bound in enumerate(solution.bounds) if bound is None]
    n = len(problem.loss)
    out: list[float | None] = [None] * len(problem.slots)
    theta = solution.theta[None]
    apart = problem.residuals(theta)[0]
    jacobian = problem.jacobian(theta)[0][free]
    size = np.linalg.norm(jacobian, axis=1)
    if n <= len(free) or not size.all():
        return tuple(out)
    scaled = jacobian / size[:, None]
    slope = np.ones(n)
    delta = problem.objective.delta
    if delta is not None:
        window = max(delta, float(np.median(np.abs(apart))))
        slope = (np.abs(apart) <= window) * (delta / window)
    psi = apart * problem.objective.weights(apart)
    try:
        inverse = np.linalg.inv((scaled * slope) @ scaled.T)
    except np.linalg.LinAlgError:
        return tuple(out)
    variance = np.diag(inverse @ ((scaled * psi**2) @ scaled.T) @ inverse) * n / (n - len(free)) / size**2
    for at, found in zip(free, variance, strict=True):
        if np.isfinite(found):
            out[at] = float(
                np.sqrt(found) * (solution.values[at] if problem.slots[at].parameter.log else 1.0)
            )
    return tuple(out)


def bootstrap(
    problem: Problem,
    solution: Solution,
    loose: Sequence[int],
    lag1: float,
    draws: int = DRAWS,
    seed: int = SEED,
) -> Bootstrap:
    """Refit to resampled points, all draws at once, each from the optimum.

    loose: slots that the points do not determine; whatever their draws say, they are unbounded. lag1: autocorrelation
    of the residuals.
    """
    draws = min(draws, max(FEWEST, MOST_COUNTS // len(problem.table)))
    weights, scheme = resample(problem.table, lag1, draws, np.random.default_rng(seed))
    start = solution.theta.copy()
    empty = problem.logs & (start <= problem.lower)
    start[empty] = problem.search(problem.guess())[empty] - CALM
    theta, total = descend(problem, np.repeat(start[None], draws, axis=0), weights, steps=100, tolerance=1e-6)
    theta = theta[np.isfinite(total)]
    intervals = tuple(
        Interval(None, None) if at in loose or not len(theta) else _interval(problem, solution, theta, at)
        for at in range(len(problem.slots))
    )
    return Bootstrap(problem.values(theta), intervals, draws - len(theta), scheme)


def _interval(problem: Problem, solution: Solution, theta: Floats, at: int) -> Interval:
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(theta[:, at], [tail, 1 - tail])
    down, up = problem.lower[at] + NEAR, problem.upper[at] - NEAR
    if problem.slots[at].parameter.log:
        down, up = max(down, solution.theta[at] - FAR), min(up, solution.theta[at] + FAR)
    value = np.exp if problem.slots[at].parameter.log else float
    return Interval(float(value(low)) if low > down else None, float(value(high)) if high < up else None)


def resample(table: pd.DataFrame, lag1: float, draws: int, rng: np.random.Generator) -> tuple[Floats, str]:
    """How often each point counts in each draw: [draws, n], and the scheme in words. table: indexed 0..n-1.

    Points that are alone in their run (or name no run) are drawn independently. Evaluations of one run resemble each
    other, so a run is drawn in circular blocks of neighbours, as long as residuals with this lag-1 autocorrelation ask
    for (Carlstein 1986 for AR(1)); where a size has several runs, whole runs are drawn anew first.
    """
    counts = np.zeros((draws, len(table)))
    grouped: Any = table[table["run"] != ""].groupby(["size", "run"], sort=False).groups
    groups: dict[tuple[str, str], Any] = grouped
    runs = {key: np.asarray(at) for key, at in groups.items() if len(at) > 1}
    inside = np.concatenate(list(runs.values())) if runs else np.array([], dtype=int)
    alone = np.setdiff1d(np.arange(len(table)), inside)
    if len(alone):
        counts[:, alone] = rng.multinomial(len(alone), np.full(len(alone), 1 / len(alone)), size=draws)
    longest = 1
    for size in dict.fromkeys(key[0] for key in runs):
        members = [at for key, at in runs.items() if key[0] == size]
        copies = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
        for at, times in zip(members, copies.T, strict=True):
            length = block_length(len(at), lag1)
            longest = max(longest, length)
            counts[:, at] = _blocks(len(at), length, times, rng)
    return counts, _scheme(runs, len(alone), longest)


def block_length(n: int, lag1: float) -> int:
    """Points in a block of a run of n points, at most a third of them."""
    rho = min(max(lag1, 0.0), 0.99)
    return max(1, min(ceil((2 * rho / (1 - rho * rho)) ** (2 / 3) * n ** (1 / 3)), n // 3))


def _blocks(n: int, length: int, times: Any, rng: np.random.Generator) -> Floats:
    """Counts [draws, n] of a run of n points drawn `times` [draws] over in circular blocks."""
    pieces = ceil(n / length)
    draw = np.repeat(np.arange(len(times)), times)
    starts = rng.integers(0, n, (len(draw), pieces, 1))
    points = ((starts + np.arange(length)) % n).reshape(len(draw), -1)[:, :n]
    flat = np.bincount((draw[:, None] * n + points).ravel(), minlength=len(times) * n)
    return flat.reshape(len(times), n).astype(float)


def _scheme(runs: dict[tuple[str, str], Any], alone: int, longest: int) -> str:
    sizes = [size for size, _ in runs]
    parts: list[str] = []
    if len(set(sizes)) < len(sizes):
        parts.append("runs drawn anew within each size of several runs")
    if runs:
        parts.append(
            f"blocks of up to {longest} neighbouring points within a run"
            if longest > 1
            else "points within a run"
        )
    if alone:
        parts.append("points drawn independently" if not runs else "single points drawn independently")
    return "; ".join(parts)

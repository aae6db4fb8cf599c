"""The best parameters of a law: many starts by variable projection, descent, and a last polish by scipy.

Whether the optimum was reached, and whether a parameter rests on a bound, is decided here and not taken from the
optimizer's word.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import evolve, frozen
from scipy.optimize import least_squares

from fvlm_core.scaling.fit.levenberg_marquardt import descend
from fvlm_core.scaling.fit.objective import FitObjective, Floats
from fvlm_core.scaling.fit.problem import FitProblem, Slot, thinned

STARTS = 512
"""Combinations of the nonlinear parameters tried; the linear ones follow from each by least squares."""

FINALISTS = 16
"""Starts that are followed downhill."""

THIN = 2_000
"""Points used for ranking starts."""

DIFFERENCED = 10_000
"""Points times parameters that starts are followed on at most, but at least `THINNEST` points a parameter, where a law
has no gradient: its derivatives take two evaluations a parameter (20 parameters: 17 s on 2,000 points, 4 s on 500)."""

THINNEST = 20

SURE = 20_000
"""Points that tell the best of the finalists; more than these only sharpen it, and need no polish."""

AGAIN = 3
"""Times that a solution whose gradient has not vanished is followed on: narrow valleys are long."""

LAD_STAGES = (1e-3, 1e-4, 1e-5, 1e-6)

CONVERGED = 1e-4
"""Largest `Solution.gradient` of an optimum: an improvement of 1e-8 of the objective is then left at most."""

ROUNDING = 1e-9
"""Residuals below this are rounding: a fit without residuals has converged."""

AT_BOUND = 1e-7
"""A parameter rests on its bound when moving it there costs no more than this part of the objective."""


@frozen(eq=False)
class Solution:
    """Where the solver arrived.

    values, theta: [P]. total: the objective, a sum over points. bounds: for each slot "min", "max" or None, the bound
    it rests on. gradient: sqrt(g' H^-1 g / total) over the free slots, without unit.
    """

    values: Floats
    theta: Floats
    total: float
    bounds: tuple[str | None, ...]
    gradient: float

    @property
    def converged(self) -> bool:
        """Whether the gradient vanishes."""
        return self.gradient <= CONVERGED


def solve(problem: FitProblem) -> Solution:
    """The best parameters found from all starts. Deterministic."""
    most = THIN
    if problem.model.gradient is None:
        most = min(THIN, max(THINNEST * len(problem.slots), DIFFERENCED // len(problem.slots)))
    ranking = thinned(problem, most)
    theta = np.concatenate([problem.search(problem.guess()[None]), _starts(ranking)])
    order = np.argsort(_finite(ranking.total(ranking.residuals(theta))), kind="stable")
    theta, total = descend(ranking, theta[order[:FINALISTS]], steps=60, tolerance=1e-6)
    best = theta[np.argsort(_finite(total), kind="stable")[:3]]
    sure = ranking if problem.model.gradient is None else thinned(problem, SURE)
    for part in (sure, problem):
        for stage in _stages(part):
            best, total = descend(stage, best, steps=500, tolerance=1e-13)
        best = best[[np.argmin(_finite(total))]]
    found = _polish(problem, best[0])
    for _ in range(AGAIN if len(problem.loss) <= SURE else 0):
        if found.converged:
            break
        further, _ = descend(problem, found.theta[None], steps=2000, tolerance=1e-15)
        again = _polish(problem, further[0])
        if not again.total < found.total:
            break
        found = again
    return found


def _stages(problem: FitProblem) -> list[FitProblem]:
    """Least absolute deviations by way of Huber losses with an ever smaller delta; else the problem itself."""
    if problem.objective.name != "log-lad":
        return [problem]
    return [evolve(problem, objective=FitObjective("log-huber", delta)) for delta in LAD_STAGES] + [problem]


def _starts(problem: FitProblem) -> Floats:
    """theta [S, P]: nonlinear slots spread evenly over their ranges, linear ones by least squares given those."""
    values = np.repeat(problem.guess()[None], STARTS, axis=0)
    nonlinear = [at for at, slot in enumerate(problem.slots) if not slot.parameter.linear]
    if nonlinear:
        spread = _evenly(STARTS, len(nonlinear))
        for at, unit in zip(nonlinear, spread.T, strict=True):
            values[:, at] = _range(problem.slots[at], unit)
    linear = [at for at, slot in enumerate(problem.slots) if slot.parameter.linear]
    if linear:
        values[:, linear] = _project(problem, values, linear)
    return problem.search(values)


def _evenly(count: int, sides: int) -> Floats:
    """Points that fill the unit cube evenly, [count, sides]: multiples of powers of a generalised golden ratio, without
    their whole part (Roberts 2018, "The unreasonable effectiveness of quasirandom sequences").

    Sobol's are as even, and scipy's cost the import of all of its statistics, 0.3 s.
    """
    ratio = 2.0
    for _ in range(60):
        ratio = (1 + ratio) ** (1 / (sides + 1))
    return (0.5 + np.arange(1, count + 1)[:, None] * ratio ** -np.arange(1.0, sides + 1)) % 1.0


def _range(slot: Slot, unit: Floats) -> Floats:
    """Numbers in [0, 1] to values between the bounds, evenly in the logarithm where a bound is positive."""
    parameter = slot.parameter
    reach = 2 * abs(parameter.guess) + 1
    if parameter.min > 0 or parameter.log:
        low = parameter.min or parameter.guess * 1e-3
        high = parameter.max if np.isfinite(parameter.max) else parameter.guess * 1e3
        return low * (high / low) ** unit
    low = max(parameter.min, parameter.guess - reach)
    high = min(parameter.max, parameter.guess + reach)
    return low + (high - low) * unit


def _project(problem: FitProblem, values: Floats, linear: list[int]) -> Floats:
    """Variable projection: the linear slots [S, k] that fit best given the others, by weighted least squares."""
    without = values.copy()
    without[:, linear] = 0.0
    base = problem.predict(without)
    columns: list[Floats] = []
    for at in linear:
        unit = without.copy()
        unit[:, at] = 1.0
        columns.append(problem.predict(unit) - base)
    basis = np.nan_to_num(np.stack(columns, axis=1))
    weight = 1.0 / problem.loss if problem.objective.delta is not None else np.ones_like(problem.loss)
    weight = weight * problem.precision * np.sqrt(problem.weight)
    target = (problem.loss - np.nan_to_num(base)) * weight
    size = np.linalg.norm(basis * weight, axis=2, keepdims=True) + 1e-300
    scaled = basis * weight / size
    gram = scaled @ scaled.transpose(0, 2, 1) + 1e-12 * np.eye(len(linear))
    found = np.linalg.solve(gram, scaled @ target[:, :, None])[:, :, 0] / size[:, :, 0]
    # A scale that came out negative starts where its term makes 1 % of the loss, not at 0, where its slope vanishes.
    small = 0.01 * np.abs(problem.loss).mean() / (np.abs(basis).mean(axis=2) + 1e-300)
    logs = problem.logs[linear]
    return np.where(logs & (found <= 0), small, found)


def _polish(problem: FitProblem, theta: Floats) -> Solution:
    """A bounded trust region in the parameters' own units, where a bound of 0 can be reached (Branch et al. 1999)."""
    lower = np.array([slot.parameter.min for slot in problem.slots])
    upper = np.array([slot.parameter.max for slot in problem.slots])

    def residuals(trial: Floats) -> Floats:
        apart = problem.apart(problem.predict(trial[None]))[0] * np.sqrt(problem.weight)
        return np.nan_to_num(apart, posinf=1e6)

    values = problem.values(theta)
    if problem.objective.name != "log-lad" and len(problem.loss) <= SURE:
        robust: dict[str, Any] = {}
        if problem.objective.delta is not None:
            robust = {"loss": "huber", "f_scale": problem.objective.delta}
        tight: dict[str, Any] = {
            "ftol": 1e-15,
            "xtol": 1e-15,
            "gtol": 1e-15,
            "x_scale": "jac",
            "jac": "3-point",
        }
        with np.errstate(all="ignore"):
            start = np.clip(values, lower, upper)
            after = least_squares(residuals, start, bounds=(lower, upper), max_nfev=200, **robust, **tight).x
        values = after if _total(problem, after) <= _total(problem, values) else values
    values, bounds = _rest(problem, values)
    return Solution(
        values,
        problem.search(values),
        _total(problem, values),
        bounds,
        _gradient(problem, values, bounds),
    )


def _rest(problem: FitProblem, values: Floats) -> tuple[Floats, tuple[str | None, ...]]:
    """Move the slots that want to be on a bound onto it."""
    limit = _total(problem, values) * (1 + AT_BOUND)
    bounds: list[str | None] = []
    for at, slot in enumerate(problem.slots):
        free: dict[str, Floats] = {}
        for side, bound in (("min", slot.parameter.min), ("max", slot.parameter.max)):
            moved = values.copy()
            moved[at] = bound
            if np.isfinite(bound) and _total(problem, moved) <= limit:
                free[side] = moved
        # A slot that costs nothing at either end rests on neither: it does not matter (alpha when A is 0).
        side = next(iter(free)) if len(free) == 1 else None
        values = free[side] if side else values
        bounds.append(side)
    return values, tuple(bounds)


def _gradient(problem: FitProblem, values: Floats, bounds: tuple[str | None, ...]) -> float:
    free = [at for at, bound in enumerate(bounds) if bound is None]
    theta = problem.search(values)[None]
    apart = problem.residuals(theta)[0]
    jacobian = problem.jacobian(theta)[0][free]
    weight = problem.counts(apart)
    slope = jacobian @ (weight * apart)
    curvature = (jacobian * weight) @ jacobian.T
    scale = np.sqrt(np.where(np.diag(curvature) > 0, np.diag(curvature), 1.0))
    promised = (
        (slope / scale) @ np.linalg.pinv(curvature / np.outer(scale, scale), rcond=1e-10) @ (slope / scale)
    )
    rounding = len(apart) * ROUNDING**2
    return float(np.sqrt(max(promised, 0.0) / (_total(problem, values) + rounding)))


def _total(problem: FitProblem, values: Floats) -> float:
    return float(problem.total(problem.apart(problem.predict(values[None])))[0])


def _finite(total: Floats) -> Floats:
    return np.where(np.isfinite(total), total, np.inf)

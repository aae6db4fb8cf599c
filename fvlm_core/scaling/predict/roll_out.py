"""How well a law foresees larger runs than it was fitted to: refits to the smaller runs, step by step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from attrs import asdict, evolve, frozen
from scipy.optimize import minimize_scalar

from fvlm_core.scaling.fit.identifiability import design_rank
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.report import FittedLaw
from fvlm_core.scaling.fit.solver import Solution, solve
from fvlm_core.scaling.fit.uncertainty import quantile
from fvlm_core.scaling.points.point_selection import column_called
from fvlm_core.utils.errors import UsageError

STEPS = 8
"""Refits at most."""

FEWEST = 3
"""Refits from which the growth of an error is told."""

SPARE = 2
"""Runs beyond the number of parameters that a refit takes at least."""


@frozen
class Forecast:
    """One run predicted from smaller ones.

    run: its name, or its place in the table. fitted: points of the refit. factor: how far beyond them it lies (see
    `factor_beyond`). measured, predicted: of the law's target. error: predicted minus measured, in the logarithm where
    the target is positive. expected: the standard deviation that the parameters' uncertainty and the scatter of runs
    alone give the error.
    """

    run: str
    fitted: int
    factor: float
    measured: float
    predicted: float
    error: float
    expected: float


@frozen(eq=False)
class RollOut:
    """What the refits say.

    scale: what orders the runs, in words. forecasts: of all refits, the least data first. growth: the standard
    deviation of what the law gets wrong a factor e beyond its points, as a part of the target (or in its unit, where
    that may be negative); 0 where errors are as expected. steps: refits.
    """

    scale: str
    forecasts: tuple[Forecast, ...]
    growth: float
    steps: int

    @property
    def farthest(self) -> float:
        """The largest factor that was foreseen."""
        return max(one.factor for one in self.forecasts)

    def reach(self, factor: float) -> float:
        """Half of what a 95 % interval gains, in squares, so far beyond the points."""
        return quantile(self.steps) * self.growth * float(np.log(factor))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "scale": self.scale,
            "steps": self.steps,
            "growth": self.growth,
            "farthest": self.farthest,
            "forecasts": [asdict(one) for one in self.forecasts],
        }


def roll_out(fit: FittedLaw, scatter: float, scale: str = "") -> RollOut | None:
    """Refit a law to the smaller runs of its points and predict the larger ones, at up to `STEPS` places.

    Where runs are too few, every point counts as one of its own: a curve is foreseen from its beginning. scatter: the
    standard deviation of a run about the law. scale: the column that says how large a run is; "": N times D, or what of
    D, the training FLOPs, N and the law's own columns is there. None where fewer than `FEWEST` refits can be made.
    """
    problem = fit.problem
    name, apart = _measures(problem, scale)
    if not name or fit.drawn.missing or problem.model.derive is not None:
        return None
    ends, sizes = _units(problem.table, apart[name], len(problem.slots) + SPARE + FEWEST)
    forecasts: list[Forecast] = []
    steps = 0
    for edge in _edges(np.sort(sizes[ends]), len(problem.slots) + SPARE):
        smaller, larger = sizes <= edge, ends & (sizes > edge)
        seen = _ranges({one: values[smaller] for one, values in apart.items()})
        part = evolve(problem, table=problem.table[smaller].reset_index(drop=True))
        factors = _factors({one: values[larger] for one, values in apart.items()}, seen, int(larger.sum()))
        foreseen = _forecast(part, problem, smaller, larger, factors, scatter)
        forecasts += foreseen
        steps += bool(foreseen)
    if steps < FEWEST:
        return None
    return RollOut(SCALES.get(name, name), tuple(forecasts), _growth(forecasts), steps)


def factor_beyond(problem: FitProblem, point: Mapping[str, Any], scale: str = "") -> float:
    """How far a point lies beyond those of a law: the largest factor outside their range, of the law's own columns and
    of what tells how large a run is; 1 inside. point: values by column."""
    return float(
        factors_beyond(problem, {name: np.array([value]) for name, value in point.items()}, scale)[0]
    )


def factors_beyond(problem: FitProblem, points: Mapping[str, Any], scale: str = "") -> Floats:
    """`factor_beyond` of m points: [m]. points: values by column, [m] each; at least one column."""
    _, apart = _measures(problem, scale)
    columns = {name: values for name, values in points.items() if values.dtype.kind in "fiu"}
    return _factors(_quantities(columns), _ranges(apart), len(next(iter(points.values()))))


def scale_column(name: str, table: pd.DataFrame) -> str:
    """The column that a user names to say how large runs are. Raises `UsageError` for one that cannot."""
    column = column_called(name, table, "--roll-out")
    values = table[column].to_numpy()
    if values.dtype.kind not in "fiu":
        raise UsageError(f"--roll-out {name}: expected a column of numbers, got labels")
    numbers = values.astype(float)
    wrong = int((~(np.isfinite(numbers) & (numbers > 0))).sum())
    if wrong:
        raise UsageError(f"--roll-out {name}: {wrong} of {len(numbers)} points have no positive number there")
    if np.ptp(numbers) == 0:
        raise UsageError(f"--roll-out {name}: all points have the same there, {numbers[0]:g}")
    return column


def _measures(problem: FitProblem, scale: str) -> tuple[str, dict[str, Floats]]:
    """What tells how large a run is, and how far runs lie apart: its column, "" for none, and all columns, [n] each."""
    columns = {str(column): problem.table[column].to_numpy() for column in problem.table}
    known = {
        one: np.asarray(values, float) for one, values in _quantities(columns).items() if _usable(values)
    }
    # A law of features, such as learning rates step by step, is asked of a step.
    usual = ["step", *SCALES] if problem.model.features else [*SCALES, *problem.model.columns]
    name = next((one for one in ([scale] if scale else usual) if one in known), "")
    return name, {one: known[one] for one in known if one == name or one in problem.model.columns}


def _ranges(values: Mapping[str, Floats]) -> dict[str, tuple[float, float]]:
    return {name: (float(of.min()), float(of.max())) for name, of in values.items()}


PRODUCT = "N times D"
"""Its key: no name that a column of a law can have."""

SCALES = {
    PRODUCT: PRODUCT,
    "d": "D",
    "compute": "C, the training FLOPs",
    "step": "the step",
    "n": "N, the parameters",
}
"""What tells how large a run is, the first that all points have."""


def _quantities(points: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of points by column, and N times D."""
    out = {str(name): points[name] for name in points}
    return {**out, PRODUCT: out["n"] * out["d"]} if "n" in out and "d" in out else out


def _usable(values: Any) -> bool:
    """Whether all points have a positive number there, and not the same."""
    if values.dtype.kind not in "fiu":
        return False
    numbers = np.asarray(values, float)
    return bool(np.isfinite(numbers).all() and (numbers > 0).all() and np.ptp(numbers) > 0)


def _factors(values: Mapping[str, Any], ranges: Mapping[str, tuple[float, float]], points: int) -> Floats:
    """The largest factor of each point outside the ranges: [m], 1 or more."""
    out = np.ones(points)
    for name, (low, high) in ranges.items():
        if name in values:
            value = np.asarray(values[name], float)
            with np.errstate(all="ignore"):  # what is not asked for lies nowhere
                out = np.fmax(out, np.maximum(value / high, low / value))
    return out


def _units(table: pd.DataFrame, scale: Floats, fewest: int) -> tuple[Any, Floats]:
    """Which points are the last of their run, bool [n], and the scale at which each point's run ends, [n]."""
    runs = table["run"].to_numpy(object)
    named = runs != ""
    keys = pd.Series([f"{size}/{run}" for size, run in zip(table["size"], runs, strict=True)])
    alone = pd.Series([f"#{at}" for at in range(len(table))])
    keys = keys.where(named, alone)
    if keys.nunique() < fewest:
        keys = alone
    last = pd.Series(scale).groupby(keys, sort=False).transform("max").to_numpy(float)
    ends = (scale == last) & ~pd.Series(keys).where(scale == last).duplicated().to_numpy()
    return ends, last


def _edges(sizes: Floats, fewest: int) -> Floats:
    """The largest scale of each refit: evenly spread over the logarithm, each with `fewest` runs or more below it and
    one above."""
    usable = np.unique(sizes[fewest - 1 :])[:-1] if len(sizes) > fewest else sizes[:0]
    if len(usable) <= STEPS:
        return usable
    wanted = np.geomspace(usable[0], usable[-1], STEPS)
    return np.unique(usable[np.abs(np.log(usable[:, None] / wanted)).argmin(0)])


def _forecast(
    part: FitProblem, whole: FitProblem, smaller: Any, larger: Any, factors: Floats, scatter: float
) -> list[Forecast]:
    """The larger runs, predicted by a fit to a part, the smaller ones (bool [n] of the whole, both); none where that
    tells too little. factors: of each larger run, [m]."""
    table = whole.table[larger].reset_index(drop=True)
    if {slot.name for slot in part.slots} != {slot.name for slot in whole.slots} or not design_rank(
        part
    ).full:
        return []
    solution = solve(part)
    there = part.at(table, whole.curves)
    predicted = there.predict(solution.values[None])[0]
    measured = table[whole.model.target].to_numpy(float)
    apart = whole.scaled(predicted) - whole.scaled(measured)
    if not np.isfinite(apart).all():
        return []
    # What these points tell of the law when runs scatter as all of them do: so few residuals would say it badly.
    free = [at for at, bound in enumerate(solution.bounds) if bound is None]
    known = whole.precision[smaller] * np.sqrt(whole.weight[smaller])
    here, beyond = _slopes(part, solution)[free] * known, _slopes(there, solution)[free]
    size = np.linalg.norm(here, axis=1, keepdims=True)
    law = np.linalg.norm(np.linalg.pinv(here / size) @ (beyond / size), axis=0)
    names = table["run"].astype(str).to_numpy()
    places = np.flatnonzero(larger)
    return [
        Forecast(
            names[at] or f"point {places[at] + 1}",
            len(part.table),
            float(factors[at]),
            float(measured[at]),
            float(predicted[at]),
            float(apart[at]),
            float(scatter * np.hypot(law[at], 1.0 / whole.precision[larger][at])),
        )
        for at in range(len(table))
    ]


def _slopes(problem: FitProblem, solution: Solution) -> Floats:
    """Derivatives of the target by the slots, [P, n], on the scale that scatter is told on."""
    slopes = problem.jacobian(solution.theta[None])[0] / problem.precision
    if problem.relative == problem.objective.logarithmic:
        return slopes
    predicted = problem.predict(solution.values[None])[0]
    return slopes * predicted if problem.objective.logarithmic else slopes / predicted


def _growth(forecasts: list[Forecast]) -> float:
    """The growth under which the errors are likeliest, each normal with the variance expected^2 + (growth ln f)^2.

    Forecasts of one refit share its error: they count as one.
    """
    error, expected, factor = np.array([(one.error, one.expected, one.factor) for one in forecasts]).T
    fitted = np.array([one.fitted for one in forecasts])
    _, place, count = np.unique(fitted, return_inverse=True, return_counts=True)
    share = 1.0 / count[place]
    away = np.log(factor) ** 2
    if not (away > 0).any():
        return 0.0

    def unlikely(growth: float) -> float:
        variance = expected**2 + growth**2 * away
        return float((share * (np.log(variance) + error**2 / variance)).sum())

    most = float(np.abs(error[away > 0] / np.sqrt(away[away > 0])).max())
    found: Any = minimize_scalar(
        unlikely, bounds=(0.0, 2 * most), method="bounded", options={"xatol": 1e-6 * most}
    )
    return float(found.x) if unlikely(found.x) < unlikely(0.0) else 0.0

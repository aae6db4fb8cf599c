"""How sure the numbers are: standard errors from the Jacobian, and intervals from refits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from attrs import evolve, frozen
from numpy.typing import NDArray
from scipy.special import stdtrit

from fvlm_core.scaling.fit.identifiability import RANK_TOLERANCE, VANISHED, determined, slopes_at
from fvlm_core.scaling.fit.levenberg_marquardt import descend
from fvlm_core.scaling.fit.leverage import UNSEEN, Leverage, leverage
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.resampling import Cluster, Resampling, Scheme, inflation, resample
from fvlm_core.scaling.fit.solver import Solution
from fvlm_core.utils.errors import UsageError

DRAWS = 1_000
"""Bootstrap draws of a fit."""

FEWEST = 100
MOST_COUNTS = 100_000_000
"""Weights of points in all draws together that are refitted (a minute for five parameters): very many points get fewer
draws, at least `FEWEST`."""

MANY = 20_000
"""Points from which a draw is one Newton step from the optimum (the one-step bootstrap, Andrews 2002) instead of a
refit: the draws lie within 1/sqrt(n) of it, where the two agree to 1/n."""

HEAVY = 500_000
"""Points times squared parameters from which a draw is one step, too: 1,000 refits of 20 parameters to 2,700 points
would take a minute, their curvatures alone half of it."""

DIFFERENCED = 4_000
"""Points times parameters from which it is for a law without a gradient, whose derivatives take two evaluations a
parameter (1,080 points and 7 parameters: 9 s of refits)."""

REFITTED = 1e-5
"""Relative improvement at which a refit has arrived: what is left is small against how far the draws lie apart."""

DERIVED_DRAWS = 200
"""Draws of a law whose points are made from the measured ones, which are made anew for each."""
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
    """A 95 % interval; None: unbounded on that side, as far as the points and the parameter's bounds tell.

    missing: why there is none at all, in words; then `low` and `high` are None.
    """

    low: float | None
    high: float | None
    missing: str = ""


UNBOUNDED = Interval(None, None)

UNTOLD = "not identifiable from these points, whose information about it is singular or nearly so"
"""Why a slot has no interval that can take any value beside others."""

ALONE = "nearly all that tells it is fitted exactly, which leaves no residual to judge by"
"""Why one slot has no interval where others have."""

SAME = "all draws are alike: nothing is left to vary"
"""Why a slot has none whose draws did not move."""

STILL = 1e-12
"""Draws that lie closer together than this part of the value did not move."""


@frozen(eq=False)
class Bootstrap:
    """Refits to resampled points.

    values: [draws, P]. intervals: of each slot. lost: draws that gave no fit. scheme: what was drawn, in words.
    scale, freedom: the deviation of a draw from the estimate times `scale` is as large as the estimate's own error,
    whose interval then takes Student's t with `freedom` degrees of freedom; freedom None: the quantiles of the draws
    are the interval. `band` does this for anything computed from parameters.
    between_runs: whether the variation from run to run is in them. widths: for each slot, what its interval is wide in
    terms of `scale`: less than 1 for one that every run tells by itself, more for one that few runs tell. missing: why
    there are neither draws nor intervals, in words. leverage: None for very many points, and where there are no draws.
    """

    values: Floats
    intervals: tuple[Interval, ...]
    lost: int
    scheme: str
    scale: float = 1.0
    freedom: int | None = None
    between_runs: bool = True
    widths: tuple[float, ...] = ()
    missing: str = ""
    leverage: Leverage | None = None

    def errors(self, best: Floats, drawn: Floats) -> Floats:
        """Standard errors [...] of numbers that were `best` [...] at the estimate and `drawn` [draws, ...]."""
        return self.scale * np.sqrt(np.mean((drawn - best) ** 2, axis=0))

    def band(self, best: Floats, drawn: Floats) -> tuple[Floats, Floats]:
        """95 % limits of numbers that were `best` [...] at the estimate and `drawn` [draws, ...]; NaN without draws."""
        if not len(self.values):
            return np.full_like(best, np.nan), np.full_like(best, np.nan)
        if self.freedom is None:
            low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
            return low, high
        reach = quantile(self.freedom) * self.errors(best, drawn)
        return best - reach, best + reach

    def error_of(self, at: int, best: Floats, drawn: Floats) -> float:
        """The standard error of slot `at`, or of its logarithm: `best` at the estimate, `drawn` [draws]."""
        return float(self.errors(best, drawn)) * (self.widths[at] if self.widths else 1.0)

    def interval(self, best: float, drawn: Floats) -> Interval:
        """Of a number computed from the parameters, not bounded: `best` at the estimate, `drawn` [draws]."""
        if self.missing:
            return Interval(None, None, self.missing)
        low, high = (float(end) for end in self.band(np.asarray(best), drawn))
        if high - low <= STILL * max(1.0, abs(best)):
            return Interval(None, None, SAME)
        return Interval(low, high)

    def hidden(self, slopes: Floats) -> Any:
        """Which numbers with these gradients by the slots, [m, P], have no residual to speak of: bool [m]."""
        if self.leverage is None:
            return np.zeros(len(slopes), bool)
        return self.leverage.seen(slopes) < UNSEEN


def quantile(freedom: int) -> float:
    """Student's t that 2.5 % lie beyond."""
    return float(stdtrit(freedom, (1 + LEVEL) / 2))


def standard_errors(problem: FitProblem, solution: Solution) -> tuple[float | None, ...]:
    """Standard errors of the values, for independent residuals; None for slots on a bound, without influence,
    or that the information H does not determine.

    The sandwich H^-1 (J' psi^2 J) H^-1 n/(n - p) of M-estimators (Huber 1967), H = J' psi' J: residuals may differ in
    spread, but not depend on each other. For Huber losses psi' is the density of residuals at 0, taken from the window
    that holds half of them: within delta there are too few (240 Chinchilla points: a half of the bootstrap's errors).
    """
    out: list[float | None] = [None] * len(problem.slots)
    told, shares, size, small = influences(problem, solution)
    for at, found in zip(told, np.linalg.norm(shares, axis=1) * small / size, strict=True):
        if np.isfinite(found):
            out[at] = float(found * (solution.values[at] if problem.slots[at].parameter.log else 1.0))
    return tuple(out)


def influences(problem: FitProblem, solution: Solution) -> tuple[list[int], Floats, Floats, float]:
    """What `standard_errors` are made of: the k slots that the information determines; each point's share in moving
    them, in units of `size`, [k, n]; size [k]; and sqrt(n/(n - p)). Sums of products over points, divided by the sizes,
    are the covariances of theta."""
    n = len(problem.loss)
    theta = solution.theta[None]
    apart = problem.residuals(theta)[0]
    jacobian = problem.jacobian(theta)[0]
    felt = np.linalg.norm(slopes_at(problem, theta[0]), axis=1) > VANISHED * np.sqrt(n)
    free = [at for at, bound in enumerate(solution.bounds) if bound is None and felt[at]]
    jacobian = jacobian[free]
    size = np.linalg.norm(jacobian, axis=1)
    if n <= len(free):
        return [], np.zeros((0, n)), np.zeros(0), 1.0
    scaled = jacobian / size[:, None]
    psi = apart * problem.counts(apart)
    bent = scaled * np.sqrt(expected_slope(problem, apart))  # H = bent bent'
    # What H does not determine is left out of its inverse, and so are those that share in it.
    left, singular, _ = np.linalg.svd(bent, full_matrices=False)
    kept = singular > RANK_TOLERANCE * singular.max(initial=0.0)
    inverse = (left[:, kept] / singular[kept] ** 2) @ left[:, kept].T
    places = [*determined(bent)]
    shares = (inverse @ (scaled * psi))[places]
    return [free[place] for place in places], shares, size[places], float(np.sqrt(n / (n - len(free))))


def vague(problem: FitProblem, solution: Solution, errors: Sequence[float | None]) -> tuple[int, ...]:
    """Positions of slots whose standard error is as wide as all the values they may take: no number is more than
    another. A scale may be off by `FAR` at most."""
    reach = np.where(problem.logs, FAR * solution.values, problem.upper - problem.lower)
    return tuple(at for at, error in enumerate(errors) if error is not None and not error < reach[at])


def expected_slope(problem: FitProblem, apart: Floats) -> Floats:
    """psi' at every point: the expected slope of the objective's derivative, [n]."""
    delta = problem.objective.delta
    if delta is None:
        return np.ones_like(apart) * problem.weight
    window = max(delta, float(np.median(np.abs(apart))))
    slope = problem.objective.weights(np.zeros(1))[0] * delta / window
    return (np.abs(apart) <= window) * slope * problem.weight


def bootstrap(
    problem: FitProblem,
    solution: Solution,
    loose: Sequence[int],
    lag1: float,
    draws: int = DRAWS,
    scheme: Scheme = "auto",
    cluster: Cluster = "run",
    seed: int = SEED,
) -> Bootstrap:
    """Refit to resampled points, all draws at once, each from the optimum.

    loose: slots that the points do not determine; whatever their draws say, they have no interval. lag1:
    autocorrelation of the residuals.
    """
    draws = min(draws, max(FEWEST, MOST_COUNTS // len(problem.table)))
    free = sum(bound is None for bound in solution.bounds)
    drawn = resample(problem.table, scheme, cluster, lag1, free, draws, seed)
    start = solution.theta.copy()
    empty = problem.logs & (start <= problem.lower)
    start[empty] = problem.search(problem.guess())[empty] - CALM
    pooled = drawn.clustered and problem.objective.delta is not None
    if (_one_step(problem) or pooled) and not drawn.signs:
        theta = _steps(problem, solution, drawn, pooled)
    else:
        theta = _refits(problem, start, solution, drawn)
    return summarise(problem, solution, loose, theta, drawn, drawn.codes)


def _one_step(problem: FitProblem) -> bool:
    """Whether a thousand refits would take minutes; features stand for laws that are slow to evaluate."""
    n, p, model = len(problem.table), len(problem.slots), problem.model
    differenced = model.gradient is None and n * p > DIFFERENCED
    return n > MANY or n * p**2 > HEAVY or differenced or bool(model.features)


def bootstrap_derived(
    problem: FitProblem,
    solution: Solution,
    table: pd.DataFrame,
    rebuild: Callable[[pd.DataFrame], FitProblem],
    scheme: Scheme,
    cluster: Cluster,
    draws: int,
    seed: int = SEED,
) -> Bootstrap:
    """Refit to points derived anew from resampled runs.

    table: the measured points. rebuild: the problem of points derived from a part of them. Draws whose runs allow no
    points are lost, and counted.
    """
    wanted: Scheme = "cluster" if scheme in ("auto", "wild") else scheme
    drawn = resample(table, wanted, cluster, 0.0, len(problem.slots), min(draws, DERIVED_DRAWS), seed)
    found: list[Floats] = []
    for at in range(len(drawn.weights)):
        counts = drawn.of_points(slice(at, at + 1))[0].astype(int)
        try:
            again = rebuild(table.loc[counts > 0].reset_index(drop=True))
        except UsageError:
            continue
        moved, total = descend(again, solution.theta[None], steps=60, tolerance=1e-6)
        if np.isfinite(total[0]):
            found.append(moved[0])
    theta = np.array(found).reshape(len(found), len(problem.slots))
    text = f"{drawn.scheme}, points derived anew"
    alone = np.arange(len(problem.loss), dtype=np.intp)
    return summarise(problem, solution, (), theta, evolve(drawn, scheme=text), alone)


def summarise(
    problem: FitProblem,
    solution: Solution,
    loose: Sequence[int],
    theta: Floats,
    drawn: Resampling,
    codes: NDArray[np.intp],
) -> Bootstrap:
    """The draws that gave a fit, and the interval of each slot.

    theta: [draws, P], not finite where there is none. codes: the unit of each point of the problem, [n].
    """
    kept = theta[np.isfinite(theta).all(axis=1)]
    known = leverage(problem, solution, codes) if len(codes) <= MANY else None
    found = Bootstrap(
        problem.values(kept),
        (),
        len(drawn.weights) - len(kept),
        drawn.scheme,
        drawn.scale,
        drawn.freedom,
        drawn.between_runs,
        _widths(problem, solution, known) if drawn.freedom is not None and known is not None else (),
        "",
        known,
    )
    hidden = found.hidden(np.eye(len(problem.slots)))

    def interval(at: int) -> Interval:
        if at in loose:
            return Interval(None, None, UNTOLD)
        if not len(kept):
            return UNBOUNDED
        if hidden[at]:
            return Interval(None, None, ALONE)
        return _interval(problem, solution, found, kept, at)

    return evolve(found, intervals=tuple(map(interval, range(len(problem.slots)))))


def without(problem: FitProblem, why: str) -> Bootstrap:
    """No draws and no intervals. why: in words."""
    missing = (Interval(None, None, why),) * len(problem.slots)
    return Bootstrap(np.zeros((0, len(problem.slots))), missing, 0, "none", missing=why)


def _refits(problem: FitProblem, start: Floats, solution: Solution, drawn: Resampling) -> Floats:
    draws = len(drawn.weights)
    block = max(1, min(draws, 20_000_000 // len(problem.table)))
    parts: list[Floats] = []
    for at in range(0, draws, block):
        part = slice(at, at + block)
        weights = drawn.of_points(part)
        losses: Floats | None = None
        if drawn.signs:
            losses, weights = _wild(problem, solution, weights), None
        count = min(block, draws - at)
        theta, total = descend(
            problem, np.repeat(start[None], count, axis=0), weights, losses, steps=100, tolerance=REFITTED
        )
        theta[~np.isfinite(total)] = np.nan
        parts.append(theta)
    return np.concatenate(parts)


def _wild(problem: FitProblem, solution: Solution, signs: Floats) -> Floats:
    """Losses [draws, n] with the residuals of whole runs multiplied by their weights."""
    predicted = problem.predict(solution.values[None])[0]
    apart = problem.objective.residuals(predicted, problem.loss)
    return predicted * np.exp(-apart * signs) if problem.objective.logarithmic else predicted - apart * signs


def _steps(problem: FitProblem, solution: Solution, drawn: Resampling, pooled: bool) -> Floats:
    """One Newton step from the optimum for each draw. pooled: with one density of residuals for all points."""
    free = [at for at, bound in enumerate(solution.bounds) if bound is None]
    apart = problem.residuals(solution.theta[None])[0]
    jacobian = problem.jacobian(solution.theta[None])[0][free]
    slopes = jacobian * (apart * problem.counts(apart))
    pairs = [(i, j) for i in range(len(free)) for j in range(i + 1)]
    bent = expected_slope(problem, apart)
    bent = bent.mean() * problem.weight if pooled else bent
    sums = np.concatenate([slopes, np.stack([jacobian[i] * jacobian[j] * bent for i, j in pairs])])
    theta = np.repeat(solution.theta[None], len(drawn.weights), axis=0)
    block = max(1, 4_000_000 // len(problem.table))
    for at in range(0, len(theta), block):
        part = slice(at, at + block)
        found = drawn.of_points(part) @ sums.T
        curvature = np.zeros((len(found), len(free), len(free)))
        for column, (i, j) in enumerate(pairs, start=len(free)):
            curvature[:, i, j] = curvature[:, j, i] = found[:, column]
        step = (np.linalg.pinv(curvature, hermitian=True) @ found[:, : len(free), None])[:, :, 0]
        theta[part, free] = np.clip(theta[part, free] - step, problem.lower[free], problem.upper[free])
    return theta


def _interval(problem: FitProblem, solution: Solution, found: Bootstrap, theta: Floats, at: int) -> Interval:
    best = solution.theta[at]
    if found.freedom is None:
        low, high = (float(end) for end in found.band(best, theta[:, at]))
    else:
        reach = quantile(found.freedom) * found.error_of(at, best, theta[:, at])
        low, high = float(best - reach), float(best + reach)
    if high - low <= STILL * max(1.0, abs(best)):
        return Interval(None, None, SAME)
    down, up = problem.lower[at] + NEAR, problem.upper[at] - NEAR
    if problem.slots[at].parameter.log:
        down, up = max(down, solution.theta[at] - FAR), min(up, solution.theta[at] + FAR)
    value: Any = np.exp if problem.slots[at].parameter.log else float
    return Interval(float(value(low)) if low > down else None, float(value(high)) if high < up else None)


def _widths(problem: FitProblem, solution: Solution, known: Leverage) -> tuple[float, ...]:
    """What each slot's error is in terms of the one widening that all share, sqrt(U / (U - p)) for U units.

    Residuals are smaller than errors by the leverage of their unit, and a slot's error comes out too small by that of
    the units that tell it: by the square root of what residuals show of it.
    """
    free = [at for at, bound in enumerate(solution.bounds) if bound is None]
    seen = np.maximum(known.seen(np.eye(len(problem.slots))), UNSEEN)
    widths = np.ones(len(problem.slots))
    widths[free] = seen[free] ** -0.5 / inflation(known.units, len(free))
    return tuple(widths.tolist())

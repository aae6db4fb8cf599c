"""Which runs to make next: the ones after which a prediction is surest, within a budget.

c-optimal design (Elfving 1952; Chaloner & Verdinelli 1995 for its Bayesian form): the variance of the linearised
prediction g' M^-1 g, M the information of all runs, averaged in the logarithm over what the law may be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from attrs import frozen

from fvlm_core.scaling.fit.identifiability import rank_of
from fvlm_core.scaling.fit.noise import Noise
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.predict.optimum import bound
from fvlm_core.scaling.predict.prior import Beliefs

TRUST = 0.1
"""How much of the broad prior counts while runs are chosen: a fit later on does not know it, so that runs must
determine by themselves what it would have supplied."""

SWEEPS = 8
"""Rounds of exchanges; most designs settle in three."""

SINGULAR = 1e-14
"""Pivots of a scaled matrix below this are rounding."""

ENOUGH = 1e-4
"""Improvements of ln of the variance below this are none."""

SPARED = 0.01
"""The part of a standard error that no run is made for: the whole plan may be so much less sure for being cheaper."""

RESTARTS = 4
"""Designs drawn at random that exchanges start from, too: the best of them is up to 7 % surer than what greedy starts
lead to (20 runs among 252 candidates)."""

USED = 8
"""Evaluations of a run that are looked at: more of them say little more, for they share the run's offset."""

SKIPPED = 1 / 16
"""The part of a run's D at its beginning that is not looked at."""


@frozen
class Candidate:
    """A run that could be made. label: the size's. n: parameters. d: what it trains on. flops: training FLOPs.
    price: in the unit of the budget. evaluations: points it gives; 1: only the end of training counts."""

    label: str
    n: float
    d: float
    flops: float
    price: float
    evaluations: int = 1


@frozen(eq=False)
class Stakes:
    """What candidates would tell. information: [P, P, C, S] of each, at each draw of the beliefs. base: [P, P, S] what
    is known already. slope: [P, S] of ln of the predicted loss at the target."""

    information: Floats
    base: Floats
    slope: Floats

    def variance(self, chosen: Sequence[int]) -> Floats:
        """Of ln L at the target after the chosen runs, at each draw: [S]."""
        return _quadratic(self.with_runs(chosen), self.slope)

    def with_runs(self, chosen: Sequence[int]) -> Floats:
        """The information after the chosen runs: [P, P, S]."""
        return self.base + self.information[:, :, list(chosen)].sum(2)

    def merits(self, known: Floats, more: Any) -> Floats:
        """The merit of `known` [P, P, S] with each one of some candidates: [of them]."""
        return _merit(_quadratic(known[:, :, None] + self.information[:, :, more], self.slope[:, None]))

    def error(self, chosen: Sequence[int]) -> float:
        """Standard error of ln L at the target after the chosen runs: the middle (geometric mean) over the draws."""
        return float(np.exp(0.5 * _merit(self.variance(chosen))))


def stakes(
    problem: FitProblem,
    beliefs: Beliefs,
    candidates: Sequence[Candidate],
    noise: Noise,
    target: tuple[Floats, Floats],
    trust: float = TRUST,
) -> Stakes:
    """problem: the law, with `log-mse`. target: N and D of the prediction at each draw, [S] each.

    The evaluations of a run are counted together with what they share (`Noise.covariance`): the shape of its curve is
    known well, its height no better than one run can.
    """
    sets, slots = beliefs.theta.shape
    shapes = [curve(one.evaluations) for one in candidates]
    n = np.repeat([one.n for one in candidates], [len(shares) for shares, _ in shapes])
    d = np.concatenate([one.d * shares for one, (shares, _) in zip(candidates, shapes, strict=True)])
    slope = bound(problem, n, d).jacobian(beliefs.theta)
    information = np.empty((slots, slots, len(candidates), sets))
    start = 0
    for at, (shares, gap) in enumerate(shapes):
        part = slope[:, :, start : start + len(shares)]
        start += len(shares)
        found = part @ np.linalg.inv(noise.covariance(len(shares), gap)) @ part.transpose(0, 2, 1)
        information[:, :, at] = found.transpose(1, 2, 0)
    there = [np.broadcast_to(one, sets) for one in target]
    wanted = bound(problem, there[0], there[1]).jacobian(beliefs.theta)
    base = (beliefs.information + trust * beliefs.precision).transpose(1, 2, 0)
    return Stakes(information, np.ascontiguousarray(base), np.einsum("sps->ps", wanted))


def curve(evaluations: int) -> tuple[Floats, float]:
    """The evaluations of a run that are looked at, as parts of its D, and how many lie from one to the next.

    Evenly over its steps, thinned to `USED`, without the beginning, which no law of finished training holds for.
    """
    first = max(SKIPPED, 1.0 / evaluations)
    used = max(1, min(USED, int((1 - first) * evaluations) + 1))
    shares = np.linspace(first, 1.0, used) if used > 1 else np.ones(1)
    return shares, max(1.0, (1 - first) * evaluations / max(used - 1, 1))


def estimable(problem: FitProblem, beliefs: Beliefs, target: tuple[Floats, Floats]) -> bool:
    """Whether points of `problem` (candidates, and what is measured) can tell the loss at the target, however many
    there are: whether its slope lies in the space that theirs span, at most of the draws."""
    slopes = problem.jacobian(beliefs.theta)
    there = [np.broadcast_to(one, len(beliefs.theta)) for one in target]
    wanted = np.einsum("sps->sp", bound(problem, there[0], there[1]).jacobian(beliefs.theta))
    told = [
        rank_of(slope).rank == rank_of(np.column_stack([slope, one])).rank
        for slope, one in zip(slopes, wanted, strict=True)
    ]
    return 2 * sum(told) >= len(told)


def even_grid(
    sizes: Sequence[tuple[str, float]],
    make: Callable[[str, float, float], Candidate | None],
    budget: float,
    most: int,
    span: float = 64.0,
) -> list[Candidate]:
    """What one would do without a plan: a grid even in ln N and ln C that uses the budget up.

    sizes: labels and N. make: a run of a size for a price; None where no such run exists. span: of C, largest over
    smallest. At most five sizes and four budgets (20 runs), fewer where only `most` runs are allowed.
    """
    across = min(len(sizes), 5, max(2, round((most * 1.25) ** 0.5)))
    levels = max(1, min(4, most // across))
    order = sorted(sizes, key=lambda size: size[1])
    taken = [order[at] for at in np.unique(np.linspace(0, len(order) - 1, across).round().astype(int))]
    shares = np.geomspace(1.0, span, levels) if levels > 1 else np.ones(1)
    shares = shares / shares.sum() / len(taken) * budget
    made = [make(label, n, float(share)) for share in shares for label, n in taken]
    return [one for one in made if one is not None]


def choose(
    known: Stakes, prices: Floats, budget: float, most: int, starts: Sequence[Sequence[int]] = ()
) -> list[int]:
    """The best set found of at most `most` candidates (one may be in it several times) that the budget pays for.

    prices: [C]. starts: designs to better, beside greedy ones. Single exchanges after Fedorov (1972), of runs that
    have a price.
    """
    begun = [list(start) for start in starts if prices[list(start)].sum() <= budget and len(start) <= most]
    begun += [_greedy(known, prices, budget, most, power) for power in (0.0, 0.5, 1.0)]
    begun += _scattered(prices, budget, most)
    ended = [_exchange(known, prices, budget, most, start) for start in begun]
    return _without_waste(known, prices, min(ended, key=known.error))


def _without_waste(known: Stakes, prices: Floats, chosen: list[int]) -> list[int]:
    """The runs without those, dear ones first, that all together make the prediction surer by less than `SPARED`."""
    kept = sorted(chosen, key=lambda one: -prices[one])
    enough = _merit(known.variance(kept)) + 2 * SPARED
    for one in list(kept):
        others = list(kept)
        others.remove(one)
        if _merit(known.variance(others)) <= enough:
            kept = others
    return kept


def _merit(variance: Floats) -> Floats:
    """The mean of ln of the variance over draws: [...] of [..., S]. A mean of the variance itself would serve the few
    draws of which nothing can be predicted anyway."""
    return np.log(variance).mean(-1)


def _greedy(known: Stakes, prices: Floats, budget: float, most: int, power: float) -> list[int]:
    """Add the run with the largest gain per price^power until the budget or the number of runs is used up."""
    chosen: list[int] = []
    total, left = known.base, budget
    merit = _merit(_quadratic(total, known.slope))
    while len(chosen) < most and len(fit := np.flatnonzero(prices <= left)):
        merits = known.merits(total, fit)
        at = int(np.argmax((merit - merits) / prices[fit] ** power))
        chosen.append(int(fit[at]))
        total, left, merit = total + known.information[:, :, fit[at]], left - prices[fit[at]], merits[at]
    return chosen


def _scattered(prices: Floats, budget: float, most: int) -> list[list[int]]:
    """Designs drawn at random, because exchanges of single runs end in many places."""
    rng = np.random.default_rng(0)
    out: list[list[int]] = []
    for _ in range(RESTARTS):
        chosen: list[int] = []
        left = budget
        while len(chosen) < most and len(fit := np.flatnonzero(prices <= left)):
            chosen.append(int(rng.choice(fit)))
            left -= prices[chosen[-1]]
        out.append(chosen)
    return out


def _exchange(known: Stakes, prices: Floats, budget: float, most: int, start: list[int]) -> list[int]:
    """Replace and add single runs as long as that helps."""
    chosen = list(start)
    merit = _merit(known.variance(chosen))
    for _ in range(SWEEPS):
        before = merit
        for place in range(most):
            others = [one for at, one in enumerate(chosen) if at != place]
            fit = np.flatnonzero(prices <= budget * (1 + 1e-9) - prices[others].sum())
            if not len(fit):
                continue
            merits = known.merits(known.with_runs(others), fit)
            at = int(np.argmin(merits))
            if merits[at] < merit - ENOUGH:
                chosen, merit = [*others, int(fit[at])], merits[at]
        if before - merit < ENOUGH:
            break
    return chosen


def _quadratic(matrix: Floats, vector: Floats) -> Floats:
    """g' M^-1 g: [...] of M [P, P, ...] and g [P, ...], by Cholesky over all at once, entry by entry (LAPACK, matrix by
    matrix, is five times slower)."""
    p = len(matrix)
    scale = [1.0 / np.sqrt(matrix[i, i]) for i in range(p)]
    lower: dict[tuple[int, int], Floats] = {}
    solved: list[Floats] = []
    for j in range(p):
        pivot = 1.0 - sum(lower[j, k] ** 2 for k in range(j))
        lower[j, j] = np.sqrt(np.maximum(pivot, SINGULAR))
        for i in range(j + 1, p):
            entry = matrix[i, j] * scale[i] * scale[j]
            for k in range(j):
                entry = entry - lower[i, k] * lower[j, k]
            lower[i, j] = entry / lower[j, j]
        value = vector[j] * scale[j]
        for k in range(j):
            value = value - lower[j, k] * solved[k]
        solved.append(value / lower[j, j])
    return np.sum([one**2 for one in solved], axis=0)

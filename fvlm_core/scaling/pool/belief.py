"""What is believed of a law after some rows: draws of its parameters about a broad prior, and its scatter."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import frozen

from fvlm_core.interfaces.fit import Parameter
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.pool.discrepancy import USUAL, Scatter, counted, drawn, weighed

DRAWS = 17
"""Of the parameters, each a fit of its own: the likeliest, and pairs whose noise is of opposite sign, so that chance
moves their mean in the second order only (antithetic variates; Hammersley & Morton 1956)."""

LOOSE = 3.0
"""ln of a scale without bounds before any row: a factor of 20 to either side is one deviation."""

ROUNDS = 3
"""Of fitting the law and learning its scatter in turn."""

OUTLYING = 20.0
"""A draw that explains the rows worse than the best by more than this, beside 4 for each parameter, counts nothing: it
is another minimum of the fit."""


@frozen(eq=False)
class Prior:
    """Normal in what is searched: mean, sd, and the bounds, [P] each."""

    mean: Floats
    sd: Floats
    lower: Floats
    upper: Floats

    def drawn(self, rng: np.random.Generator, draws: int, width: float = 1.0) -> Floats:
        """Inside the bounds: [draws, P]."""
        return np.clip(self.unbounded(rng, draws, width), self.lower, self.upper)

    def unbounded(self, rng: np.random.Generator, draws: int, width: float = 1.0) -> Floats:
        """As normal as it is said to be: [draws, P]."""
        return self.mean + width * self.sd * rng.standard_normal((draws, len(self.mean)))


def broad(problem: FitProblem) -> Prior:
    """What the law's author says: the guess, and two deviations to either bound."""
    mean = problem.search(problem.guess())
    sd = np.array([_deviation(slot.parameter) for slot in problem.slots])
    return Prior(mean, sd, problem.lower, problem.upper)


def _deviation(parameter: Parameter) -> float:
    """A quarter of the way from bound to bound, in what is searched."""
    if parameter.log:
        ends = [bound if 0 < bound < np.inf else None for bound in (parameter.min, parameter.max)]
        ways = [2 * LOOSE if end is None else abs(np.log(end / parameter.guess)) for end in ends]
    else:
        loose = 4 * abs(parameter.guess) + 2
        ends = [bound if np.isfinite(bound) else None for bound in (parameter.min, parameter.max)]
        ways = [loose if end is None else abs(end - parameter.guess) for end in ends]
    return sum(ways) / 4


@frozen(eq=False)
class Belief:
    """theta: draws [S, P] as the law's problem searches them, the likeliest first. shares: how much each counts, [S].
    scatters: about the law, one for each draw. counts: how much each measured row counts, [n]. evidence: ln of how well
    the law explains the rows, its parameters integrated out."""

    theta: Floats
    shares: Floats
    scatters: list[Scatter]
    counts: Floats
    evidence: float = 0.0


def unmeasured(problem: FitProblem, prior: Prior, rng: np.random.Generator) -> Belief:
    """What is believed before any row. problem: the law at rows that may be bought."""
    theta = prior.drawn(rng, DRAWS)
    spread = np.nanmedian(np.nan_to_num(_predicted(problem, theta), posinf=np.nan, neginf=np.nan).std(1))
    size = USUAL * (float(spread) if np.isfinite(spread) and spread > 0 else 1.0)
    return Belief(theta, np.full(DRAWS, 1 / DRAWS), [Scatter(size, 0.0)] * DRAWS, np.ones(0))


def believe(
    problem: FitProblem, near: Floats, prior: Prior, rng: np.random.Generator, before: Belief | None = None
) -> Belief:
    """What is believed after the rows of `problem`, whose target is measured. near: how much their departures have in
    common, [n, n] (`alike`).

    The likeliest parameters from many starts, in turn with the scatter and with how much rows count; then draws by
    fits to rows and a prior moved by their own noise (randomise-then-optimise; Bardsley et al. 2014).
    """
    measured = problem.loss
    spread = max(float(measured.std()), 0.05 * abs(float(measured.mean())), 1e-9)
    n, slots = len(measured), len(prior.mean)
    counts = np.ones(n)
    scatter = (
        before.scatters[0] if before is not None and len(before.counts) else Scatter(USUAL * spread, 0.5)
    )
    theta = prior.drawn(rng, DRAWS, 0.7)
    theta[-1] = np.clip(prior.mean, prior.lower, prior.upper)
    if before is not None:
        theta[: DRAWS // 2] = before.theta[: DRAWS // 2]
    evidence, scatters = 0.0, [scatter] * DRAWS
    for turn in range(ROUNDS):
        root = np.linalg.cholesky(scatter.covariance(near, counts))
        theta, cost = settle(problem, theta, _whitening(root), prior, steps=12 if turn else 30)
        theta = theta[np.argsort(cost, kind="stable")][: max(4, DRAWS // 3)]
        best = theta[:1]
        apart = measured - _predicted(problem, best)[0]
        if not np.isfinite(apart).all():
            break
        slopes = problem.jacobian(best)[0]
        choices, told = weighed(
            apart + slopes.T @ (best[0] - prior.mean), slopes * prior.sd[:, None], near, counts, spread
        )
        scatters, evidence = drawn(choices, told, DRAWS // 2), float(told.max())
        scatter = scatters[0]
        if n > slots:
            counts = counted(apart, scatter, near, counts)
    theta, shares = _moved(problem, near, counts, prior, scatters, theta, rng)
    return Belief(theta, shares, scatters, counts, evidence)


def _moved(
    problem: FitProblem,
    near: Floats,
    counts: Floats,
    prior: Prior,
    scatters: list[Scatter],
    best: Floats,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Draws of the parameters [S, P], each with its scatter, the likeliest first, and how much each counts [S]."""
    start = np.concatenate([best, np.repeat(best[:1], DRAWS - len(best), axis=0)])
    noise, means = rng.standard_normal((DRAWS, len(counts))), prior.unbounded(rng, DRAWS)
    noise[0], means[0] = 0.0, prior.mean
    noise[2::2], means[2::2] = -noise[1::2], 2 * prior.mean - means[1::2]
    theta, shares = start.copy(), np.zeros(DRAWS)
    for scatter in dict.fromkeys(scatters):
        at = [place for place, one in enumerate(scatters) if one == scatter]
        root = np.linalg.cholesky(scatter.covariance(near, counts))
        white = _whitening(root)
        theta[at], _ = settle(
            problem,
            start[at],
            white,
            prior,
            steps=20,
            losses=problem.loss + noise[at] @ root.T,
            means=means[at],
            tolerance=1e-3,
        )
        plain, likeliest = (
            _cost((problem.loss - _predicted(problem, one)) @ white.T, one - prior.mean, prior)
            for one in (theta[at], theta[:1])
        )
        shares[at] = plain <= likeliest + 4 * len(prior.mean) + OUTLYING
    if not shares.any():
        shares[:] = 1.0
    return theta, shares / shares.sum()


def _whitening(root: Any) -> Floats:
    """What makes residuals independent whose covariance has this Cholesky factor."""
    return np.asarray(np.linalg.inv(root), float)


def settle(
    problem: FitProblem,
    start: Floats,
    white: Floats,
    prior: Prior,
    *,
    steps: int,
    losses: Floats | None = None,
    means: Floats | None = None,
    tolerance: float = 1e-4,
) -> tuple[Floats, Floats]:
    """Move each of S sets downhill, for residuals that are correlated and a normal prior (Levenberg-Marquardt).

    white: [n, n], what makes residuals independent. losses, means: measured losses and prior means of each set, [S, n]
    and [S, P]. Returns theta [S, P] and -2 ln of the posterior [S].
    """
    theta = np.clip(start, prior.lower, prior.upper)
    losses = np.broadcast_to(problem.loss, (len(theta), len(problem.loss))) if losses is None else losses
    means = np.broadcast_to(prior.mean, theta.shape) if means is None else means
    apart = (losses - _predicted(problem, theta)) @ white.T
    cost = _cost(apart, theta - means, prior)
    damping, idle = np.full(len(theta), 1e-2), np.zeros(len(theta), int)
    active: Any = np.flatnonzero(np.isfinite(cost))
    for _ in range(steps):
        if not len(active):
            break
        here = theta[active]
        slopes = problem.jacobian(here) @ white.T
        step = _step(slopes, apart[active], (here - means[active]), here, prior, damping[active])
        moved = np.clip(here + step, prior.lower, prior.upper)
        beyond = (losses[active] - _predicted(problem, moved)) @ white.T
        reached = _cost(beyond, moved - means[active], prior)
        gain = cost[active] - reached
        better = gain > 0
        kept = active[better]
        theta[kept], apart[kept], cost[kept] = moved[better], beyond[better], reached[better]
        damping[active] = np.clip(damping[active] * np.where(better, 0.2, 6.0), 1e-8, 1e8)
        small = (gain < tolerance * np.maximum(cost[active], 1e-9)) & (better | (damping[active] > 1e4))
        idle[active] = np.where(small, idle[active] + 1, 0)
        active = active[idle[active] < 2]
    return theta, cost


def _step(slopes: Floats, apart: Floats, off: Floats, here: Floats, prior: Prior, damping: Floats) -> Floats:
    """Damped Gauss-Newton steps [S, P], none along slots that press against a bound."""
    tight = 1 / prior.sd**2
    gradient = (slopes @ apart[:, :, None])[:, :, 0] - tight * off
    curvature = slopes @ slopes.transpose(0, 2, 1) + np.diag(tight)
    stuck = ((here <= prior.lower) & (gradient < 0)) | ((here >= prior.upper) & (gradient > 0))
    gradient = np.where(stuck, 0.0, gradient)
    curvature = np.where(stuck[:, :, None] | stuck[:, None, :], 0.0, curvature)
    diagonal = np.einsum("spp->sp", curvature)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    curvature = curvature / (scale[:, :, None] * scale[:, None, :])
    curvature += (damping[:, None] + stuck)[:, :, None] * np.eye(slopes.shape[1])
    return np.linalg.solve(curvature, (gradient / scale)[:, :, None])[:, :, 0] / scale


def _cost(white: Floats, off: Floats, prior: Prior) -> Floats:
    """-2 ln of the posterior [S]; infinite where the law gives no number."""
    cost = (white**2).sum(1) + ((off / prior.sd) ** 2).sum(1)
    return np.where(np.isfinite(cost), cost, np.inf)


def _predicted(problem: FitProblem, theta: Floats) -> Floats:
    return problem.predict(problem.values(theta))

"""What is believed of a law before the next run: draws of its parameters, from a broad prior and from points."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from attrs import evolve, frozen

from fvlm_core.scaling.fit.noise import Noise
from fvlm_core.scaling.fit.objective import FitObjective, Floats
from fvlm_core.scaling.fit.problem import FitProblem

SPREAD = 0.4
"""Exponents and the like before any run: ln of them is normal about the law's guess with this deviation, so that a
guess of 0.3 means 0.14 to 0.66 (published laws of Hoffmann, Besiroglu, Gadre, Muennighoff: 0.28 to 0.53)."""

SCALE_SPREAD = 1.0
"""Of what each term of the law makes of the loss in the middle of the candidates, in ln: a factor of 7 to each side."""

LOOSE_SCALE = 3.0
"""Of scales in which the law is not linear, in ln."""

MOST_POINTS = 400
"""Points that beliefs are made from: long runs are thinned to every so many evaluations."""


@frozen(eq=False)
class Beliefs:
    """theta: S draws [S, P] of what the law's parameters may be, as `Problem.search` has them. precision: [P, P] of
    the broad prior. information: [S, P, P] from the points there are, at each draw; 0 when there are none."""

    theta: Floats
    precision: Floats
    information: Floats


def logarithmic(problem: FitProblem) -> FitProblem:
    """The same law and points with residuals of ln L and no robustness: what information is counted in."""
    return evolve(problem, objective=FitObjective("log-mse"))


def prior(problem: FitProblem, draws: int, seed: int = 0) -> Beliefs:
    """Broad beliefs, whatever the unit of D and of the loss. problem: the law at candidate runs, in whose middle the
    terms of the law are taken to be of one order."""
    rng = np.random.default_rng(seed)
    many = max(draws, 2_000)
    guess, logs = problem.guess(), problem.logs
    linear = np.array([slot.parameter.linear for slot in problem.slots])
    values = np.repeat(guess[None], many, axis=0)
    for at, slot in enumerate(problem.slots):
        if not linear[at]:
            spread = LOOSE_SCALE if slot.parameter.log else SPREAD
            step = spread * rng.standard_normal(many)
            values[:, at] = guess[at] * np.exp(step) if guess[at] > 0 else guess[at] + step
    values = np.clip(values, *(problem.values(bound) for bound in (problem.lower, problem.upper)))
    if linear.any():
        shares = np.exp(SCALE_SPREAD * rng.standard_normal((many, int(linear.sum()))))
        shares /= shares.sum(1, keepdims=True)
        level = np.exp(np.log(2.5) + 0.5 * rng.standard_normal(many))
        for column, at in enumerate(np.flatnonzero(linear)):
            unit = values.copy()
            unit[:, linear] = 0.0
            unit[:, at] = 1.0
            term = np.exp(np.mean(np.log(np.maximum(problem.predict(unit), 1e-300)), axis=1))
            values[:, at] = shares[:, column] * level / term
    theta = np.where(logs, np.log(np.maximum(values, 1e-300)), values)
    theta = np.clip(theta, problem.lower, problem.upper)
    spread: Any = np.cov(theta.T) + 1e-12 * np.eye(theta.shape[1])
    theta = theta[:draws]
    return Beliefs(theta, np.linalg.inv(spread), np.zeros((len(theta), *spread.shape)))


def learn(before: Beliefs, problem: FitProblem, noise: Noise, seed: int = 0) -> Beliefs:
    """Beliefs after the points of `problem`: each draw refitted to losses and a prior moved by their own noise
    (randomise-then-optimise; Bardsley et al. 2014), which needs no more points than there are.

    problem: with `log-mse`. Runs are whitened as a whole: an offset of a run is one piece of noise.
    """
    problem = _thinned(problem)
    whiten = _whitening(problem.table, noise)
    rng = np.random.default_rng(seed)
    moved = np.linalg.solve(whiten, rng.standard_normal((len(problem.loss), len(before.theta)))).T
    root = np.linalg.cholesky(before.precision).T

    def residuals(theta: Floats) -> Floats:
        apart = (problem.residuals(theta) + moved) @ whiten.T
        return np.concatenate([apart, (theta - before.theta) @ root.T], axis=1)

    theta = before.theta.copy()
    apart = residuals(theta)
    damping = np.full(len(theta), 1e-2)
    for _ in range(60):
        slope = np.concatenate(
            [problem.jacobian(theta) @ whiten.T, np.repeat(root.T[None], len(theta), axis=0)], axis=2
        )
        curvature = slope @ slope.transpose(0, 2, 1)
        scale = np.sqrt(np.einsum("spp->sp", curvature))
        curvature = curvature / (scale[:, :, None] * scale[:, None, :])
        curvature += damping[:, None, None] * np.eye(theta.shape[1])
        step = np.linalg.solve(curvature, (slope @ apart[:, :, None]) / scale[:, :, None])[:, :, 0] / scale
        tried = np.clip(theta - step, problem.lower, problem.upper)
        beyond = residuals(tried)
        gain = (apart**2).sum(1) - np.where(np.isfinite(beyond), beyond**2, np.inf).sum(1)
        better = gain > 0
        theta[better], apart[better] = tried[better], beyond[better]
        damping = np.clip(damping * np.where(better, 0.2, 10.0), 1e-9, 1e9)
        if not (gain > 1e-6 * (apart**2).sum(1)).any() and (damping > 1e-6).all():
            break
    slope = problem.jacobian(theta) @ whiten.T
    return Beliefs(theta, before.precision, before.information + slope @ slope.transpose(0, 2, 1))


def _thinned(problem: FitProblem) -> FitProblem:
    table = problem.table
    if len(table) <= MOST_POINTS:
        return problem
    every = -(-len(table) // MOST_POINTS)
    place = table.groupby(["size", "run"], sort=False).cumcount(ascending=False)
    return evolve(problem, table=table[place % every == 0].reset_index(drop=True))


def _whitening(table: pd.DataFrame, noise: Noise) -> Floats:
    """[n, n] that makes the noise of all points white: points of one run are correlated."""
    whiten = np.diag(np.full(len(table), noise.covariance(1)[0, 0] ** -0.5))
    named = table[table["run"] != ""]
    for positions in named.groupby(["size", "run"], sort=False).groups.values():
        at = np.asarray(positions)
        inverse = np.linalg.inv(np.linalg.cholesky(noise.covariance(len(at))))
        whiten[np.ix_(at, at)] = inverse
    return whiten

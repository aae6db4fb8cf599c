"""Levenberg-Marquardt for many parameter sets at once: the starts of a fit, and the draws of a bootstrap."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.problem import FitProblem

MEMORY = 10_000_000
"""Numbers in a block of Jacobians (80 MB): sets are worked off in blocks of this size."""

PATIENCE = 3
"""A set is done after so many steps in a row that neither improve it nor promise to, relative to the tolerance."""

MOST_DAMPING = 1e8
"""Steps are then 1e-8 of a Newton step: no way down from here."""


def descend(
    problem: FitProblem,
    theta: Floats,
    weights: Floats | None = None,
    losses: Floats | None = None,
    *,
    steps: int,
    tolerance: float,
    held: Sequence[int] = (),
) -> tuple[Floats, Floats]:
    """Move each of S sets downhill to its nearest minimum.

    theta: [S, P]. weights: how often each point counts, [S, n]; None: once. losses: other measured losses, [S, n].
    held: slots that stay where they are. Robust losses by iteratively reweighted least squares, which never increases
    the objective (measured: 1e-14 relative on 240 points within 100 steps). tolerance: relative improvement below
    which a step counts as none. Returns theta [S, P] and the objective [S].
    """
    block = max(1, MEMORY // (theta.shape[1] * len(problem.loss)))
    done = [
        _descend(
            problem,
            theta[at : at + block],
            None if weights is None else weights[at : at + block],
            None if losses is None else losses[at : at + block],
            steps,
            tolerance,
            list(held),
        )
        for at in range(0, len(theta), block)
    ]
    return np.concatenate([part[0] for part in done]), np.concatenate([part[1] for part in done])


def _descend(
    problem: FitProblem,
    start: Floats,
    weights: Floats | None,
    losses: Floats | None,
    steps: int,
    tolerance: float,
    held: list[int],
) -> tuple[Floats, Floats]:
    theta = start.copy()
    count = np.ones((len(theta), len(problem.loss))) if weights is None else weights
    predicted = np.array(problem.predict(problem.values(theta)))
    residuals = problem.apart(predicted, losses)
    total = problem.total(residuals, count)
    damping = np.full(len(theta), 1e-3)
    idle = np.zeros(len(theta), dtype=int)
    active: Any = np.flatnonzero(np.isfinite(total))
    for _ in range(steps):
        if not len(active):
            break
        here, apart = theta[active], residuals[active]
        measured = None if losses is None else losses[active]
        jacobian = problem.jacobian(here, predicted[active])
        weight = count[active] * problem.counts(apart)
        gradient = (jacobian @ (weight * apart)[:, :, None])[:, :, 0]
        curvature = (jacobian * weight[:, None, :]) @ jacobian.transpose(0, 2, 1)
        stuck = ((here <= problem.lower) & (gradient > 0)) | ((here >= problem.upper) & (gradient < 0))
        stuck[:, held] = True
        step = _step(gradient, curvature, stuck, damping[active])
        promised = (gradient * step).sum(-1)
        moved = np.clip(here - step, problem.lower, problem.upper)
        there = problem.predict(problem.values(moved))
        beyond = problem.apart(there, measured)
        reached = problem.total(beyond, count[active])
        gain = total[active] - reached
        better = gain > 0
        kept = active[better]
        theta[kept], predicted[kept] = moved[better], there[better]
        residuals[kept], total[kept] = beyond[better], reached[better]
        damping[active] *= np.where(better, 0.1, 10.0)
        small = np.maximum(gain, promised) <= tolerance * total[active]
        idle[active] = np.where(small | (damping[active] > MOST_DAMPING), idle[active] + 1, 0)
        damping[active] = np.clip(damping[active], 1e-9, MOST_DAMPING)
        active = active[idle[active] < PATIENCE]
    return theta, total


def _step(gradient: Floats, curvature: Floats, stuck: Any, damping: Floats) -> Floats:
    """Damped Newton steps [S, P], none along slots that press against a bound."""
    held = stuck[:, :, None] | stuck[:, None, :]
    curvature = np.where(held, 0.0, curvature)
    gradient = np.where(stuck, 0.0, gradient)
    diagonal = np.einsum("spp->sp", curvature)
    scale = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    scaled = curvature / (scale[:, :, None] * scale[:, None, :])
    ridge = damping[:, None] + np.where(diagonal > 0, 0.0, 1.0)
    scaled = scaled + ridge[:, :, None] * np.eye(gradient.shape[1])
    return np.linalg.solve(scaled, (gradient / scale)[:, :, None])[:, :, 0] / scale

"""Which parameters the points can tell apart: the rank of the Jacobian, column by column on one scale."""

from __future__ import annotations

import numpy as np
from attrs import frozen

from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.problem import STEP, FitProblem, thinned

RANK_TOLERANCE = 1e-7
"""Singular values below this part of the largest are 0."""

NOISE = 100 * np.finfo(float).eps / STEP
"""What differences get wrong in a derivative, with a margin: columns near it cannot raise the rank."""

SHARE = 1e-3
"""A slot takes part in an undetermined direction when it is at least this part of it."""

ENOUGH = 2_000
"""Points, chosen evenly at random, whose rank is tried first: more of them can only raise it."""

SPREADS = (0.5, 0.05)
"""How far from the law's guess its rank is looked at, in parts of it, or of 1 where it is smaller. The second is tried
where the first shows less than all: exponents of exponents vanish, or swallow all else, a little way off."""

VANISHED = 1e-9
"""A slot whose unit step, or one as large as its value where that is more, changes no predicted loss by more than this
has no influence."""


@frozen
class Rank:
    """rank: of `of` slots. undetermined: positions of slots that can change together and leave every prediction."""

    rank: int
    of: int
    undetermined: tuple[int, ...]

    @property
    def full(self) -> bool:
        """Whether the points determine every slot."""
        return self.rank == self.of


def rank_at(problem: FitProblem, theta: Floats, slots: list[int]) -> Rank:
    """The rank at theta [P] with respect to the given slots."""
    found = rank_of(slopes_at(problem, theta)[slots])
    return Rank(found.rank, found.of, tuple(slots[at] for at in found.undetermined))


def slopes_at(problem: FitProblem, theta: Floats) -> Floats:
    """Derivatives of the residuals at theta [P], [P, n], by a unit of each slot or its own size where that is larger.

    A floor of 1e9 bytes changes ln L by 1e-9 a byte, and no less than one of 1 GB does. Logarithms have a unit.
    """
    unit = np.where(problem.logs, 1.0, np.maximum(1.0, np.abs(theta)))
    return problem.jacobian(theta[None])[0] * unit[:, None]


def determined(jacobian: Floats) -> tuple[int, ...]:
    """Positions of the slots that points with these derivatives, [P, n], tell."""
    loose = rank_of(jacobian).undetermined
    return tuple(at for at in range(len(jacobian)) if at not in loose)


def rank_of(jacobian: Floats) -> Rank:
    """The rank of derivatives of the residuals, [P, n], column by column on one scale."""
    size = np.linalg.norm(jacobian, axis=1)
    alive = size > VANISHED * np.sqrt(jacobian.shape[1])
    scaled = jacobian[alive] / size[alive, None]
    left, singular, _ = np.linalg.svd(scaled, full_matrices=len(scaled) > jacobian.shape[1])
    noise = NOISE * np.sqrt(jacobian.shape[1]) / size[alive].min(initial=1.0)
    kept = int((singular > max(RANK_TOLERANCE, noise) * singular.max(initial=0.0)).sum())
    null = np.zeros((len(jacobian), left.shape[1] - kept))
    null[alive] = left[:, kept:]
    loose = ~alive | (np.abs(null) > SHARE).any(axis=1)
    return Rank(kept, len(jacobian), tuple(np.flatnonzero(loose).tolist()))


def design_rank(problem: FitProblem) -> Rank:
    """The best rank these points can give, whatever the losses: over several generic values of the parameters."""
    if len(problem.table) > ENOUGH:
        found = design_rank(thinned(problem, ENOUGH))
        if found.full:
            return found
    best = Rank(-1, len(problem.slots), ())
    for spread in SPREADS:
        ranks = [rank_at(problem, row, list(range(len(problem.slots)))) for row in _generic(problem, spread)]
        best = max([best, *ranks], key=lambda found: found.rank)
        if best.full:
            break
    return best


def idle(problem: FitProblem) -> tuple[int, ...]:
    """Positions of slots with which no prediction changes, whatever the values: the law does not use them here."""
    theta = _generic(problem)
    # A law that gives no number has no derivative either, and says nothing of its parameters.
    sound = theta[np.isfinite(problem.predict(problem.values(theta))).all(axis=1)]
    if not len(sound):
        return ()
    return tuple(np.flatnonzero(~problem.jacobian(sound).any(axis=(0, 2))).tolist())


def _generic(problem: FitProblem, spread: float = SPREADS[0]) -> Floats:
    """theta [8, P]: values of no special kind, near the law's guess."""
    near = np.random.default_rng(0).uniform(-spread, spread, (8, len(problem.slots)))
    guess = problem.search(problem.guess())
    return np.clip(guess + near * np.maximum(np.abs(guess), 1.0), problem.lower, problem.upper)

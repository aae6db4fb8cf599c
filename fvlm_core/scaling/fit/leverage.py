"""What residuals can show of an estimate's error: nothing of what the parameters bend to until nothing is left over."""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from fvlm_core.scaling.fit.identifiability import RANK_TOLERANCE
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.solver import Solution

EXACT = 1e-7
"""Residuals of ln L that are all below this are rounding: no loss is computed more precisely (32-bit floats: 6e-8)."""

UNSEEN = 0.01
"""The share of an estimate's variance that must show in residuals for an interval to be made of them."""


def nothing_left(problem: FitProblem, solution: Solution, rank: int) -> str:
    """Why these residuals say nothing about noise; "" where they do. rank: of the Jacobian at the solution."""
    points = len(problem.loss)
    if points <= rank:
        return (
            f"{points} point{'' if points == 1 else 's'} for {rank} parameter{'' if rank == 1 else 's'} leave no "
            "residual to judge by"
        )
    if negligible(problem, problem.predict(solution.values[None])[0]):
        return "the points lie on the law to the last digit, which leaves no residual to judge by"
    return ""


def negligible(problem: FitProblem, predicted: Floats) -> bool:
    """Whether all residuals are rounding."""
    size = problem.loss if problem.relative else np.abs(problem.loss).max()
    with np.errstate(all="ignore"):
        return bool((np.abs((predicted - problem.loss) / size) <= EXACT).all())


@frozen(eq=False)
class Leverage:
    """Of points on a fit, unit by unit of what varies independently.

    A number with the gradient g by the slots has the influence Q c of the points, with c = S^-1 V' g of the Jacobian's
    singular values Q S V'. For independent errors its variance is |c|^2, of which residuals show |c|^2 - c' K c, with
    K the sum over units of (Q_u' Q_u)^2 (Bell and McCaffrey 2002).

    back: [P, r], from a gradient to c. lost: K, [r, r]. units: how many.
    """

    back: Floats
    lost: Floats
    units: int

    def seen(self, slopes: Floats) -> Floats:
        """The share of the variance that residuals show, [m], of numbers with these gradients, [m, P]."""
        inner = slopes @ self.back
        square = (inner**2).sum(1)
        lost = np.einsum("mr,rs,ms->m", inner, self.lost, inner)
        with np.errstate(all="ignore"):
            return np.where(square > 0, np.clip(1 - lost / square, 0.0, 1.0), 1.0)


def leverage(problem: FitProblem, solution: Solution, codes: NDArray[np.intp]) -> Leverage:
    """codes: the unit of each point, [n]."""
    free = [at for at, bound in enumerate(solution.bounds) if bound is None]
    jacobian = problem.jacobian(solution.theta[None])[0] * np.sqrt(problem.weight)
    size = np.linalg.norm(jacobian, axis=1)
    used = [at for at in free if size[at] > 0]
    left, singular, right = np.linalg.svd((jacobian[used] / size[used, None]).T, full_matrices=False)
    kept = singular > RANK_TOLERANCE * singular.max(initial=0.0)
    basis = left[:, kept]
    back = np.zeros((len(problem.slots), basis.shape[1]))
    back[used] = (right[kept] / singular[kept, None] / size[used]).T
    units = int(codes.max()) + 1
    inside: Any = np.zeros((units, basis.shape[1], basis.shape[1]))
    np.add.at(inside, codes, basis[:, :, None] * basis[:, None, :])
    return Leverage(back, np.einsum("uij,ujk->ik", inside, inside), units)

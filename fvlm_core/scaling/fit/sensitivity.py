"""What the numbers would have been: with another objective, without the first evaluations, without each run."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from attrs import evolve, frozen

from fvlm_core.scaling.fit.identifiability import determined, slopes_at
from fvlm_core.scaling.fit.levenberg_marquardt import descend
from fvlm_core.scaling.fit.objective import OBJECTIVES, FitObjective, Floats
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.resampling import inflation, units
from fvlm_core.scaling.fit.solver import Solution
from fvlm_core.scaling.fit.uncertainty import expected_slope

CUTS = (0.05, 0.1, 0.2, 0.3, 0.5)
"""Shares of a run's D that its first points are left out of, one line each."""

MOST = 5_000_000
"""Points in all refits together, of a law of five parameters and with a gradient; where there would be more, the lines
are left out, and that is said."""


@frozen
class OtherFit:
    """One other way to fit, and what came out.

    kind: "objective", "cut" (first points of every run left out) or "run" (one run left out). label: of it. values: by
    name, None where the points left do not tell. error: for a run left out, the mean of ln(measured/predicted) of its
    points. chance: standard error of each value's difference from the full fit's, where it was computed.
    """

    kind: Literal["objective", "cut", "run"]
    label: str
    values: dict[str, float | None]
    n_points: int
    error: float | None = None
    chance: dict[str, float] | None = None


def lines(problem: FitProblem, solution: Solution, lag1: float) -> tuple[OtherFit, ...] | None:
    """All of them, each refitted from the optimum; None when that would take too long."""
    cut = _cuts(problem.table)
    runs = _runs(problem.table)
    objectives = [name for name in OBJECTIVES if problem.relative or not FitObjective(name).logarithmic]
    refits = len(objectives) + len(cut) + len(runs)
    times = max(1.0, len(problem.model.parameters) / 5) * (1 if problem.model.gradient else 3)
    if refits * len(problem.table) * times > MOST * (1 if problem.model.gradient else 0.1):
        return None
    found = [_other(problem, solution, name) for name in objectives if name != problem.objective.name]
    masks = [mask for _, mask in (*cut, *runs)]
    if masks:
        weights = np.array(masks, dtype=float)
        theta = _refit(problem, solution, weights)
        slopes = slopes_at(problem, solution.theta)
        known = set(determined(slopes))
        free = sum(bound is None for bound in solution.bounds)
        codes, _, _ = units(problem.table, "run", lag1, free)
        full = _influence(problem, solution.theta, np.ones(len(codes))) if cut else np.zeros(0)
        labels = [problem.table[column].astype(str).to_numpy(object) for column in ("size", "run")]
        for at, (label, mask) in enumerate((*cut, *runs)):
            left = {key for column in labels for key in pd.unique(column[mask])}
            lost = known - set(determined(slopes[:, mask]))
            values = _named(problem, theta[at], left, lost)
            if at < len(cut):
                names = [slot.name for slot in problem.slots]
                apart = _influence(problem, theta[at], mask.astype(float)) - full
                error = _spread(apart, codes, free)
                chance = dict(zip(names, error.tolist(), strict=True))
                found.append(OtherFit("cut", label, values, int(mask.sum()), chance=chance))
            else:
                found.append(
                    OtherFit("run", label, values, int(mask.sum()), _error(problem, theta[at], ~mask))
                )
    return tuple(found)


def _other(problem: FitProblem, solution: Solution, name: Any) -> OtherFit:
    other = evolve(problem, objective=FitObjective(name))
    stages = [other]
    if name == "log-lad":
        stages = [evolve(problem, objective=FitObjective("log-huber", 1e-5)), other]
    theta = solution.theta[None]
    for stage in stages:
        theta, _ = descend(stage, theta, steps=200, tolerance=1e-9)
    values = problem.values(theta[0])
    named = {slot.name: float(value) for slot, value in zip(problem.slots, values, strict=True)}
    return OtherFit("objective", str(other.objective), dict(named), len(problem.table))


def _refit(problem: FitProblem, solution: Solution, weights: Floats) -> Floats:
    theta = np.repeat(solution.theta[None], len(weights), axis=0)
    theta, total = descend(problem, theta, weights, steps=200, tolerance=1e-8)
    theta[~np.isfinite(total)] = np.nan
    return theta


def _spread(influence: Floats, codes: Any, free: int) -> Floats:
    """Standard errors [P] of estimates, to first order: from the influence [P, n] of each unit of resampling."""
    by_unit = np.array([np.bincount(codes, weights=row) for row in influence])
    return np.sqrt((by_unit**2).sum(axis=1)) * inflation(by_unit.shape[1], free)


def _influence(problem: FitProblem, theta: Floats, weights: Floats) -> Floats:
    """What each point adds to the estimate, to first order: [P, n]; nothing along undetermined directions."""
    if not np.isfinite(theta).all():
        return np.full((len(theta), len(weights)), np.inf)
    apart = problem.residuals(theta[None])[0]
    jacobian = problem.jacobian(theta[None])[0]
    curvature = (jacobian * weights * expected_slope(problem, apart)) @ jacobian.T
    size = np.sqrt(np.maximum(np.diag(curvature), 1e-300))
    inverse = np.linalg.pinv(curvature / np.outer(size, size), rcond=1e-12, hermitian=True) / np.outer(
        size, size
    )
    return inverse @ (jacobian * weights * apart * problem.counts(apart))


def _named(problem: FitProblem, theta: Floats, left: set[str], lost: set[int]) -> dict[str, float | None]:
    """Values by name; None for a group that has lost all its points, for slots that the points left do not tell, and
    when there was no fit. left: the groups that have points. lost: positions of the slots."""
    values = problem.values(theta)
    return {
        slot.name: float(value)
        if np.isfinite(value) and at not in lost and (not slot.key or slot.key in left)
        else None
        for at, (slot, value) in enumerate(zip(problem.slots, values, strict=True))
    }


def _error(problem: FitProblem, theta: Floats, left_out: Any) -> float | None:
    if not np.isfinite(theta).all():
        return None
    predicted = problem.predict(problem.values(theta)[None])[0]
    with np.errstate(all="ignore"):
        apart = float(np.mean(problem.scaled(problem.loss[left_out]) - problem.scaled(predicted[left_out])))
    return apart if np.isfinite(apart) else None


def _cuts(table: pd.DataFrame) -> list[tuple[str, Any]]:
    """Masks of the points that stay; cuts that take nothing, or what an earlier one took, are left out."""
    if table["d"].isna().any():
        return []
    named = (table["run"] != "").to_numpy()
    end: Any = table.groupby(["size", "run"], observed=True)["d"].transform("max").to_numpy()
    share = table["d"].to_numpy() / end
    out: list[tuple[str, Any]] = []
    kept = len(table)
    for cut in CUTS:
        mask = ~named | (share >= cut)
        if mask.sum() < kept and mask.sum() > 0:
            out.append((f"without the first {cut:.0%} of each run", mask))
            kept = int(mask.sum())
    return out


def _runs(table: pd.DataFrame) -> list[tuple[str, Any]]:
    runs = table["run"].astype(str).to_numpy()
    names = [name for name in dict.fromkeys(runs) if name]
    return [(name, runs != name) for name in names] if len(names) > 1 else []

"""What a reader of a fit must know before believing it, in plain words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.problem import FitProblem, Slot
from fvlm_core.scaling.fit.solver import Solution
from fvlm_core.scaling.fit.uncertainty import Bootstrap
from fvlm_core.utils.listing import shorten

FEW = 5
"""Fewer points than this for each parameter are few."""

ENDLESS = 1e300
"""D for which every power of D has vanished: the law's floor."""

LOST = 0.05
"""Share of bootstrap draws without a fit that is worth saying."""


WITHHOLDING = ("change-point", "drift", "floor-above-best")
"""Remarks (by code) that withhold a law of all points."""


@frozen
class Remark:
    """One warning. code: a stable word for programs. text: the same for people."""

    code: str
    text: str


def lag1(table: pd.DataFrame, residuals: Floats) -> tuple[float, int]:
    """Autocorrelation of residuals between neighbouring evaluations of a run, over all runs, and how many pairs.

    Burg's estimator, sum 2 a b / sum (a^2 + b^2) over the pairs, with a little more of the squares, which is nothing
    where pairs are many and keeps it in (-1, 1) whatever the residuals. Those that are no numbers part a run in two.
    """
    labels = [table["size"].to_numpy(), table["run"].to_numpy()]
    before = pd.Series(residuals).groupby(labels).shift(1).to_numpy()
    pairs = (table["run"] != "").to_numpy() & np.isfinite(residuals) & np.isfinite(before)
    count = int(pairs.sum())
    here, there = residuals[pairs], before[pairs]
    squares = float(here @ here + there @ there)
    if squares == 0:
        return 0.0, count
    return float(2 * here @ there) / (squares * (1 + 0.5 / count**2)), count


def of_points(table: pd.DataFrame) -> list[Remark]:
    """Remarks on the points of one fit, before any law: schedules, runs."""
    out: list[Remark] = []
    by_size = table[table["schedule"] != ""].groupby("size", sort=False)["schedule"].unique()
    several = table["size"].nunique() > 1
    mixed = [
        f"{size}: {' and '.join(sorted(found))}" if several else " and ".join(sorted(found))
        for size, found in by_size.items()
        if len(found) > 1
    ]
    if mixed:
        out.append(
            Remark(
                "mixed-schedules",
                f"points of different learning-rate schedules are mixed ({'; '.join(mixed)})",
            )
        )
    used = {size: "/".join(sorted(found)) for size, found in by_size.items()}
    if len(set(used.values())) > 1:
        each = ", ".join(f"{size} {found}" for size, found in used.items())
        out.append(
            Remark(
                "schedules-differ",
                f"the sizes were trained with different learning-rate schedules ({each}): "
                "what looks like a difference of size may be one of schedule",
            )
        )
    decaying = sorted({found for found in _repeated(table)["schedule"] if found not in ("", "constant")})
    if decaying:
        out.append(
            Remark(
                "decaying-schedule",
                f"points inside a {' or '.join(decaying)} schedule count as if training had ended there, while its "
                "learning rate was still high: the curve is not that of finished runs",
            )
        )
    runs = table[table["run"] != ""].groupby("size", sort=False)["run"].nunique()
    single = [str(size) for size, count in runs.items() if count == 1]
    if single:
        which = f"one run only of {shorten(join(single))}" if several else "one run only"
        out.append(
            Remark("one-run", f"{which}: the intervals do not hold the variation from run to run (seeds)")
        )
    if (table["run"] == "").any():
        out.append(Remark("no-runs", "points that name no run are taken as independent of each other"))
    return out


def of_solution(problem: FitProblem, solution: Solution) -> list[Remark]:
    """Remarks on where the solver arrived."""
    out: list[Remark] = []
    n, p = len(problem.loss), len(problem.slots)
    if n < FEW * p:
        out.append(Remark("few-points", f"only {count(n, 'point')} for {count(p, 'parameter')}"))
    if not solution.converged:
        out.append(
            Remark(
                "not-converged",
                f"the solver stopped early: gradient {solution.gradient:.1e} of the objective is left",
            )
        )
    out += [Remark("bound", resting) for resting in at_bounds(problem, solution)]
    out += floor_above_best(problem, solution)
    return out


def at_bounds(problem: FitProblem, solution: Solution) -> list[str]:
    """A sentence for each slot that rests on a bound."""
    out: list[str] = []
    for slot, side in zip(problem.slots, solution.bounds, strict=True):
        if side is not None:
            bound = slot.parameter.min if side == "min" else slot.parameter.max
            out.append(
                f"{slot_name(problem, slot)} rests on its bound {bound:g}: the points ask for a value beyond it"
            )
    return out


def floor_above_best(problem: FitProblem, solution: Solution) -> list[Remark]:
    """Sizes whose fitted loss with endless data lies above a loss already measured, by more than noise explains: the
    lowest of n values lies about sigma sqrt(2 ln n) below their mean, and seldom a sigma more."""
    if "d" not in problem.model.columns or problem.model.target != "loss" or not problem.relative:
        return []
    endless = FitProblem(problem.model, problem.objective, problem.table.assign(d=ENDLESS))
    found, fitted = (one.predict(solution.values[None])[0] for one in (endless, problem))
    if (found > fitted * (1 + 1e-9)).any():
        return []  # a law that rises with data, all else equal (at one rate and batch, say), has no floor there
    floors = pd.Series(found)
    sizes = problem.table["size"].to_numpy()
    best = pd.Series(problem.loss).groupby(sizes, sort=False).min()
    with np.errstate(all="ignore"):
        apart = np.log(problem.predict(solution.values[None])[0]) - np.log(problem.loss)
    lowest = _short_noise(problem.table, apart) * (1 + np.sqrt(2 * np.log(max(len(apart), 2))))
    out: list[Remark] = []
    for size, floor in floors.groupby(sizes, sort=False).min().items():
        if np.isfinite(floor) and floor > best[size] * np.exp(lowest):
            of_size = f" of {size}" if len(best) > 1 else ""
            text = f"the fitted floor{of_size}, {floor:.4f}, lies above the best loss seen, {best[size]:.4f}"
            out.append(Remark("floor-above-best", text))
    return out


def _short_noise(table: pd.DataFrame, residuals: Floats) -> float:
    """Robust standard deviation of steps between evaluations, over sqrt 2; of all residuals where runs have one."""
    of_run = pd.Series(residuals).groupby([table["size"].to_numpy(), table["run"].to_numpy()])
    steps = of_run.diff().to_numpy()[(table["run"] != "").to_numpy()] / np.sqrt(2)
    steps = steps[np.isfinite(steps)]
    if len(steps):
        return 1.4826 * float(np.median(np.abs(steps - np.median(steps))))
    alone = residuals[np.isfinite(residuals)]
    return float(alone.std()) if len(alone) else 0.0


def of_spread(problem: FitProblem, drawn: Bootstrap, autocorrelation: float, pairs: int) -> list[Remark]:
    """Remarks on the uncertainties."""
    out: list[Remark] = []
    why: dict[str, list[str]] = {}
    for slot, found in zip(problem.slots, drawn.intervals, strict=True):
        if found.missing:
            why.setdefault(found.missing, []).append(slot_name(problem, slot))
    out += [Remark("no-interval", f"no interval of {join(names)}: {reason}") for reason, names in why.items()]
    if pairs and autocorrelation > 2 / np.sqrt(pairs):
        out.append(
            Remark(
                "autocorrelated",
                f"residuals of neighbouring evaluations are alike (autocorrelation at lag 1: {autocorrelation:.2f}): "
                "standard errors, which assume independence, are too small",
            )
        )
    open_ended = [
        slot_name(problem, slot)
        for slot, found in zip(problem.slots, drawn.intervals, strict=True)
        if not found.missing and (found.low is None or found.high is None)
    ]
    if open_ended:
        out.append(Remark("unbounded", f"the points set no limit on one side of {', '.join(open_ended)}"))
    draws = len(drawn.values) + drawn.lost
    if drawn.lost > LOST * draws:
        out.append(Remark("draws-lost", f"{drawn.lost} of {draws} bootstrap draws gave no fit"))
    return out


def count(number: int, noun: str) -> str:
    """`1 point`, `2 points`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def join(names: Sequence[str]) -> str:
    """`E, A and alpha`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def slot_name(problem: FitProblem, slot: Slot) -> str:
    """As messages call it: the group of a law of single groups is said once, before them."""
    return slot.parameter.name if problem.model.split else slot.name


def _repeated(table: pd.DataFrame) -> pd.DataFrame:
    """Points of runs that have several."""
    return table[(table["run"] != "") & table.duplicated(["size", "run"], keep=False)]

"""What speaks against believing a fit, found in its residuals and in what moves its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.scaling.fit.diagnostics import Remark, lag1
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.problem import OFFSET, FitProblem
from fvlm_core.scaling.fit.sensitivity import OtherFit
from fvlm_core.scaling.fit.solver import Solution
from fvlm_core.scaling.points.points import size_label

DRIFTED = 3.0
"""Standard errors that an exponent moves by when the first points go, to be called drift; and at least `MATTERS`."""

MATTERS = 0.15
"""Share of its value that an exponent must move by."""

UNSTEADY = 0.33
"""Moved by this share of its value, an exponent is worth a word even where chance explains it ..."""

MOSTLY_THERE = 0.6
"""... as long as this share of the points is still there: half of them may tell much less than all."""

JUMP = 5.0
"""A step between neighbouring residuals is a jump beyond so many robust standard deviations of all steps; more, where
so many steps are looked at that the largest is larger by chance."""

BESIDE = 3
"""Points on either side that a jump must separate; the first points of a run are no jump but the law's misfit."""

APART = 3.0
"""Standard errors between a run and the others of its size that cannot be noise; and at least `VISIBLE`."""

VISIBLE = 0.01
"""Difference in ln L that is worth a word."""


@frozen
class CurveJump:
    """A step inside a run. before, after: D of the points it lies between. size: in ln L."""

    run: str
    before: float
    after: float
    size: float


def residuals(problem: FitProblem, solution: Solution) -> Floats:
    """ln(measured / predicted) of every point, [n], whatever the objective; of a target that may be negative, measured
    minus predicted as a part of how far what was measured spreads."""
    predicted = problem.predict(solution.values[None])[0]
    apart = problem.scaled(problem.loss) - problem.scaled(predicted)
    if not problem.relative:
        apart = apart / (problem.loss.std() or 1.0)
    return np.nan_to_num(apart, nan=0.0, posinf=0.0, neginf=0.0)


def jumps(table: pd.DataFrame, apart: Floats) -> tuple[CurveJump, ...]:
    """Change points: the largest step of each run that stands out from those around it and all others, and lasts."""
    long = [(name, d) for name, d in _runs(table) if len(d) > 2 * BESIDE]
    series = [(name, d.to_numpy(float), apart[d.index]) for name, d in long]
    steps = [_standing_out(np.diff(values)) for _, _, values in series]
    if not steps:
        return ()
    every = np.concatenate(steps)
    noise = 1.4826 * float(np.median(np.abs(every - np.median(every))))
    found: list[CurveJump] = []
    for (name, d, values), step in zip(series, steps, strict=True):
        inner = np.abs(step)
        inner[: BESIDE - 1] = inner[len(inner) - BESIDE + 1 :] = 0.0
        at = int(np.argmax(inner))
        if inner[at] == 0.0:  # no step of the inner ones stands out at all
            continue
        lasting = float(values[at + 1 : at + 1 + BESIDE].mean() - values[at + 1 - BESIDE : at + 1].mean())
        if (
            noise > 0
            and inner[at] > _beyond(JUMP, len(every)) * noise
            and lasting * step[at] > 0
            and abs(lasting) > 0.5 * abs(step[at])
        ):
            found.append(CurveJump(name, float(d[at]), float(d[at + 1]), float(step[at])))
    return tuple(found)


def _standing_out(steps: Floats) -> Floats:
    """Each step without the median of the steps around it, itself left out: what the curve does there anyway."""
    padded = np.pad(steps, BESIDE, constant_values=np.nan)
    around = np.delete(np.lib.stride_tricks.sliding_window_view(padded, 2 * BESIDE + 1), BESIDE, axis=1)
    return steps - np.nanmedian(around, axis=1)


def _beyond(least: float, count: int) -> float:
    """Standard deviations that the largest of `count` values seldom reaches by chance, and at least `least`."""
    return max(least, 1.5 + float(np.sqrt(2 * np.log(max(count, 2)))))


def of_jumps(found: Sequence[CurveJump]) -> list[Remark]:
    """In words."""
    return [
        Remark(
            "change-point",
            f"run {jump.run} jumps by {100 * jump.size:+.1f} % of the loss between D = {size_label(jump.before)} and "
            f"{size_label(jump.after)}: something changed there that no law of N and D knows",
        )
        for jump in found
    ]


def disagreements(table: pd.DataFrame, apart: Floats) -> list[Remark]:
    """Runs that lie apart from the others of their size at equal D by more than their noise explains."""
    named = table[table["run"] != ""]  # a point that names no run is one of its own
    repeated = named[
        named.duplicated(["size", "run"], keep=False)
    ]  # as a run of one point it has no noise to compare
    if repeated.empty:
        return []
    rho, _ = lag1(table, apart)
    rho = min(max(rho, 0.0), 0.95)
    out: list[Remark] = []
    for size, of_size in repeated.groupby("size", sort=False, observed=True):
        runs = {name: (d.to_numpy(float), apart[d.index]) for name, d in _runs(of_size)}
        worst: tuple[float, str, float, int] | None = None
        for name, (d, values) in runs.items():
            others = [
                np.interp(d, *other, left=np.nan, right=np.nan) for key, other in runs.items() if key != name
            ]
            if not others or len(d) < 2:
                continue
            known = ~np.isnan(np.array(others)).all(axis=0)
            if not known.any():
                continue
            against = np.nanmean(np.array(others)[:, known], axis=0)
            off = values[known] - against
            noise = 1.4826 * np.median(np.abs(np.diff(values))) / np.sqrt(2 * (1 - rho))
            worth = max(1.0, known.sum() * (1 - rho) / (1 + rho))
            error = max(float(noise) * np.sqrt(2.0 / worth), 1e-9)
            mean = float(np.median(off))
            apart_by = _beyond(APART, table["run"].nunique()) * error
            if abs(mean) > max(apart_by, VISIBLE) and (worst is None or abs(mean) > abs(worst[0])):
                worst = (mean, name, error, int(known.sum()))
        if worst is not None:
            mean, name, error, count = worst
            side = "below" if mean < 0 else "above"
            out.append(
                Remark(
                    "runs-disagree",
                    f"run {name} lies {100 * abs(mean):.1f} % {side} the other runs of {size} at equal D "
                    f"({count} points; their noise explains {100 * error:.1f} %)",
                )
            )
    return out


def drift(problem: FitProblem, solution: Solution, found: Sequence[OtherFit] | None) -> list[Remark]:
    """Exponents that move when the first points of runs are left out: beyond chance (`drift`) or far (`unsteady`)."""
    out: list[Remark] = []
    cuts = [line for line in found or () if line.kind == "cut"]
    for slot, value in zip(problem.slots, solution.values, strict=True):
        if not is_exponent(slot.parameter):
            continue
        moved = [(line, line.values[slot.name]) for line in cuts]
        beyond = [
            (line, float(there))
            for line, there in moved
            if there is not None and line.chance is not None
            if _surprising(line.chance[slot.name], there - value, value)
            or (
                line.n_points >= MOSTLY_THERE * len(problem.loss)
                and abs(there - value) > UNSTEADY * abs(value)
            )
        ]
        if beyond:
            line, there = max(beyond, key=lambda pair: abs(pair[1] - value))
            assert line.chance is not None
            name = slot.parameter.name if problem.model.split else slot.name
            out.append(
                Remark(
                    "drift" if _surprising(line.chance[slot.name], there - value, value) else "unsteady",
                    f"{name} drifts with the cut: {value:.3g} from all points, {there:.3g} {line.label} (chance "
                    f"explains {2 * line.chance[slot.name]:.2g})",
                )
            )
    return out


def _surprising(error: float, moved: float, value: float) -> bool:
    """Whether an exponent moved by more than chance explains, and by enough to matter."""
    return abs(moved) > max(DRIFTED * error, MATTERS * abs(value))


def is_exponent(parameter: Any) -> bool:
    """Whether a parameter bends the law: neither a scale, nor a term, nor the offset of a run."""
    return not parameter.log and not parameter.linear and parameter is not OFFSET


def _runs(table: pd.DataFrame) -> Iterator[tuple[str, Any]]:
    """Runs of several points: the name of each, and its D, increasing."""
    named = table[(table["run"] != "") & table["d"].notna()]
    by_run = named["d"].groupby([named["size"], named["run"]], sort=False, observed=True)
    for key, of_run in by_run:
        if len(of_run) > 1:
            yield str(key[1]), of_run.sort_values(kind="stable")

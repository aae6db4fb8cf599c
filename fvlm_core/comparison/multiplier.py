"""The effective compute multiplier: how many times as much the baseline needs for the loss that both have reached."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from attrs import frozen

from fvlm_core.comparison.measured import Variant
from fvlm_core.comparison.statistics import Floats

_SAMPLES, _FLOPS, _LOSS = 1, 2, 3
"""Columns of a curve."""


@frozen
class Multiplier:
    """Above 1: the variant needs less than the baseline.

    value: the baseline's x over the variant's, at `loss`; of several seeds the geometric mean of each one's against
    its own. bound: "at least" or "at most" where one of them had got there by its first evaluation; nothing is
    extrapolated. loss: where it is read, of several seeds the mean. unit: what x is, "FLOPs" or "samples". low, high:
    the smallest and the largest of the seeds, with `value` between them; None with one seed. reason: why there is no
    value.
    """

    value: float | None = None
    bound: str = ""
    loss: float | None = None
    unit: str = ""
    low: float | None = None
    high: float | None = None
    reason: str = ""


def multiplier(variant: Variant, baseline: Variant) -> Multiplier:
    """At the worse of the two best losses, which both curves have reached: seed by seed.

    Where fewer than two seeds are in both, or one seed's is a lower bound and another's an upper, it is that of the
    mean curves, alone.
    """
    ours, theirs = _mean_curve(variant), _mean_curve(baseline)
    counted = all(np.isfinite(curve[:, _FLOPS]).all() for curve in (ours, theirs))
    column, unit = (_FLOPS, "FLOPs") if counted else (_SAMPLES, "samples")
    seeds = {run.seed: run for run in baseline.runs}
    every = [
        _ratio(_usable(run.curve), _usable(seeds[run.seed].curve), column, unit)
        for run in variant.runs
        if run.seed in seeds
    ]
    known = [(one.value, one.loss) for one in every if one.value is not None and one.loss is not None]
    bounds = {one.bound for one in every if one.bound}
    if len(known) < 2 or len(bounds) > 1:
        return _ratio(ours, theirs, column, unit)
    values, losses = np.array(known).T
    low, high = float(values.min()), float(values.max())
    mean = min(max(float(np.exp(np.log(values).mean())), low), high)  # rounding may lead out
    return Multiplier(mean, "".join(bounds), float(losses.mean()), unit, low, high)


def _ratio(ours: Floats, theirs: Floats, column: int, unit: str) -> Multiplier:
    ours, theirs = (curve[np.isfinite(curve[:, column]) & (curve[:, column] > 0)] for curve in (ours, theirs))
    if len(ours) == 0 or len(theirs) == 0:
        return Multiplier(reason="no curve")
    loss = float(max(ours[:, _LOSS].min(), theirs[:, _LOSS].min()))
    own, own_bound = _reached(ours, column, loss)
    other, other_bound = _reached(theirs, column, loss)
    if own_bound and other_bound:
        return Multiplier(reason="one evaluation each is no curve")
    bound = "at least" if own_bound else "at most" if other_bound else ""
    return Multiplier(other / own, bound, loss, unit)


def _reached(curve: Floats, column: int, loss: float) -> tuple[float, bool]:
    """Where a curve first came down to `loss`, and whether that was before its first evaluation.

    Between two evaluations of the best loss so far, straight in the logarithm of x.
    """
    x, best = curve[:, column], np.minimum.accumulate(curve[:, _LOSS])
    at = int(np.argmax(best <= loss))
    if at == 0:
        return float(x[0]), bool(best[0] < loss or len(x) == 1)
    share = (best[at - 1] - loss) / (best[at - 1] - best[at])
    return float(np.exp(np.log(x[at - 1]) + share * np.log(x[at] / x[at - 1]))), False


def _mean_curve(variant: Variant) -> Floats:
    """The mean over the seeds, at the steps that all were evaluated at."""
    curves = [_usable(run.curve) for run in variant.runs]
    steps = _common(curves)
    rows = [curve[np.isin(curve[:, 0], steps)] for curve in curves]
    return np.mean(rows, axis=0) if rows else np.zeros((0, 4))


def _common(curves: Sequence[Floats]) -> Floats:
    steps = curves[0][:, 0]
    for curve in curves[1:]:
        steps = np.intersect1d(steps, curve[:, 0])
    return steps


def _usable(curve: Floats) -> Floats:
    """The evaluations with a step and a loss, each step once, in order."""
    known = curve[np.isfinite(curve[:, 0]) & np.isfinite(curve[:, _LOSS])]
    _, first = np.unique(known[:, 0], return_index=True)
    return known[first]

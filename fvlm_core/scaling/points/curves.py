"""Learning-rate curves of runs, for laws that read the whole schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fvlm_core.interfaces.fit import LRCurve


def curves_of(
    runs: Any, steps: Any, rates: Any, warmup: int | Mapping[str, int], remarks: list[str]
) -> dict[str, LRCurve]:
    """The curve of every run that names its steps and rates.

    runs: labels, a `pandas.Categorical` [n], "" for no run. steps, rates: [n], NaN where unknown. warmup: steps of the
    linear warm-up, of all runs or by run; those before a run's first step that is listed count. A run with two rates
    at one step has no curve, and `remarks` says so.
    """
    named = np.asarray(runs.categories != "")
    at = np.flatnonzero(np.isfinite(steps) & np.isfinite(rates))
    at = at[named[runs.codes[at]]]
    codes = runs.codes[at]
    order = np.lexsort((steps[at], codes))
    at, codes = at[order], codes[order]
    out: dict[str, LRCurve] = {}
    edges = np.flatnonzero(np.diff(codes)) + 1
    for rows in np.split(at, edges) if len(at) else []:
        run = str(runs.categories[runs.codes[rows[0]]])
        step, first = np.unique(steps[rows], return_index=True)
        of_step = np.maximum.reduceat(rates[rows], first)
        if (of_step != np.minimum.reduceat(rates[rows], first)).any():
            remarks.append(f"run {run} has no learning-rate curve: some of its steps have two rates")
            continue
        before = warmup if isinstance(warmup, int) else warmup.get(run, 0)
        out[run] = LRCurve(step, of_step, min(before, int(step[0])))
    return out

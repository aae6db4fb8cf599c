"""Learning rates of runs, step by step, and their sums up to each point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.plugin_api import LRCurve, UsageError


def run_rates(table: pd.DataFrame, curves: Mapping[str, LRCurve]) -> Iterator[tuple[Any, Any, Any, LRCurve]]:
    """For each run of the table: its rows [m], their steps [m], the rate of every step 0..last of them, its curve.

    Raises `UsageError` when a point has no step or its run no learning rates.
    """
    steps = table["step"].to_numpy(float)
    if np.isnan(steps).any():
        raise UsageError(
            f"the law reads the learning rate of every step, and {int(np.isnan(steps).sum())} of {len(steps)} points "
            "do not say their step.\nAdd a column step."
        )
    runs = table["run"].astype(str).to_numpy()
    unknown = [run for run in dict.fromkeys(runs) if run not in curves]
    if unknown:
        shown = ", ".join(run or "unnamed" for run in unknown[:5])
        raise UsageError(
            f"the law reads the learning rate of every step, and nothing tells that of {len(unknown)} of the runs "
            f"({shown}).\nAdd the columns run, step and lr, with one learning rate a step."
        )
    for run in dict.fromkeys(runs):
        rows = np.flatnonzero(runs == run)
        at = np.rint(steps[rows]).astype(int)
        yield rows, at, curves[run].at(np.arange(at.max() + 1.0)), curves[run]


def summed(table: pd.DataFrame, curves: Mapping[str, LRCurve]) -> Any:
    """S1: the learning rates of all steps up to each point, summed, warm-up included: [n]."""
    out = np.empty(len(table))
    for rows, at, rates, _ in run_rates(table, curves):
        out[rows] = np.cumsum(rates)[at]
    return out

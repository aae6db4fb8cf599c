"""A law that is fitted to the points near its minimum: what is left out, and what the choice makes less sure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from attrs import evolve

from fvlm_core.interfaces.fit import FitModel, Window
from fvlm_core.scaling.fit.report import FittedLaw
from fvlm_core.scaling.fit.uncertainty import Interval


def windows_of(model: FitModel, tables: Sequence[pd.DataFrame]) -> list[Window | None]:
    """The window of each group's points, None for a law without windows."""
    if model.windows is None:
        return [None] * len(tables)
    return [*model.windows(tables)]


def windowed(fit: FittedLaw, table: pd.DataFrame, window: Window | None) -> FittedLaw:
    """The fit with what its window left out of a group's points, and the interval of its minimum as much wider as
    narrower windows differ."""
    if window is None or fit.problem.model.relation is None:
        return fit
    name = fit.problem.model.relation.parameter
    intervals = tuple(
        _wider(interval, value, window.spread) if slot.parameter.name == name else interval
        for slot, value, interval in zip(
            fit.problem.slots, fit.solution.values.tolist(), fit.drawn.intervals, strict=True
        )
    )
    return evolve(
        fit,
        drawn=evolve(fit.drawn, intervals=intervals),
        left_out=table[~window.inside].reset_index(drop=True),
        spread=window.spread,
    )


def _wider(interval: Interval, value: float, spread: float) -> Interval:
    """spread: of ln of the value, added in squares on either side."""

    def end(at: float | None, side: int) -> float | None:
        if at is None or at <= 0 or value <= 0:
            return at
        reach: Any = np.hypot(np.log(at / value), spread)
        return float(value * np.exp(side * reach))

    if interval.missing:
        return interval
    return Interval(end(interval.low, -1), end(interval.high, +1))

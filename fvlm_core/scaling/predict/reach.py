"""How far beyond its points a law is followed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.predict.cost import SAME_SIZE, Cost
from fvlm_core.scaling.predict.design import Candidate
from fvlm_core.scaling.predict.question import At

FARTHEST = {"N": 30.0, "D": 30.0, "C": 300.0}
"""How far beyond the points a law is followed at most: N and D by a factor of 30, C of 300 (the farthest published
predictions that held: Gadre et al. 2024, arXiv:2403.08540, 300 times the compute). Points that span less carry less: as
far beyond their range as the range is wide."""

FARTHEST_OTHER = FARTHEST["N"]
"""Of columns that a law declares."""


FARTHEST_RATIO = 3.0
"""How far D/N of a suggested run may lie outside that of the points without a word: 0.2 and 200 samples a parameter are
other regimes, though N and D alone may both have been seen."""


@frozen
class Excess:
    """A quantity asked for beyond what the points carry. factor: how far outside their range [low, high]. allowed: how
    far is carried."""

    quantity: str
    value: float
    factor: float
    allowed: float
    low: float
    high: float

    def __str__(self) -> str:
        side, edge = (
            ("above the largest", self.high) if self.value > self.high else ("below the smallest", self.low)
        )
        return (
            f"{self.quantity} = {self.value:.3g} is a factor of {self.factor:.3g} {side} of the points, {edge:.3g}; "
            f"they span a factor of {self.high / self.low:.3g} and carry {self.allowed:.3g} beyond it (as far as they "
            f"span, at most {FARTHEST.get(self.quantity, FARTHEST_OTHER):g})"
        )


@frozen
class Outside:
    """A value of a column that may be 0 or negative, farther outside the points, [low, high], than these span."""

    quantity: str
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return (
            f"{self.quantity} = {self.value:.3g} is farther from the points, {self.low:.3g} to {self.high:.3g}, than "
            "these lie apart, which is as far as they carry"
        )


def data_per_parameter(table: pd.DataFrame) -> tuple[float, float] | None:
    """The least and the largest D/N of points; None where no point has both."""
    known = (table["d"] / table["n"]).to_numpy(float)
    known = known[np.isfinite(known) & (known > 0)]
    return (float(known.min()), float(known.max())) if len(known) else None


def ratios_outside(runs: Sequence[Candidate], seen: tuple[float, float]) -> str:
    """The sentence about runs whose D/N is farther outside that of the points, `seen`, than goes without saying; ""
    where there is none."""
    outside = {run: max(run.d / run.n / seen[1], seen[0] / (run.d / run.n)) for run in runs}
    far = [run for run in runs if outside[run] > FARTHEST_RATIO]
    if not far:
        return ""
    worst = max(far, key=outside.__getitem__)
    return (
        f"D/N of {len(far)} of the {len(runs)} runs is more than a factor of {FARTHEST_RATIO:g} outside that of the "
        f"points, {seen[0]:.3g} to {seen[1]:.3g}; farthest {worst.d / worst.n:.3g}, of {worst.label}"
    )


def beyond_others(law: FitModel, table: pd.DataFrame, at: At) -> list[Excess | Outside]:
    """`beyond` of the columns that a law reads beside N and D."""
    out: list[Excess | Outside] = []
    for quantity, value in at.items():
        if quantity not in law.columns or isinstance(value, str):
            continue
        known = table[quantity].to_numpy(float)
        low, high = float(known.min()), float(known.max())
        if low <= 0 or not law.variable(quantity).positive:
            if max(value - high, low - value) > (high - low) * (1 + SAME_SIZE):
                out.append(Outside(quantity, value, low, high))
            continue
        factor, allowed = max(value / high, low / value), min(high / low, FARTHEST_OTHER)
        if factor > allowed * (1 + SAME_SIZE):
            out.append(Excess(quantity, value, factor, allowed, low, high))
    return out


def beyond(
    table: pd.DataFrame, n: float | None, d: float | None, compute: float | None, cost: Cost | None
) -> list[Excess]:
    """What of N, D and C lies farther outside these points than they carry. None: not asked for. cost: tells C of the
    points."""
    seen: list[tuple[str, float | None, Floats]] = [
        ("N", n, table["n"].to_numpy(float)),
        ("D", d, table["d"].to_numpy(float)),
    ]
    if cost is not None:
        seen.append(("C", compute, cost.flops(table["n"].to_numpy(float)) * table["d"].to_numpy(float)))
    out: list[Excess] = []
    for quantity, value, known in seen:
        values = known[np.isfinite(known)]
        if value is None or not len(values):
            continue
        low, high = float(values.min()), float(values.max())
        factor, allowed = max(value / high, low / value), min(high / low, FARTHEST[quantity])
        if factor > allowed * (1 + SAME_SIZE):
            out.append(Excess(quantity, value, factor, allowed, low, high))
    return out

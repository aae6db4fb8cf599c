"""How measured losses scatter about a law: between runs, and between the evaluations of one run."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.scaling.fit.leverage import EXACT
from fvlm_core.scaling.fit.objective import Floats

Source = Literal["assumed", "measured", "given"]


@frozen
class Noise:
    """Scatter of ln L about the law (of a target that may be negative, of itself): an offset that all evaluations of a
    run share, and what each adds to it.

    run: standard deviation of the offset, from run to run (seeds, data order, tuning). point: of an evaluation about
    its run's curve. lag1: autocorrelation of the latter between neighbouring evaluations. freedom: degrees of freedom
    that `run` was found from; infinite when it is assumed. apart: whether runs and evaluations could be told apart;
    when not, `run` holds both and `point` is 0. run_source, point_source: where the two are from.
    """

    run: float
    point: float
    lag1: float = 0.0
    freedom: float = np.inf
    apart: bool = True
    run_source: Source = "assumed"
    point_source: Source = "assumed"

    @property
    def total(self) -> float:
        """Standard deviation of one evaluation of a new run."""
        return float(np.hypot(self.run, self.point))

    @property
    def parts(self) -> tuple[str, ...]:
        """In words: each part, where it is from, and how large it is."""
        if not self.apart and self.run_source == "measured":
            return (f"runs and their evaluations about the law together, measured: {self.run:.2%}",)
        return (
            f"run to run, {self.run_source}: {self.run:.2%}",
            f"evaluations about their run's curve, {self.point_source}: {self.point:.2%}",
        )

    def covariance(self, evaluations: int, gap: float = 1.0) -> Floats:
        """Of ln L at the evaluations of one run: [K, K]. gap: between the ones used, in evaluations made.

        Whatever a run has in common is in every one of them, so that a hundred evaluations of one run are not a
        hundred measurements. Values closer than 1e-6 are not taken for measured better than that.
        """
        steps = gap * np.arange(evaluations)
        alike = self.lag1 ** np.abs(steps[:, None] - steps[None])
        return self.run**2 + self.point**2 * alike + 1e-12 * np.eye(evaluations)


ASSUMED = Noise(run=0.005, point=0.002, lag1=0.5)
"""Where nothing was measured: seeds of one recipe differ by about half a percent."""


def measured_noise(table: pd.DataFrame, residuals: Floats, parameters: int) -> Noise | None:
    """The noise from a fit's residuals of ln L [n] on the points of `table`; None when nothing can tell it.

    parameters: of the law, each of which takes a degree of freedom from the runs. Where every run has one point, runs
    and evaluations cannot be told apart; a point without a run is a run of its own. Residuals that are rounding, or no
    more than parameters, tell nothing.
    """
    if len(residuals) <= parameters or np.abs(residuals).max() <= EXACT:
        return None
    labels = zip(table["size"], table["run"], strict=True)
    keys = [f"{size}/{run}" if run else f"#{at}" for at, (size, run) in enumerate(labels)]
    groups = pd.Series(residuals).groupby(keys, sort=False)
    means: Any = groups.mean().to_numpy()
    counts: Any = groups.size().to_numpy()
    inside: Any = residuals - groups.transform("mean").to_numpy()
    freedom = len(means) - parameters
    several = int((counts - 1).sum())
    if several == 0:
        if freedom <= 0:
            return None
        return Noise(
            _sd(means, freedom),
            0.0,
            freedom=freedom,
            apart=False,
            run_source="measured",
            point_source="measured",
        )
    # The law bends inside runs too: with few runs its parameters are found from the curves, not from the means.
    point = _sd(inside, max(1, several - parameters * (freedom <= 0)))
    lag1 = _lag1(inside, keys)
    if freedom <= 0:
        if several <= parameters:
            return None
        return Noise(ASSUMED.run, point, lag1, freedom=np.inf, apart=False, point_source="measured")
    around = _sd(means, freedom)
    return Noise(around, point, lag1, freedom=freedom, run_source="measured", point_source="measured")


def _sd(residuals: Floats, freedom: int) -> float:
    return float(np.sqrt(residuals @ residuals / freedom))


def _lag1(inside: Floats, keys: list[str]) -> float:
    """Autocorrelation at lag 1, moved up by what centring a short run takes from it (Kendall 1954), in [0, 0.98]."""
    before = pd.Series(inside).groupby(keys, sort=False).shift(1).to_numpy()
    pairs = ~np.isnan(before)
    square = float(inside @ inside)
    if not pairs.any() or square == 0:
        return 0.0
    found = float(inside[pairs] @ before[pairs]) / square * len(inside) / int(pairs.sum())
    length = len(inside) / len(set(keys))
    return float(np.clip(found + (1 + 3 * found) / length, 0.0, 0.98))

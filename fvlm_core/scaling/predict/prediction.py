"""The loss of a run that was not made, with the interval in which it will fall, and the best use of a budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from attrs import evolve, field, frozen

from fvlm_core.interfaces.fit import LRCurve
from fvlm_core.scaling.fit.noise import ASSUMED, Noise, measured_noise
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.report import FittedLaw
from fvlm_core.scaling.fit.uncertainty import quantile
from fvlm_core.scaling.points.points import NUMBERS
from fvlm_core.scaling.predict.cost import Cost
from fvlm_core.scaling.predict.optimum import bound, losses, optimum
from fvlm_core.scaling.predict.question import At
from fvlm_core.scaling.predict.roll_out import RollOut, factor_beyond, factors_beyond, roll_out

_NEW = "the run asked for"

NORMAL = 10_000
"""Degrees of freedom from which Student's t is the normal distribution."""

Range = tuple[float, float]


@frozen
class Estimated:
    """A predicted value; `band`: its 95 % interval from the law's parameters alone; `interval`: that of a new run. None
    where the points leave no residual to judge by."""

    value: float
    band: Range | None
    interval: Range | None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"value": self.value, "law_interval": _ends(self.band), "interval": _ends(self.interval)}


def _ends(found: Range | None) -> list[float | None]:
    return [None, None] if found is None else list(found)


@frozen
class Prediction:
    """The loss (or whatever the law's target is) of a run of N parameters on D, NaN for a law that does not read them.
    compute: its FLOPs, None when the cost is not known there. label: of a size that exists. best: for sizes under one
    budget, the share of draws in which this one is the best of them. at: of the law's other columns. target: what is
    predicted."""

    n: float
    d: float
    compute: float | None
    loss: Estimated
    label: str = ""
    best: float | None = None
    at: At = field(factory=dict[str, float | str])
    target: str = "loss"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        out = {
            "size": self.label or None,
            "N": self.n if np.isfinite(self.n) else None,
            "D": self.d if np.isfinite(self.d) else None,
            **self.at,
            "C": self.compute,
            self.target: self.loss.to_json(),
        }
        return out if self.best is None else {**out, "share_best": self.best}


@frozen
class Best:
    """The best use of a budget: N* and D* with their 95 % intervals, if any, and the loss there. edge: -1 or 1 when the
    loss still falls at the smallest or largest N looked at. at, target: as of `Prediction`."""

    budget: float
    n: float
    n_interval: Range | None
    d: float
    d_interval: Range | None
    loss: Estimated
    edge: int
    at: At = field(factory=dict[str, float | str])
    target: str = "loss"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            **self.at,
            "C": self.budget,
            "N": {"value": self.n, "interval": _ends(self.n_interval)},
            "D": {"value": self.d, "interval": _ends(self.d_interval)},
            self.target: self.loss.to_json(),
            "edge": self.edge,
        }


@frozen(eq=False)
class Predictor:
    """A fit that predicts. cost: None when it is not known. given: of the law's columns beside N and D. noise: of a new
    run, from the fit's residuals. parts: what an interval of a new run holds. remarks: what it cannot hold. rolled:
    how well the law foresees larger runs, by which intervals beyond the points are widened; None where it cannot be
    told."""

    fit: FittedLaw
    cost: Cost | None
    given: At = field(factory=dict[str, float | str])
    noise: Noise = field(init=False)
    parts: tuple[str, ...] = field(init=False)
    remarks: tuple[str, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        for name, value in zip(("noise", "parts", "remarks"), noise_of(self.fit), strict=True):
            object.__setattr__(self, name, value)

    @cached_property
    def rolled(self) -> RollOut | None:
        return roll_out(self.fit, self.noise.total)

    @property
    def target(self) -> str:
        """What the law predicts."""
        return self.fit.problem.model.target

    def factor(self, n: float, d: float) -> float:
        """How far beyond the points N and D lie, with what is given beside them; 1 inside."""
        return factor_beyond(self.fit.problem, {"n": n, "d": d, **self.given})

    def at(self, n: float, d: float, label: str = "") -> Prediction:
        """The loss at N and D. label: of the size, for laws with parameters of each size."""
        there = bound(self.fit.problem, np.array([n]), np.array([d]), label, self.given)
        best = there.predict(self.fit.solution.values[None])[0, 0]
        drawn = there.predict(self.fit.drawn.values)[:, 0]
        if self.fit.drawn.hidden(there.jacobian(self.fit.solution.theta[None])[0].T)[0]:
            drawn = drawn[:0]
        loss = self._loss(best, drawn, self.factor(n, d))
        return Prediction(n, d, self.compute(n, d), loss, label, at=self.given, target=self.target)

    def under(self, curve: LRCurve, label: str = "") -> Prediction:
        """The loss at the end of a run with these learning rates. label: of the size, for laws with parameters of each
        size."""
        step = float(curve.steps[-1])
        row = dict.fromkeys(NUMBERS, np.nan) | {"size": label, "run": _NEW, "schedule": "", "step": step}
        table = pd.DataFrame([row | {"lr": float(curve.rates[-1])} | dict(self.given)])
        (best,), (low,), (high,) = self.fit.predict(table, {_NEW: curve})
        _, (under,), (above,) = self.over(table, {_NEW: curve})
        told = bool(np.isfinite([low, high, under, above]).all())
        loss = Estimated(float(best), (low, high) if told else None, (under, above) if told else None)
        at = {**self.given, "step": step}
        return Prediction(np.nan, np.nan, None, loss, label, at=at, target=self.target)

    def over(
        self, table: pd.DataFrame, curves: Mapping[str, LRCurve] | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """The law at m other points, and the 95 % interval of a new run at each: [m] each, NaN where there is none.

        table: the columns that the law reads and the labels of its groups. curves: learning rates of its runs.
        """
        problem = self.fit.problem
        there = problem.at(table, curves)
        best = there.predict(self.fit.solution.values[None])[0]
        drawn = there.predict(self.fit.drawn.values)
        hidden = self.fit.drawn.hidden(there.jacobian(self.fit.solution.theta[None])[0].T)
        factors = factors_beyond(problem, {str(name): table[name].to_numpy() for name in table})
        low, high = np.full((2, len(best)), np.nan)
        for at, factor in enumerate(factors):
            found = self._loss(best[at], drawn[:0, at] if hidden[at] else drawn[:, at], float(factor))
            if found.interval is not None:
                low[at], high[at] = found.interval
        return best, low, high

    def compute(self, n: float, d: float) -> float | None:
        """FLOPs of a run; None when the cost is not known there."""
        known = self.cost is not None and np.isfinite(n) and np.isfinite(d)
        flops = float(self.cost.flops(n)) * d if self.cost is not None and known else np.nan
        return flops if np.isfinite(flops) else None

    def best(self, budget: float, low: float, high: float) -> Best:
        """The optimum of a budget over N in [low, high], where the cost must be known."""
        assert self.cost is not None
        values, drawn = self.fit.solution.values[None], self.fit.drawn.values
        here = optimum(self.fit.problem, values, self.cost, budget, low, high, self.given)
        spread = optimum(self.fit.problem, drawn, self.cost, budget, low, high, self.given)
        return Best(
            budget,
            float(here.n[0]),
            _raised(self._band(np.log(here.n[0]), np.log(spread.n))),
            float(here.d[0]),
            _raised(self._band(np.log(here.d[0]), np.log(spread.d))),
            self._loss(here.loss[0], spread.loss, self.factor(here.n[0], here.d[0])),
            int(here.edge[0]),
            self.given,
            self.target,
        )

    def among(self, budget: float, sizes: Sequence[tuple[str, float]]) -> tuple[Prediction, ...]:
        """The loss of each size under a budget. sizes: labels and N."""
        assert self.cost is not None
        n = np.array([value for _, value in sizes])
        d = budget / self.cost.flops(n)
        best = losses(self.fit.problem, self.fit.solution.values[None], n, d, self.given)[0]
        drawn = losses(self.fit.problem, self.fit.drawn.values, n, d, self.given)
        scaled, problem = self.fit.problem.scaled, self.fit.problem
        with np.errstate(all="ignore"):  # draws as far from the estimate as its own error is
            apart = scaled(best) + self.fit.drawn.scale * (scaled(drawn) - scaled(best))
        won = (np.argmax if problem.model.output.rising else np.argmin)(apart, axis=1)
        wins = np.bincount(won, minlength=len(n)) / max(1, len(drawn))
        return tuple(
            Prediction(
                value,
                float(d[at]),
                budget,
                self._loss(best[at], drawn[:, at], self.factor(value, d[at])),
                label,
                float(wins[at]) if len(drawn) else None,
                self.given,
                self.target,
            )
            for at, (label, value) in enumerate(sizes)
        )

    def _loss(self, best: float, drawn: Floats, factor: float) -> Estimated:
        """One loss, from its draws [B]. A new run scatters about the law besides, and so far beyond the points the law
        may be wrong."""
        problem = self.fit.problem
        value, drawn = float(problem.scaled(np.asarray(best))), problem.scaled(drawn)
        drawn = drawn[np.isfinite(drawn)]
        band = self._band(value, drawn)
        if band is None:
            return Estimated(float(best), None, None)
        low, high = band
        freedom = min(self.fit.drawn.freedom or NORMAL, self.noise.freedom, NORMAL)
        scatter = quantile(int(freedom)) * self.noise.total
        if factor > 1.0 and self.rolled is not None:
            scatter = np.hypot(scatter, self.rolled.reach(factor))
        # Each side of the band has its own width, to which the scatter adds in squares.
        beyond = (value - np.hypot(value - low, scatter), value + np.hypot(high - value, scatter))
        back = problem.unscaled
        return Estimated(
            float(best),
            (float(back(np.asarray(low))), float(back(np.asarray(high)))),
            (float(back(np.asarray(beyond[0]))), float(back(np.asarray(beyond[1])))),
        )

    def _band(self, best: Any, drawn: Floats) -> Range | None:
        if not len(drawn):
            return None
        low, high = self.fit.drawn.band(np.asarray(best), drawn)
        return min(float(low), float(best)), max(float(high), float(best))


def _raised(ends: Range | None) -> Range | None:
    """From logarithms."""
    return None if ends is None else (float(np.exp(ends[0])), float(np.exp(ends[1])))


def _assumed(problem: FitProblem) -> Noise:
    """Of a target that may be negative, as a part of how far what was measured spreads."""
    if problem.relative:
        return ASSUMED
    spread = float(problem.loss.std())
    return evolve(ASSUMED, run=ASSUMED.run * spread, point=ASSUMED.point * spread)


_FEW = "no more runs than parameters"

_SINGLE = (
    "one run of each size: what seeds do and what the law gets wrong cannot be told apart; both are in the scatter of "
    "runs about the law, while a size that is off as a whole bends the law instead"
)


def noise_of(fit: FittedLaw) -> tuple[Noise, tuple[str, ...], tuple[str, ...]]:
    """The scatter of a new run about the law; what an interval holds; remarks on what it cannot hold."""
    problem = fit.problem
    residuals = problem.scaled(problem.loss) - problem.scaled(problem.predict(fit.solution.values[None])[0])
    found = measured_noise(problem.table, residuals, len(problem.slots)) or _assumed(problem)
    if fit.drawn.missing:
        why = f"no interval: {fit.drawn.missing}; how runs scatter is not told either"
        return found, (), (why,)
    law = f"the law's parameters ({len(fit.drawn.values)} draws: {fit.drawn.scheme})"
    parts = (law, *found.parts)
    if found.run_source == "assumed":
        few = f"{_FEW} ({len(problem.slots)}): how runs scatter about the law cannot be told, and is assumed"
        return found, parts, (few,)
    named = problem.table[problem.table["run"] != ""]
    runs = named.groupby("n", observed=True)["run"].nunique()
    if len(runs) and runs.max() == 1:
        return (
            found,
            parts,
            (_SINGLE,),
        )
    return found, parts, ()

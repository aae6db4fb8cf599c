"""The loss of a run that was not made, with the interval in which it will fall, and the best use of a budget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from attrs import evolve, field, frozen

from fvlm_core.scaling.fit.noise import ASSUMED, Noise, measured_noise
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.report import FittedLaw
from fvlm_core.scaling.fit.uncertainty import quantile
from fvlm_core.scaling.predict.cost import Cost
from fvlm_core.scaling.predict.optimum import bound, losses, optimum
from fvlm_core.scaling.predict.question import At

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
    budget, the share of draws in which this one is the best of them. at: of the law's other columns."""

    n: float
    d: float
    compute: float | None
    loss: Estimated
    label: str = ""
    best: float | None = None
    at: At = field(factory=dict[str, float | str])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        out = {
            "size": self.label or None,
            "N": self.n if np.isfinite(self.n) else None,
            "D": self.d if np.isfinite(self.d) else None,
            **self.at,
            "C": self.compute,
            "loss": self.loss.to_json(),
        }
        return out if self.best is None else {**out, "share_best": self.best}


@frozen
class Best:
    """The best use of a budget: N* and D* with their 95 % intervals, if any, and the loss there. edge: -1 or 1 when the
    loss still falls at the smallest or largest N looked at."""

    budget: float
    n: float
    n_interval: Range | None
    d: float
    d_interval: Range | None
    loss: Estimated
    edge: int

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "C": self.budget,
            "N": {"value": self.n, "interval": _ends(self.n_interval)},
            "D": {"value": self.d, "interval": _ends(self.d_interval)},
            "loss": self.loss.to_json(),
            "edge": self.edge,
        }


@frozen(eq=False)
class Predictor:
    """A fit that predicts. cost: None when it is not known. given: of the law's columns beside N and D. noise: of a new
    run, from the fit's residuals. parts: what an interval of a new run holds. remarks: what it cannot hold."""

    fit: FittedLaw
    cost: Cost | None
    given: At = field(factory=dict[str, float | str])
    noise: Noise = field(init=False)
    parts: tuple[str, ...] = field(init=False)
    remarks: tuple[str, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        for name, value in zip(("noise", "parts", "remarks"), noise_of(self.fit), strict=True):
            object.__setattr__(self, name, value)

    def at(self, n: float, d: float, label: str = "") -> Prediction:
        """The loss at N and D. label: of the size, for laws with parameters of each size."""
        there = bound(self.fit.problem, np.array([n]), np.array([d]), label, self.given)
        best = there.predict(self.fit.solution.values[None])[0, 0]
        drawn = there.predict(self.fit.drawn.values)[:, 0]
        if self.fit.drawn.hidden(there.jacobian(self.fit.solution.theta[None])[0].T)[0]:
            drawn = drawn[:0]
        return Prediction(n, d, self.compute(n, d), self._loss(best, drawn), label, at=self.given)

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
            self._loss(here.loss[0], spread.loss),
            int(here.edge[0]),
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
                self._loss(best[at], drawn[:, at]),
                label,
                float(wins[at]) if len(drawn) else None,
            )
            for at, (label, value) in enumerate(sizes)
        )

    def _loss(self, best: float, drawn: Floats) -> Estimated:
        """One loss, from its draws [B]. A new run scatters about the law besides, in ln L."""
        problem = self.fit.problem
        value, drawn = float(problem.scaled(np.asarray(best))), problem.scaled(drawn)
        drawn = drawn[np.isfinite(drawn)]
        band = self._band(value, drawn)
        if band is None:
            return Estimated(float(best), None, None)
        low, high = band
        freedom = min(self.fit.drawn.freedom or NORMAL, self.noise.freedom, NORMAL)
        scatter = quantile(int(freedom)) * self.noise.total
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

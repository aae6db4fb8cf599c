"""A law bound to points: parameters as vectors that an optimizer can move, many at once."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, log
from typing import Any

import numpy as np
import pandas as pd
from attrs import define, evolve, field, frozen

from fvlm_core.interfaces.fit import FitModel, LRCurve, Parameter
from fvlm_core.scaling.fit.objective import FitObjective, Floats

LOG_REACH = 40.0
"""How far ln of a parameter may go from ln of its guess where its bounds are 0 or infinite: a factor of 2e17."""

STEP = 6e-6
"""Central differences: the cube root of double precision balances truncation against rounding."""

OFFSET_GUESS = 0.0
OFFSET_REACH = 1.0
"""Per-run offsets are searched within a factor e of the law."""


@frozen
class Slot:
    """One number to be found: a parameter, or a parameter of one size, run or budget (`key`)."""

    parameter: Parameter
    key: str = ""

    @property
    def name(self) -> str:
        """`E`, or `E[135M]`."""
        return f"{self.parameter.name}[{self.key}]" if self.key else self.parameter.name


@define(eq=False)
class FitProblem:
    """A law, points and an objective. P slots, n points; `theta` [S, P] holds S sets of values to search in.

    theta is the value itself, or its logarithm for `log` parameters, within `lower` and `upper` [P].
    curves: learning rates by run, for laws whose features need them. offsets: whether every run may lie above or below
    the law by a factor of its own; those of a size multiply to 1, so that they do not stand in for the law's floor.
    """

    model: FitModel
    objective: FitObjective
    table: pd.DataFrame
    curves: Mapping[str, LRCurve] = field(factory=dict)
    offsets: bool = False
    slots: tuple[Slot, ...] = field(init=False)
    lower: Floats = field(init=False)
    upper: Floats = field(init=False)
    logs: Any = field(init=False)
    """Which slots are searched in their logarithm: bool [P]."""
    loss: Floats = field(init=False)
    """What was measured, of the law's target: [n]."""
    weight: Floats = field(init=False)
    """How often each point counts: [n], 1 in the mean."""
    precision: Floats = field(init=False)
    """What each point's residual is multiplied by, one over its standard error: [n], 1 in the median."""
    relative: bool = field(init=False)
    """Whether scatter is a part of the target, told of its logarithm: where it cannot be 0 or negative."""
    _inputs: list[Any] = field(init=False, repr=False)
    _index: dict[str, Any] = field(init=False)
    """Where each parameter's slots are: a slice of one that all points share, else the slot of each point, [n]."""
    _points: Any = field(init=False, repr=False)
    _precise: bool = field(init=False)
    _weighed: bool = field(init=False)
    _share: Floats = field(init=False, repr=False)
    """How much each run's offset counts at each point: [offsets, n]."""

    def __attrs_post_init__(self) -> None:
        slots: list[Slot] = []
        index: dict[str, Any] = {}
        for parameter in self.model.parameters:
            if parameter.per is None:
                index[parameter.name] = slice(len(slots), len(slots) + 1)
                slots.append(Slot(parameter))
            else:
                codes, keys = pd.factorize(self.table[parameter.per])
                index[parameter.name] = len(slots) + codes
                slots += [Slot(parameter, group_label(key)) for key in keys]
        runs, self._share = _offsets(self.table) if self.offsets else ([], np.zeros((0, len(self.table))))
        slots += [Slot(OFFSET, run) for run in runs]
        self.slots = tuple(slots)
        self._index, self._points = index, np.arange(len(self.table))
        self._precise, self._weighed = SIGMA in self.table, WEIGHT in self.table
        self.logs = np.array([slot.parameter.log for slot in slots])
        self.lower = np.array([_searched(slot.parameter, slot.parameter.min, -1) for slot in slots])
        self.upper = np.array([_searched(slot.parameter, slot.parameter.max, +1) for slot in slots])
        self.loss = self.table[self.model.target].to_numpy(float)
        self.relative = relative(self.model, self.loss)
        self.precision = np.ones(len(self.loss))
        if self._precise:
            self.precision = 1.0 / _standard_errors(
                self.table[SIGMA].to_numpy(float), self.loss, self.objective
            )
            self.precision /= np.median(self.precision)
        self.weight = np.ones(len(self.loss))
        if self._weighed:
            given = self.table[WEIGHT].to_numpy(float)
            self.weight = given / given.mean()
        self._inputs = [
            self.model.features[name](self.table, self.curves)
            if name in self.model.features
            else self.table[name].to_numpy(float)
            for name in self.model.inputs
        ]

    def search(self, values: Floats) -> Floats:
        """Values [..., P] to theta, moved inside the bounds."""
        with np.errstate(divide="ignore"):
            theta = np.where(self.logs, np.log(np.maximum(values, 0)), values)
        return np.clip(theta, self.lower, self.upper)

    def values(self, theta: Floats) -> Floats:
        """theta [..., P] to values."""
        return np.where(self.logs, np.exp(np.where(self.logs, theta, 0)), theta)

    def guess(self) -> Floats:
        """The law's own guess: values [P]."""
        return np.array([slot.parameter.guess for slot in self.slots])

    def predict(self, values: Floats) -> Floats:
        """Predicted losses (or whatever the law's target is) [S, n] for values [S, P]."""
        return self._raised(self._evaluate(self._spread(values)), values)

    def residuals(self, theta: Floats, loss: Floats | None = None) -> Floats:
        """The objective's residuals [S, n], in units of each point's standard error. loss: other measured losses
        [S, n] in place of the points' own."""
        return self.apart(self.predict(self.values(theta)), loss)

    def apart(self, predicted: Floats, loss: Floats | None = None) -> Floats:
        """`residuals` of losses predicted already, [S, n]."""
        apart = self.objective.residuals(predicted, self.loss if loss is None else loss)
        return apart * self.precision if self._precise else apart

    def total(self, residuals: Floats, weights: Floats | float = 1.0) -> Floats:
        """The objective [S]: the weighted sum over points; infinite where the law gives no loss."""
        with np.errstate(invalid="ignore"):  # an infinite residual of a point that does not count
            weighted = self.objective.losses(residuals) * weights
            return (weighted * self.weight if self._weighed else weighted).sum(-1)

    def counts(self, residuals: Floats) -> Floats:
        """How much each residual counts in a least-squares step: as the objective says, as often as its point does."""
        counted = self.objective.weights(residuals)
        return counted * self.weight if self._weighed else counted

    def scaled(self, target: Floats) -> Floats:
        """Values of the target on the scale that scatter is told on: their logarithm, or themselves."""
        with np.errstate(all="ignore"):
            return np.log(target) if self.relative else np.asarray(target, float)

    def unscaled(self, scaled: Floats) -> Floats:
        """Back from `scaled`."""
        return np.exp(scaled) if self.relative else scaled

    def jacobian(self, theta: Floats, predicted: Floats | None = None) -> Floats:
        """Derivatives of the residuals by theta: [S, P, n]. From the law's own gradient where it has one.

        predicted: the losses predicted there, [S, n], by a caller who has them.
        """
        out = np.zeros((len(theta), len(self.slots), len(self.loss)))
        values = self.values(theta)
        if self.model.gradient is None:
            self._differences(theta, values, out)
        else:
            self._derivatives(self.model.gradient, values, out, None if len(self._share) else predicted)
        if len(self._share):
            scale = np.ones(1)
            if not self.objective.logarithmic:
                scale = (self.predict(values) if predicted is None else predicted)[:, None, :]
            out[:, -len(self._share) :, :] = self._share * scale
        if self._precise:
            out *= self.precision
        return out

    def at(self, table: pd.DataFrame, curves: Mapping[str, LRCurve] | None = None) -> FitProblem:
        """The same law and slots at other points, to predict there.

        table: the columns that the law reads, and the labels of its groups. Raises `KeyError` for a label that the fit
        has not seen. curves: learning rates of the other points' runs.
        """
        other = FitProblem(
            self.model, self.objective, table.assign(**_absent(table, self.model.target)), curves or {}
        )
        names = {slot.name: at for at, slot in enumerate(self.slots)}
        other._index = {
            name: slice(names[name], names[name] + 1)
            if isinstance(slots, slice)
            else np.array([names[other.slots[at].name] for at in slots])
            for name, slots in other._index.items()
        }
        other.slots, other.logs = self.slots, self.logs
        other.lower, other.upper = self.lower, self.upper
        other.relative = self.relative
        return other

    def _spread(self, values: Floats) -> dict[str, Floats]:
        """Values [S, P] as the law's arguments: [S, 1] for a shared parameter, [S, n] for one a size or run."""
        return {
            name: values[:, slots].copy() if isinstance(slots, slice) else values[:, slots]
            for name, slots in self._index.items()
        }

    def _put(self, out: Floats, name: str, slope: Floats) -> None:
        """Derivatives [S, n] by a parameter into those by all slots, [S, P, n]; 0 where they are not finite."""
        finite = np.where(np.isfinite(slope), slope, 0.0)
        slots = self._index[name]
        if isinstance(slots, slice):
            out[:, slots.start] = finite
        else:
            out[:, slots, self._points] = finite

    def _evaluate(self, arguments: Mapping[str, Floats]) -> Floats:
        """The law at every point: [S, n]."""
        with np.errstate(all="ignore"):
            found = np.asarray(self.model.law(*self._inputs, **arguments), dtype=float)
        sets = max(len(values) for values in arguments.values())
        return np.broadcast_to(found, (sets, len(self.loss)))

    def _raised(self, predicted: Floats, values: Floats) -> Floats:
        """With the offsets of runs."""
        if not len(self._share):
            return predicted
        return predicted * np.exp(values[:, -len(self._share) :] @ self._share)

    def _derivatives(self, gradient: Any, values: Floats, out: Floats, predicted: Floats | None) -> None:
        """predicted: by the law alone, without the offsets of runs, [S, n]; None: not known."""
        arguments = self._spread(values)
        with np.errstate(all="ignore"):
            slopes: Mapping[str, Any] = gradient(*self._inputs, **arguments)
            if self.objective.logarithmic:
                scale = 1.0 / (self._evaluate(arguments) if predicted is None else predicted)
            else:
                scale = self._raised(np.ones((len(values), len(self.loss))), values)
            for parameter in self.model.parameters:
                slope = slopes[parameter.name] * scale
                if parameter.log:
                    slope = slope * arguments[parameter.name]
                self._put(out, parameter.name, slope)

    def _differences(self, theta: Floats, values: Floats, out: Floats) -> None:
        """One central difference gives a parameter's derivative at every point, whichever slot it is of."""
        step = STEP * np.maximum(1.0, np.abs(theta))
        above, below = np.minimum(theta + step, self.upper), np.maximum(theta - step, self.lower)
        here = self._spread(values)
        high, low = self._spread(self.values(above)), self._spread(self.values(below))
        width = self._spread(above - below)
        for name in self._index:
            ends = [
                self.objective.residuals(
                    self._raised(self._evaluate({**here, name: moved[name]}), values), self.loss
                )
                for moved in (high, low)
            ]
            with np.errstate(all="ignore"):
                slope = (ends[0] - ends[1]) / width[name]
            self._put(out, name, slope)


def thinned(problem: FitProblem, most: int) -> FitProblem:
    """The problem with at most so many of its points; all of them when a group would lose its last."""
    if len(problem.table) <= most:
        return problem
    chosen = np.random.default_rng(0).choice(len(problem.table), most, replace=False)
    thinned = evolve(problem, table=problem.table.iloc[np.sort(chosen)].reset_index(drop=True))
    return thinned if thinned.slots == problem.slots else problem


SIGMA, WEIGHT = "sigma", "weight"
"""Columns of the points: the standard error of what was measured, and how often a point counts."""


def relative(model: FitModel, measured: Floats) -> bool:
    """Whether a law's target is above 0, by its declaration and all that was measured (or nothing was)."""
    return model.output.positive and not (measured <= 0).any()


def group_label(key: object) -> str:
    """The name of a group: its label, or its number in short."""
    return f"{key:g}" if isinstance(key, float) else str(key)


def _standard_errors(given: Floats, measured: Floats, objective: FitObjective) -> Floats:
    """Of the objective's residuals: of ln L, a standard error is as large as its part of L."""
    return given / measured if objective.logarithmic else given


OFFSET = Parameter("offset", OFFSET_GUESS, -OFFSET_REACH, OFFSET_REACH)


def _offsets(table: pd.DataFrame) -> tuple[list[str], Floats]:
    """The runs with an offset of their own, and how it counts at each point: the last of a size takes minus the sum."""
    free: list[str] = []
    shares: list[Floats] = []
    runs = table["run"].to_numpy()
    for _, of_size in table.groupby("size", sort=False)["run"]:
        *others, last = dict.fromkeys(of_size)
        for run in others:
            free.append(str(run))
            shares.append((runs == run).astype(float) - (runs == last))
    return free, np.array(shares).reshape(len(shares), len(table))


def _absent(table: pd.DataFrame, target: str) -> dict[str, float]:
    """A prediction has no measured target yet."""
    return {} if target in table else {target: np.nan}


def _searched(parameter: Parameter, bound: float, side: int) -> float:
    if not parameter.log:
        return bound
    if bound in (0.0, inf):
        return log(parameter.guess) + side * LOG_REACH
    return log(bound)

"""A law bound to points: parameters as vectors that an optimiser can move, many at once."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf, log
from typing import Any

import numpy as np
import pandas as pd
from attrs import define, field, frozen

from fvlm_core.interfaces import FitModel, Parameter
from fvlm_core.scaling.objective import Floats, Objective

LOG_REACH = 40.0
"""How far ln of a parameter may go from ln of its guess where its bounds are 0 or infinite: a factor of 2e17."""

STEP = 6e-6
"""Central differences: the cube root of double precision balances truncation against rounding."""


@frozen
class Slot:
    """One number to be found: a parameter, or a parameter of one size or run (`key`)."""

    parameter: Parameter
    key: str = ""

    @property
    def name(self) -> str:
        """`E`, or `E[135M]`."""
        return f"{self.parameter.name}[{self.key}]" if self.key else self.parameter.name


@define(eq=False)
class Problem:
    """A law, points and an objective. P slots, n points; `theta` [S, P] holds S sets of values to search in.

    theta is the value itself, or its logarithm for `log` parameters, within `lower` and `upper` [P].
    """

    model: FitModel
    objective: Objective
    table: pd.DataFrame
    slots: tuple[Slot, ...] = field(init=False)
    lower: Floats = field(init=False)
    upper: Floats = field(init=False)
    loss: Floats = field(init=False)
    _columns: dict[str, Floats] = field(init=False, repr=False)
    _index: dict[str, Any] = field(init=False)

    def __attrs_post_init__(self) -> None:
        slots: list[Slot] = []
        index: dict[str, Any] = {}
        for parameter in self.model.parameters:
            if parameter.per is None:
                index[parameter.name] = np.array([len(slots)])
                slots.append(Slot(parameter))
            else:
                codes, keys = pd.factorize(self.table[parameter.per])
                index[parameter.name] = len(slots) + codes
                slots += [Slot(parameter, str(key)) for key in keys]
        self.slots = tuple(slots)
        self._index = index
        self.lower = np.array([_searched(slot.parameter, slot.parameter.min, -1) for slot in slots])
        self.upper = np.array([_searched(slot.parameter, slot.parameter.max, +1) for slot in slots])
        self.loss = self.table["loss"].to_numpy(float)
        self._columns = {name: self.table[name].to_numpy(float) for name in self.model.columns}

    @property
    def logs(self) -> Any:
        """Which slots are searched in their logarithm: bool [P]."""
        return np.array([slot.parameter.log for slot in self.slots])

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

    def spread(self, values: Floats) -> dict[str, Floats]:
        """Values [S, P] as the law's arguments: [S, 1] for a shared parameter, [S, n] for one a size or run."""
        return {name: values[:, slots] for name, slots in self._index.items()}

    def evaluate(self, arguments: Mapping[str, Floats]) -> Floats:
        """The law at every point: [S, n]."""
        with np.errstate(all="ignore"):
            return np.asarray(self.model.law(*self._columns.values(), **arguments), dtype=float)

    def predict(self, values: Floats) -> Floats:
        """Predicted losses [S, n] for values [S, P]."""
        return np.broadcast_to(self.evaluate(self.spread(values)), (len(values), len(self.loss)))

    def residuals(self, theta: Floats) -> Floats:
        """The objective's residuals [S, n]."""
        return self.objective.residuals(self.predict(self.values(theta)), self.loss)

    def total(self, residuals: Floats, weights: Floats | float = 1.0) -> Floats:
        """The objective [S]: the weighted sum over points; infinite where the law gives no loss."""
        return (self.objective.losses(residuals) * weights).sum(-1)

    def jacobian(self, theta: Floats) -> Floats:
        """Derivatives of the residuals by theta: [S, P, n].

        A law is elementwise, so one difference gives a parameter's derivative at every point, whichever slot it is of.
        """
        out = np.zeros((len(theta), len(self.slots), len(self.loss)))
        points = np.arange(len(self.loss))
        step = STEP * np.maximum(1.0, np.abs(theta))
        above, below = np.minimum(theta + step, self.upper), np.maximum(theta - step, self.lower)
        here = self.spread(self.values(theta))
        high, low = self.spread(self.values(above)), self.spread(self.values(below))
        width = self.spread(above - below)
        for name, slots in self._index.items():
            up = self.objective.residuals(self.evaluate({**here, name: high[name]}), self.loss)
            down = self.objective.residuals(self.evaluate({**here, name: low[name]}), self.loss)
            with np.errstate(all="ignore"):
                slope = (up - down) / width[name]
            out[:, slots, points] = np.where(np.isfinite(slope), slope, 0.0)
        return out

    def curve(self, values: Floats, columns: Mapping[str, Floats], keys: Mapping[str, str]) -> Floats:
        """Predicted losses [S, m] at new points of one size and run: columns [m] each, keys {"size": "135M"}."""
        names = [slot.name for slot in self.slots]
        arguments: dict[str, Floats] = {}
        for parameter in self.model.parameters:
            slot = names.index(Slot(parameter, keys[parameter.per] if parameter.per else "").name)
            arguments[parameter.name] = values[:, [slot]]
        with np.errstate(all="ignore"):
            return np.asarray(self.model.law(*(columns[name] for name in self.model.columns), **arguments))


def _searched(parameter: Parameter, bound: float, side: int) -> float:
    if not parameter.log:
        return bound
    if bound in (0.0, inf):
        return log(parameter.guess) + side * LOG_REACH
    return log(bound)

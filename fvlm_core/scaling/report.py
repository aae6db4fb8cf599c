"""What a fit found: numbers with their uncertainties, what is withheld and why, and what to know beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd
from attrs import asdict, frozen

from fvlm_core.interfaces import FitModel, LRCurve
from fvlm_core.scaling.objective import Floats, Objective
from fvlm_core.scaling.points import Points
from fvlm_core.scaling.problem import Problem
from fvlm_core.scaling.remarks import Remark
from fvlm_core.scaling.solver import Solution
from fvlm_core.scaling.uncertainty import LEVEL, SEED, Bootstrap, Interval

Status = Literal["ok", "reduced", "refused"]


@frozen
class Estimate:
    """One number found.

    name: `E`, or `floor[135M]`. stderr: from the Jacobian, for independent residuals; None where there is none.
    interval: 95 %, from the bootstrap. bound: "min" or "max" when the value rests on that bound.
    """

    name: str
    value: float
    stderr: float | None
    interval: Interval
    bound: str | None


@frozen(eq=False)
class Fit:
    """A law fitted to one set of points.

    group: the size (or run) the points are of; "" for all points. rmse: of the loss, in nats a token.
    lag1: autocorrelation of the residuals of neighbouring evaluations. `solution.parameters` are lmfit's, with values,
    bounds and standard errors: `lmfit.fit_report(fit.solution.parameters)` prints them.
    """

    group: str
    problem: Problem
    solution: Solution
    stderr: tuple[float | None, ...]
    drawn: Bootstrap
    lag1: float
    remarks: tuple[Remark, ...]

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """All numbers, in the law's order. A fit of one group does not repeat it in every name."""
        slots = self.problem.slots
        names = [slot.parameter.name if self.group else slot.name for slot in slots]
        values = [float(value) for value in self.solution.values]
        rows = zip(names, values, self.stderr, self.drawn.intervals, self.solution.bounds, strict=True)
        return tuple(Estimate(*row) for row in rows)

    @property
    def values(self) -> dict[str, float]:
        """The numbers by name."""
        return {estimate.name: estimate.value for estimate in self.estimates}

    @property
    def n_points(self) -> int:
        """Points fitted."""
        return len(self.problem.loss)

    @property
    def rmse(self) -> float:
        """Root of the mean squared residual of the loss."""
        apart = self.problem.predict(self.solution.values[None])[0] - self.problem.loss
        return float(np.sqrt(np.mean(apart * apart)))

    @property
    def schedule(self) -> str:
        """The learning-rate schedules of the points: "cosine", "constant+cosine", "" when not known."""
        return "+".join(sorted(set(self.problem.table["schedule"]) - {""}))

    def predict(
        self, table: pd.DataFrame, curves: Mapping[str, LRCurve] | None = None
    ) -> tuple[Floats, Floats, Floats]:
        """The law at m other points: the predicted loss and its 95 % band, [m] each.

        table: the columns that the law reads and the labels of its groups ("size"), which the fit must have seen.
        """
        there = self.problem.at(table, curves)
        best = there.predict(self.solution.values[None])[0]
        if not len(self.drawn.values):
            return best, np.full_like(best, np.nan), np.full_like(best, np.nan)
        drawn = there.predict(self.drawn.values)
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        return best, low, high

    def to_json(self) -> dict[str, Any]:
        """Everything but the draws; finite numbers only, null for what is unbounded or not there."""
        return {
            "law": self.problem.model.name,
            "form": self.problem.model.form,
            "group": self.group,
            "parameters": {
                found.name: {
                    "value": found.value,
                    "stderr": found.stderr,
                    "interval": [found.interval.low, found.interval.high],
                    "bound": found.bound,
                }
                for found in self.estimates
            },
            "objective": self.solution.total,
            "n_points": self.n_points,
            "rmse": self.rmse,
            "lr_schedule": self.schedule,
            "gradient": self.solution.gradient,
            "converged": self.solution.converged,
            "lag1": self.lag1,
            "bootstrap": {
                "scheme": self.drawn.scheme,
                "draws": len(self.drawn.values),
                "lost": self.drawn.lost,
                "seed": SEED,
            },
            "warnings": [asdict(remark) for remark in self.remarks],
        }


@frozen(eq=False)
class FitReport:
    """A law asked of points, and what they could answer.

    status: "ok"; "reduced" when only a part, or the law's reduced form, could be fitted; "refused" when nothing could.
    reasons: why not all of it, in plain words. withheld: parameters of the law that the points cannot tell.
    fits: of the law itself, or of its reduced form. remarks: about the points as a whole.
    """

    model: FitModel
    objective: Objective
    points: Points
    status: Status
    fits: tuple[Fit, ...]
    reasons: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()

    @property
    def warnings(self) -> list[str]:
        """All remarks as lines; those of single groups begin with the names of the groups they hold for."""
        groups: dict[str, list[str]] = {remark.text: [] for remark in self.remarks}
        for fit in self.fits:
            for remark in fit.remarks:
                groups.setdefault(remark.text, []).append(fit.group)
        return [f"{', '.join(names)}: {text}" if any(names) else text for text, names in groups.items()]

    def to_json(self) -> dict[str, Any]:
        """The full record, for `fvlm fit --json`."""
        return {
            "model": self.model.name,
            "form": self.model.form,
            "status": self.status,
            "reasons": list(self.reasons),
            "withheld": list(self.withheld),
            "objective": {
                "name": self.objective.name,
                "delta": self.objective.delta,
                "sum": sum(fit.solution.total for fit in self.fits) if self.fits else None,
            },
            "n_points": len(self.points.table),
            "fits": [fit.to_json() for fit in self.fits],
            "warnings": [asdict(remark) for remark in self.remarks],
            "policy": {"points": "all", "interval": LEVEL},
            "data": {
                "source": self.points.source,
                "runs": sorted(set(self.points.table["run"]) - {""}),
                "sizes": self.points.sizes,
                "remarks": list(self.points.remarks),
            },
        }

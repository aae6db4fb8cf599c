"""What a fit found: numbers with their uncertainties, what is withheld and why, and what to know beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import pandas as pd
from attrs import asdict, field, frozen

from fvlm_core.interfaces.fit import FitModel, LRCurve
from fvlm_core.scaling.fit.diagnostics import Remark
from fvlm_core.scaling.fit.model_selection import Criteria
from fvlm_core.scaling.fit.objective import FitObjective, Floats
from fvlm_core.scaling.fit.options import DEFAULT, Options
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.profile import ParameterProfile, profile
from fvlm_core.scaling.fit.relation import FittedRelation
from fvlm_core.scaling.fit.residual_checks import CurveJump
from fvlm_core.scaling.fit.sensitivity import OtherFit
from fvlm_core.scaling.fit.solver import Solution
from fvlm_core.scaling.fit.uncertainty import LEVEL, SEED, Bootstrap, Interval
from fvlm_core.scaling.points.points import Points

Status = Literal["ok", "reduced", "refused"]


@frozen
class Estimate:
    """One number found.

    name: `E`, or `floor[135M]`. stderr: from the Jacobian, for independent residuals; None where there is none.
    interval: 95 %, from the bootstrap; it may say why there is none. bound: "min" or "max" when the value rests on that
    bound. given: how the user fixed or tied it; "" for what was fitted.
    """

    name: str
    value: float
    stderr: float | None
    interval: Interval
    bound: str | None
    given: str = ""


@frozen(eq=False)
class FittedLaw:
    """A law fitted to one set of points.

    group: the size (or run) the points are of; "" for all points. rmse: of the loss, in nats a token.
    lag1: autocorrelation of the residuals of neighbouring evaluations. given: parameters that were not fitted, by name,
    with their value and how it was given. sensitivity: what other ways to fit give; None when there were too many
    points to try. left_out: points of the group outside the window that the law is fitted to, None for a law without
    windows; spread: how much of ln of its minimum the choice of the window leaves open. As lmfit's own:
    `lmfit_result.lmfit_result`.
    """

    group: str
    problem: FitProblem
    solution: Solution
    stderr: tuple[float | None, ...]
    drawn: Bootstrap
    lag1: float
    remarks: tuple[Remark, ...]
    criteria: Criteria
    jumps: tuple[CurveJump, ...] = ()
    sensitivity: tuple[OtherFit, ...] | None = ()
    given: tuple[Estimate, ...] = ()
    left_out: pd.DataFrame | None = None
    spread: float = 0.0

    @property
    def estimates(self) -> tuple[Estimate, ...]:
        """All numbers, in the law's order, then those that were given. One group is not repeated in every name."""
        slots = self.problem.slots
        names = [slot.parameter.name if self.group else slot.name for slot in slots]
        values = [float(value) for value in self.solution.values]
        rows = zip(names, values, self.stderr, self.drawn.intervals, self.solution.bounds, strict=True)
        return (*(Estimate(*row) for row in rows), *self.given)

    def profiles(self) -> tuple[ParameterProfile, ...]:
        """The profile of every slot that has an interval and rests on no bound; computed at each call (about 20 ms a
        slot)."""
        return tuple(
            profile(self.problem, self.solution, self.drawn, at)
            for at, (bound, found) in enumerate(zip(self.solution.bounds, self.drawn.intervals, strict=True))
            if bound is None and not found.missing
        )

    @property
    def values(self) -> dict[str, float]:
        """The numbers by name."""
        return {estimate.name: estimate.value for estimate in self.estimates}

    def found(self) -> dict[str, Floats]:
        """By parameter, the best value and the draws, as far from it as its own error is: [1 + S]."""
        problem, drawn = self.problem, self.drawn
        spread = self.solution.theta + drawn.scale * (problem.search(drawn.values) - self.solution.theta)
        draws = problem.values(np.clip(spread, problem.lower, problem.upper))
        values = np.concatenate([self.solution.values[None], draws])
        plain = [slot.parameter.name if self.group else slot.name for slot in problem.slots]
        return {name: values[:, at] for at, name in enumerate(plain)}

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
        """The law at m other points: the predicted loss and its 95 % band, [m] each, NaN where there is none.

        table: the columns that the law reads and the labels of its groups ("size"), which the fit must have seen.
        """
        there = self.problem.at(table, curves)
        best = there.predict(self.solution.values[None])[0]
        if self.drawn.missing:
            return best, np.full_like(best, np.nan), np.full_like(best, np.nan)
        # A positive target's band is one of its logarithm.
        low, high = self.drawn.band(there.scaled(best), there.scaled(there.predict(self.drawn.values)))
        told = np.where(self.drawn.hidden(there.jacobian(self.solution.theta[None])[0].T), np.nan, 1.0)
        return best, told * there.unscaled(low), told * there.unscaled(high)

    def _window(self, left_out: pd.DataFrame) -> dict[str, Any]:
        """The ends of the window, in the first column that the law reads."""
        column = self.problem.model.columns[0]
        inside = self.problem.table[column]
        return {
            "column": column,
            "low": float(inside.min()),
            "high": float(inside.max()),
            "left_out": sorted(left_out[column].tolist()),
            "spread": self.spread,
        }

    def to_json(self) -> dict[str, Any]:
        """Everything but the draws; finite numbers only, null for what is unbounded or not there. An interval that is
        not there says why (`no_interval`)."""
        return {
            "law": self.problem.model.name,
            "form": self.problem.model.form,
            "group": self.group,
            "parameters": {
                found.name: {
                    "value": found.value,
                    "stderr": found.stderr,
                    "interval": [found.interval.low, found.interval.high],
                    **({"no_interval": found.interval.missing} if found.interval.missing else {}),
                    "bound": found.bound,
                    **({"given": found.given} if found.given else {}),
                }
                for found in self.estimates
            },
            "objective": self.solution.total,
            "n_points": self.n_points,
            **({} if self.left_out is None else {"window": self._window(self.left_out)}),
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
                "between_runs": self.drawn.between_runs,
            },
            "criteria": asdict(self.criteria),
            "jumps": [asdict(jump) for jump in self.jumps],
            "sensitivity": None if self.sensitivity is None else [asdict(line) for line in self.sensitivity],
            "warnings": [asdict(remark) for remark in self.remarks],
        }


def beside_the_floor(points: Points, fits: Sequence[FittedLaw]) -> tuple[str, ...]:
    """The loss that the law leaves to an infinite model, E, beside the least there can be, where the data say it."""
    if points.floor is None or len(fits) != 1 or fits[0].problem.model.target != "loss":
        return ()
    for found in fits[0].estimates:
        low, high = found.interval.low, found.interval.high
        if found.name == "E" and low is not None and high is not None:
            holds = "holds it" if low <= points.floor <= high else "does not hold it"
            return (
                f"the floor of these data is {points.floor:.4g} nats a token; "
                f"E = {found.value:.4g} [{low:.4g}, {high:.4g}] {holds}",
            )
    return ()


@frozen(eq=False)
class FitReport:
    """A law asked of points, and what they could answer.

    status: "ok"; "reduced" when only a part, or the law's reduced form, could be fitted; "refused" when nothing could.
    reasons: why not all of it, in plain words. withheld: parameters of the law that the points cannot tell.
    fits: of the law itself, or of its reduced form. remarks: about the points as a whole. options: how it was asked.
    forced: whether numbers are shown in spite of the reasons. relation: across the groups of the law, where it has one.
    derived: of what follows from it (`Relation.derived`). settings: the law's own, as plain values; {} for the defaults
    of a law asked without any. conclusions: what the law says of its groups together, in words.
    """

    model: FitModel
    objective: FitObjective
    points: Points
    status: Status
    fits: tuple[FittedLaw, ...]
    reasons: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()
    options: Options = DEFAULT
    forced: bool = False
    relation: FittedRelation | None = None
    derived: tuple[FittedRelation, ...] = ()
    settings: Mapping[str, Any] = field(factory=dict[str, Any])
    conclusions: tuple[str, ...] = ()

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
            **({"target": self.model.target} if self.model.target != "loss" else {}),
            **({"settings": dict(self.settings)} if self.settings else {}),
            "status": self.status,
            "reasons": list(self.reasons),
            "withheld": list(self.withheld),
            "forced": self.forced,
            "objective": {
                "name": self.objective.name,
                "delta": self.objective.delta,
                "sum": sum(fit.solution.total for fit in self.fits) if self.fits else None,
            },
            "n_points": len(self.points.table),
            "fits": [fit.to_json() for fit in self.fits],
            "warnings": [asdict(remark) for remark in self.remarks],
            "relation": self.relation.to_json() if self.relation else None,
            **({"derived": [one.to_json() for one in self.derived]} if self.derived else {}),
            **({"conclusions": list(self.conclusions)} if self.conclusions else {}),
            "policy": self.points.policy.to_json(),
            "options": {**self.options.to_json(), "interval": LEVEL, "seed": SEED},
            "versions": versions(),
            "data": {
                "source": self.points.source,
                "fingerprint": self.points.fingerprint(),
                "n": self.points.n_kind,
                "d": self.points.d_kind,
                "runs": sorted(set(self.points.table["run"]) - {""}),
                "sizes": self.points.sizes,
                **({"of": self.points.of} if self.points.of else {}),
                "remarks": list(self.points.remarks),
            },
        }


def versions() -> dict[str, str]:
    """Of everything that decides the numbers."""
    return {name: version(name) for name in ("fvlm", "numpy", "scipy", "pandas", "lmfit")}

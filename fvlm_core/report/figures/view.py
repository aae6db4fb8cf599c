"""A fit report as figures get to see it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from fvlm_core.interfaces.figure import Found, Frontier, Jump, LawFit, LawReport, Profile, Trend, Varied
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.relation import FittedRelation
from fvlm_core.scaling.fit.report import Estimate, FitReport, FittedLaw
from fvlm_core.scaling.points.points import AS_GIVEN, Points

BUDGETS = 25
"""Of a frontier, evenly in ln C from the smallest run's to `BEYOND` times the largest one's."""

BEYOND = 10.0
SIZES_BEYOND = 30.0
"""How far outside the points' N the optimum is looked for."""


def view(report: FitReport) -> LawReport:
    """The read-only view of a report. Profiles and frontiers are computed when a figure asks for them."""
    return LawReport(
        law=report.model,
        status=report.status,
        reasons=report.reasons,
        withheld=report.withheld,
        warnings=tuple(report.warnings),
        points=report.points.table,
        units={**_units(report.points), **{one.name: one.axis for one in report.model.variables}},
        fits=tuple(_fit(fit) for fit in report.fits),
        jumps=tuple(
            dict.fromkeys(
                Jump(jump.run, jump.before, jump.after, jump.size)
                for fit in report.fits
                for jump in fit.jumps
            )
        ),
        sensitivity=_sensitivity(report),
        trend=_trend(report),
        frontier=_frontier(report),
        of=report.points.of,
    )


def _fit(fit: FittedLaw) -> LawFit:
    predicted = fit.problem.predict(fit.solution.values[None])[0]
    slots = fit.problem.slots
    logs = [slot.parameter.log for slot in slots] + [False] * len(fit.estimates)
    return LawFit(
        law=fit.problem.model,
        group=fit.group,
        parameters=tuple(_found(one, log) for one, log in zip(fit.estimates, logs, strict=False)),
        draws=_draws(fit),
        points=fit.problem.table.assign(predicted=predicted, residual=_residual(fit, predicted)),
        lag1=fit.lag1,
        predict=fit.predict,
        profiles=partial(_profiles, fit),
        missing=fit.drawn.missing,
        relative=fit.problem.relative,
        left_out=fit.left_out,
    )


def _residual(fit: FittedLaw, predicted: Floats) -> Floats:
    return fit.problem.loss / predicted - 1 if fit.problem.relative else fit.problem.loss - predicted


def _draws(fit: FittedLaw) -> Floats:
    """The draws as far from the estimate as its own error is: those of small random weights lie closer to it."""
    best = fit.solution.theta
    widths = np.array(fit.drawn.widths or np.ones(len(best)))
    moved = best + fit.drawn.scale * widths * (fit.problem.search(fit.drawn.values) - best)
    return fit.problem.values(np.clip(moved, fit.problem.lower, fit.problem.upper))


def _found(one: Estimate, log: bool) -> Found:
    ends = one.interval
    return Found(one.name, one.value, ends.low, ends.high, log, one.bound is not None, ends.missing)


def _profiles(fit: FittedLaw) -> Sequence[Profile]:
    """Those that could be calibrated, by the names of `LawFit.parameters`."""
    short = {slot.name: one.name for slot, one in zip(fit.problem.slots, fit.estimates, strict=False)}
    return [
        Profile(short[one.name], one.values, one.rise, one.interval.low, one.interval.high)
        for one in fit.profiles()
        if np.isfinite(one.rise).all()
    ]


def _sensitivity(report: FitReport) -> tuple[Varied, ...]:
    """The lines of all fits; those of one choice are one line."""
    merged: dict[tuple[str, str], dict[str, float | None]] = {}
    for fit in report.fits:
        for line in fit.sensitivity or ():
            label = f"without {line.label}" if line.kind == "run" else line.label
            merged.setdefault((line.kind, label), {}).update(line.values)
    return tuple(Varied(kind, label, values) for (kind, label), values in merged.items())


def _trend(report: FitReport) -> Trend | None:
    found = report.relation
    column = next((name for name in ("lr", "n") if name in report.model.columns), None)
    if found is None or column is None:
        return None
    return Trend(
        column,
        found.relation.against,
        tuple(group.at for group in found.groups),
        tuple(
            Found(
                group.name,
                group.value,
                group.interval.low,
                group.interval.high,
                log=True,
                missing=group.interval.missing,
            )
            for group in found.groups
        ),
        _exponent(found),
        found.scale,
        found.relation.expected,
        found.reason,
        found.power if found.data_exponent is None else None,
        tuple(
            (one.relation.parameter, exponent)
            for one in report.derived
            if (exponent := _exponent(one)) is not None
        ),
    )


def _exponent(found: FittedRelation) -> Found | None:
    if found.exponent is None:
        return None
    ends = found.interval
    return Found(found.relation.exponent, found.exponent, ends.low, ends.high, missing=ends.missing)


def _frontier(report: FitReport) -> Callable[[], Frontier] | None:
    """For a law of N and D, fitted to all points, whose numbers are believed (or forced), and points with FLOPs."""
    if len(report.fits) != 1 or (report.status != "ok" and not report.forced):
        return None
    model = report.fits[0].problem.model
    known = bool(np.isfinite(report.points.table["compute"]).any())
    if set(model.inputs) != {"n", "d"} or any(p.per for p in model.parameters) or not known:
        return None
    return partial(_optima, report)


def _optima(report: FitReport) -> Frontier:
    from fvlm_core.scaling.predict.cost import cost_of_points
    from fvlm_core.scaling.predict.optimum import optimum

    fit, table = report.fits[0], report.points.table
    found = cost_of_points(report.points)
    assert found is not None
    cost, _ = found
    compute = np.geomspace(table["compute"].min(), BEYOND * table["compute"].max(), BUDGETS)
    low, high = cost.reach
    low = max(low, float(table["n"].min()) / SIZES_BEYOND)
    high = min(high, float(table["n"].max()) * SIZES_BEYOND)
    n, d = np.full((3, BUDGETS), np.nan), np.full((3, BUDGETS), np.nan)
    for at, budget in enumerate(compute):
        best = optimum(fit.problem, fit.solution.values[None], cost, float(budget), low, high)
        if best.edge[0]:
            continue
        drawn = optimum(fit.problem, fit.drawn.values, cost, float(budget), low, high)
        for out, value, draws in ((n, best.n, drawn.n), (d, best.d, drawn.d)):
            out[0, at] = value[0]
            out[1:, at] = np.exp(fit.drawn.band(np.log(value[0]), np.log(draws)))
    return Frontier(compute, n, d)


def _units(points: Points) -> dict[str, str]:
    n = "parameters" if points.n_kind == AS_GIVEN else points.n_kind
    d = "training data, D (in the unit of the file)" if points.d_kind == AS_GIVEN else f"{points.d_kind}, D"
    return {
        "n": f"{n}, N",
        "d": d,
        "compute": "training compute, C (FLOPs)",
        "loss": "validation loss (nats per token)",
        "lr": "learning rate",
        "step": "optimizer steps",
    }

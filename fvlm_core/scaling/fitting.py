"""Fitting a law to points, and refusing what the points cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from attrs import define, field

from fvlm_core.interfaces import FitModel
from fvlm_core.recipes.schema import Fit as FitRequest
from fvlm_core.runs.store import Run
from fvlm_core.scaling import remarks as say
from fvlm_core.scaling.identify import Rank, design_rank, rank_at
from fvlm_core.scaling.objective import Objective, ObjectiveName
from fvlm_core.scaling.points import MEANING, Points, shorten, size_label
from fvlm_core.scaling.problem import Problem
from fvlm_core.scaling.remarks import Remark, join
from fvlm_core.scaling.report import Fit, FitReport, Status
from fvlm_core.scaling.solver import Solution, solve
from fvlm_core.scaling.stored import from_runs
from fvlm_core.scaling.uncertainty import DRAWS, bootstrap, standard_errors
from fvlm_registry import registry


def load_model(name: str, config: Any = None) -> FitModel:
    """The fit component called `name`, built. config: its config object; None: the defaults.

    Raises `LookupFailure` for a name that no plugin offers, listing those there are.
    """
    found = registry()
    component = found.find("fit", name).component
    if config is None:
        config = found.load(component.config)(**component.preset)
    return found.load(component.target)(config)


def fit_runs(runs: Sequence[Run], fits: Sequence[FitRequest], source: str = "runs") -> list[FitReport]:
    """The fits of a recipe (`recipe.fits`), on the runs that are `in_fits`.

    Raises `UsageError` when no run has a point to fit. A fit that the points cannot support is a report, not an error.
    """
    points = from_runs(runs, source)
    return [fit_points(points, load_model(fit.model, fit.config), fit.objective) for fit in fits]


def fit_points(
    points: Points, model: FitModel, objective: ObjectiveName = "log-huber", draws: int = DRAWS
) -> FitReport:
    """Fit a law to points. Deterministic, and independent of the order of the rows.

    draws: bootstrap draws. Raises `UsageError` when the points lack a column that the law reads.
    """
    points.require(model.columns, model.name)
    aim = Objective(objective)
    groups = [("", points.table)]
    if model.split:
        groups = [(str(key), table) for key, table in points.table.groupby(model.split, sort=False)]
    attempts = [_attempt(model, aim, table.reset_index(drop=True), group, draws) for group, table in groups]
    fits = tuple(attempt.fit for attempt in attempts if attempt.fit is not None)
    reasons = [
        f"{attempt.group}: {reason}" if attempt.group else reason
        for attempt in attempts
        for reason in attempt.reasons
    ]
    withheld = tuple(dict.fromkeys(name for attempt in attempts for name in attempt.withheld))
    status: Status = "ok" if not reasons else "reduced" if fits else "refused"
    about = [] if model.split else say.of_points(points.table)
    return FitReport(model, aim, points, status, fits, tuple(reasons), withheld, tuple(about))


@define
class _Attempt:
    """A law tried on one group of points."""

    group: str
    fit: Fit | None = None
    reasons: list[str] = field(factory=list[str])
    withheld: list[str] = field(factory=list[str])


def _attempt(model: FitModel, aim: Objective, table: pd.DataFrame, group: str, draws: int) -> _Attempt:
    problem = Problem(model, aim, table)
    attempt = _Attempt(group)
    solution: Solution | None = None
    design = design_rank(problem)
    if not design.full:
        attempt.reasons.append(_not_identifiable(problem, design))
    if design.full or model.reduced is not None:
        solution = solve(problem)
    if solution is not None and model.reduced is not None:
        attempt.reasons += say.at_bounds(problem, solution)
        if design.full and not attempt.reasons:
            here = _rank(problem, solution)
            attempt.reasons += [] if here.full else [_not_identifiable(problem, here)]
    if not attempt.reasons:
        assert solution is not None
        attempt.fit = _fit(problem, solution, group, draws)
        return attempt
    shared: set[str] = set()
    if model.reduced is not None:
        instead = _attempt(model.reduced, aim, table, group, draws)
        attempt.fit = instead.fit
        attempt.reasons += instead.reasons
        shared = {parameter.name for parameter in model.reduced.parameters} if instead.fit else set()
    names = [slot.parameter.name if group else slot.name for slot in problem.slots]
    attempt.withheld = [name for name in names if name not in shared]
    return attempt


def _fit(problem: Problem, solution: Solution, group: str, draws: int) -> Fit:
    apart = problem.residuals(solution.theta[None])[0]
    autocorrelation, pairs = say.lag1(problem.table, apart)
    here = _rank(problem, solution)
    # A term that vanished leaves its scale free as well: nothing was learnt of a in a*D^-b when b could be anything.
    loose = {*here.undetermined, *(at for at, side in enumerate(solution.bounds) if side and not here.full)}
    drawn = bootstrap(problem, solution, sorted(loose), autocorrelation, draws)
    found = say.of_points(problem.table) if group else []
    found += say.of_solution(problem, solution)
    found += _unchecked(problem)
    if not here.full:
        found.append(Remark("not-identifiable", _not_identifiable(problem, here)))
    found += say.of_spread(problem, drawn, autocorrelation, pairs)
    errors = standard_errors(problem, solution)
    for parameter, error in zip(solution.parameters.values(), errors, strict=True):
        parameter.stderr = error
    return Fit(group, problem, solution, errors, drawn, autocorrelation, tuple(found))


def _rank(problem: Problem, solution: Solution) -> Rank:
    free = [at for at, bound in enumerate(solution.bounds) if bound is None]
    return rank_at(problem, solution.theta, free)


def _unchecked(problem: Problem) -> list[Remark]:
    """Whether the form in N rests on every single size."""
    sizes = problem.table["n"].nunique()
    if "n" not in problem.model.columns or sizes > len(problem.slots):
        return []
    fewer = Problem(
        problem.model, problem.objective, problem.table[problem.table["n"] < problem.table["n"].max()]
    )
    found = design_rank(fewer)
    if found.full:
        return []
    names = join([problem.slots[at].name for at in found.undetermined])
    text = f"{names} take all {sizes} sizes there are: none is left to check the law, and one odd size moves them"
    return [Remark("unchecked", text)]


def _not_identifiable(problem: Problem, found: Rank) -> str:
    """Why, in a sentence or two: which parameters, what the points have, what it would take."""
    slots = [problem.slots[at] for at in found.undetermined]
    names = [slot.parameter.name if problem.model.split else slot.name for slot in slots]
    few: list[str] = []
    for column in problem.model.columns:
        values = np.unique(problem.table[column])
        if len(values) < len(problem.slots):
            shown = ", ".join(size_label(value) if column == "n" else f"{value:g}" for value in values)
            few.append(f"{say.count(len(values), 'value')} of {MEANING[column]} ({shown})")
    have = say.count(len(problem.loss), "point") + (f" with {join(few)}" if few else "")
    several = len(names) > 1
    text = (
        f"{shorten(join(names))} {'are' if several else 'is'} not identifiable from {have}: "
        f"{'they can change together' if several else 'it can change'} and leave every predicted loss as it is "
        f"(the Jacobian has rank {found.rank} of {found.of})"
    )
    return f"{text}. It takes {problem.model.needs}." if problem.model.needs else f"{text}."

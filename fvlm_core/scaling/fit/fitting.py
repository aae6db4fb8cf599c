"""Fitting a law to points, and refusing what the points cannot tell."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
from attrs import define, evolve, field

from fvlm_core.interfaces.fit import FitModel, Window
from fvlm_core.recipes.resolved import plain
from fvlm_core.recipes.schema import FitSettings as FitRequest
from fvlm_core.runs.store import StoredRun
from fvlm_core.scaling.fit import diagnostics as say
from fvlm_core.scaling.fit import residual_checks as evidence
from fvlm_core.scaling.fit.constraints import completion, freed
from fvlm_core.scaling.fit.diagnostics import Remark, join
from fvlm_core.scaling.fit.identifiability import Rank, design_rank, rank_at
from fvlm_core.scaling.fit.leverage import nothing_left
from fvlm_core.scaling.fit.model_selection import criteria
from fvlm_core.scaling.fit.objective import PLAIN, FitObjective, ObjectiveName
from fvlm_core.scaling.fit.options import DEFAULT, Options
from fvlm_core.scaling.fit.preparation import prepared
from fvlm_core.scaling.fit.problem import FitProblem, group_label, relative
from fvlm_core.scaling.fit.relation import relate
from fvlm_core.scaling.fit.report import Estimate, FitReport, FittedLaw, Status, beside_the_floor
from fvlm_core.scaling.fit.sensitivity import OtherFit, lines
from fvlm_core.scaling.fit.shortage import not_identifiable
from fvlm_core.scaling.fit.solver import Solution, solve
from fvlm_core.scaling.fit.uncertainty import (
    DRAWS,
    Bootstrap,
    Interval,
    bootstrap,
    bootstrap_derived,
    standard_errors,
    vague,
    without,
)
from fvlm_core.scaling.fit.windowed import windowed, windows_of
from fvlm_core.scaling.points.points import Points
from fvlm_core.scaling.points.points_from_runs import from_runs
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


def fit_runs(runs: Sequence[StoredRun], fits: Sequence[FitRequest], source: str = "runs") -> list[FitReport]:
    """The fits of a recipe (`recipe.fits`), each on those of its runs that are `in_fits` and not held out.

    Raises `UsageError` when no run has a point to fit. A fit that the points cannot support is a report, not an error.
    """
    laws = [load_model(fit.model, fit.config) for fit in fits]
    return [
        evolve(
            fit_points(points, law, fit.objective),
            settings={} if fit.config is None else plain(fit.config),
        )
        for fit, law, points in zip(fits, laws, _points_of(runs, fits, laws, source), strict=True)
    ]


def _points_of(
    runs: Sequence[StoredRun], fits: Sequence[FitRequest], laws: Sequence[FitModel], source: str
) -> list[Points]:
    """The points of each fit; fits of the same runs share theirs."""
    read: dict[tuple[str | None, str | None], Points] = {}
    for pattern, out in dict.fromkeys((fit.runs, fit.holdout) for fit in fits):
        chosen = [run for run in runs if not _named(run, out) and (pattern is None or _named(run, pattern))]
        said = source if pattern is None else f"{source}, runs {pattern}"
        read[pattern, out] = evolve(from_runs(chosen, said, laws=laws), of=pattern or "")
    return [read[fit.runs, fit.holdout] for fit in fits]


def _named(run: StoredRun, pattern: str | None) -> bool:
    return pattern is not None and fnmatchcase(run.id, pattern)


def fit_points(
    points: Points,
    model: FitModel,
    objective: ObjectiveName | FitObjective = "log-huber",
    draws: int = DRAWS,
    options: Options = DEFAULT,
) -> FitReport:
    """Fit a law to points. Deterministic, and independent of the order of the rows.

    draws: bootstrap draws. Raises `UsageError` when the points lack what the law reads.
    """
    aim = objective if isinstance(objective, FitObjective) else FitObjective(objective)
    points = prepared(points, model)
    asked = options.constraints.apply(model)
    said: list[Remark] = []
    if (
        aim.logarithmic
        and model.derive is None
        and not relative(model, points.table[model.target].to_numpy(float))
    ):
        said.append(_not_logarithmic(model, points, aim))
        aim = PLAIN
    if model.output.rising:
        said.append(Remark("rising", f"{model.output.words}, rises: higher is better"))
    groups: list[tuple[str, pd.DataFrame]] = [("", points.table)]
    if model.split:
        groups = [
            (group_label(key), rows)
            for key, rows in points.table.groupby(model.split, sort=False, observed=True)
        ]
        if model.split == "budget":
            groups.sort(key=lambda group: float(group[0]))
    asking = _Asking(points, aim, draws, options)
    tables = [rows.reset_index(drop=True) for _, rows in groups]
    attempts = [
        asking.attempt(asked, table, group, window)
        for (group, _), table, window in zip(groups, tables, windows_of(model, tables), strict=True)
    ]
    fits = tuple(attempt.fit for attempt in attempts if attempt.fit is not None)
    reasons = [
        f"{attempt.group}: {reason}" if attempt.group else reason
        for attempt in attempts
        for reason in attempt.reasons
    ]
    withheld = tuple(dict.fromkeys(name for attempt in attempts for name in attempt.withheld))
    status: Status = "ok" if not reasons else "reduced" if any(a.believed for a in attempts) else "refused"
    about = (*said, *(() if model.split or model.features else say.of_points(points.table)))
    relation, *derived = relate(model.relation, fits) if model.relation else [None]
    concluded: tuple[str, ...] = ()
    if model.concludes is not None and fits:
        concluded = tuple(model.concludes({fit.group: fit.found() for fit in fits}))
    concluded += beside_the_floor(points, fits)
    return FitReport(
        asked,
        aim,
        points,
        status,
        fits,
        tuple(reasons),
        withheld,
        about,
        options,
        options.force,
        relation,
        tuple(one for one in derived if one is not None),
        conclusions=concluded,
    )


def _not_logarithmic(model: FitModel, points: Points, aim: FitObjective) -> Remark:
    """Why residuals of the logarithm cannot be used, and what is."""
    below = int((points.table[model.target] <= 0).sum())
    why = f"{below} of {len(points.table)} are not above 0" if below else "it may be 0 or below"
    return Remark(
        "plain-objective",
        f"the objective is {PLAIN}, squared residuals, instead of {aim}: {model.output.words}, has no logarithm "
        f"({why})",
    )


@define
class _Attempt:
    """A law tried on one group of points. believed: whether some numbers are shown without being forced."""

    group: str
    fit: FittedLaw | None = None
    reasons: list[str] = field(factory=list[str])
    withheld: list[str] = field(factory=list[str])
    believed: bool = True


@define
class _Asking:
    """What is the same for all groups of one fit."""

    points: Points
    aim: FitObjective
    draws: int
    options: Options

    def attempt(
        self, model: FitModel, whole: pd.DataFrame, group: str, window: Window | None = None
    ) -> _Attempt:
        """Fit the law to (the window of) a group, or its reduced form, or say why not."""
        attempt = _Attempt(group)
        table = whole if window is None else whole[window.inside].reset_index(drop=True)
        problem = self.problem(model, table)
        design = design_rank(problem)
        if not design.full:
            attempt.reasons.append(not_identifiable(problem, design))
        judged = (
            not model.split
        )  # a law of single groups is warned about, and withheld only where it has no answer
        solution: Solution | None = None
        fit: FittedLaw | None = None
        if design.full or self.options.force or (judged and model.reduced is not None):
            solution = solve(problem)
        if solution is not None and judged:
            attempt.reasons += say.at_bounds(problem, solution)
            here = _rank(problem, solution)
            if design.full and not attempt.reasons and not here.full:
                attempt.reasons.append(not_identifiable(problem, here))
        if solution is not None and (design.full or self.options.force):
            fit = windowed(self._fit(model, problem, solution, table, group), whole, window)
            # What is wrong with runs is a warning until sizes, or whatever else the law declares, are compared.
            if judged and ("n" in model.inputs or any(one.name in model.inputs for one in model.variables)):
                attempt.reasons += _reasons(fit, self.points.table)
            if model.checks is not None:
                attempt.reasons += model.checks(fit.values, problem.table)
        if fit is not None and (self.options.force or not attempt.reasons):
            attempt.fit, attempt.believed = fit, not attempt.reasons
            return attempt  # forced numbers are shown; the status and the reasons stay
        self._reduce(model, problem, table, attempt, explained=fit is not None)
        return attempt

    def problem(self, model: FitModel, table: pd.DataFrame) -> FitProblem:
        """A law bound to (a group of) the points."""
        if model.derive is not None:
            table = model.derive(table)
        return FitProblem(freed(model), self.aim, table, self.points.curves, self.options.offsets)

    def _reduce(
        self, model: FitModel, problem: FitProblem, table: pd.DataFrame, attempt: _Attempt, explained: bool
    ) -> None:
        """Show what the reduced law finds instead, and withhold the rest. explained: the reasons are complete."""
        shared: set[str] = set()
        if model.reduced is not None:
            instead = self._instead(model.reduced, table, attempt)
            attempt.fit = instead
            if instead is not None:
                shared = {parameter.name for parameter in model.reduced.parameters}
                if (
                    not explained
                ):  # what the residuals of the reduced law say of the runs holds for the law as well
                    attempt.reasons += _reasons(instead, self.points.table)
        attempt.believed = attempt.fit is not None
        names = [slot.parameter.name if attempt.group else slot.name for slot in problem.slots]
        attempt.withheld = [name for name in names if name not in shared]

    def _instead(self, model: FitModel, table: pd.DataFrame, attempt: _Attempt) -> FittedLaw | None:
        problem = self.problem(model, table)
        design = design_rank(problem)
        if not design.full:
            attempt.reasons.append(not_identifiable(problem, design))
            return None
        solution = solve(problem)
        bounds = say.at_bounds(problem, solution)
        attempt.reasons += bounds
        return None if bounds else self._fit(model, problem, solution, table, attempt.group)

    def _fit(
        self, model: FitModel, problem: FitProblem, solution: Solution, table: pd.DataFrame, group: str
    ) -> FittedLaw:
        apart = problem.residuals(solution.theta[None])[0]
        autocorrelation, pairs = say.lag1(problem.table, apart)
        here = _rank(problem, solution)
        # A term that vanished leaves its scale free too: nothing was learnt of a in a*D^-b when b could be anything.
        loose = {
            *here.undetermined,
            *(at for at, side in enumerate(solution.bounds) if side and not here.full),
        }
        errors = standard_errors(problem, solution)
        loose |= {*vague(problem, solution, errors)}
        nothing = nothing_left(problem, solution, here.rank)
        if nothing:
            autocorrelation, drawn = 0.0, without(problem, nothing)
        else:
            drawn = self._drawn(model, problem, solution, table, sorted(loose), autocorrelation)
        found = say.of_points(problem.table) if group and not model.features else []
        found += say.of_solution(problem, solution)
        found += _unchecked(problem)
        if not here.full:
            found.append(Remark("not-identifiable", not_identifiable(problem, here)))
        found += say.of_spread(problem, drawn, autocorrelation, pairs)
        log_apart = evidence.residuals(problem, solution)
        changes: tuple[evidence.CurveJump, ...] = ()
        tried: tuple[OtherFit, ...] | None = ()
        if not model.features:  # a law that reads schedules explains jumps and differences between runs
            changes = evidence.jumps(problem.table, log_apart)
            found += evidence.of_jumps(changes)
            found += evidence.disagreements(problem.table, log_apart)
            if self.options.sensitivity and model.derive is None:
                tried = lines(problem, solution, autocorrelation)
                found += evidence.drift(problem, solution, tried) if not nothing else []
        errors = tuple(
            None if interval.missing else error
            for error, interval in zip(errors, drawn.intervals, strict=True)
        )
        scores = criteria(problem, solution, autocorrelation, told=not nothing)
        given = _given(model, problem, solution, drawn)
        return FittedLaw(
            group,
            problem,
            solution,
            errors,
            drawn,
            autocorrelation,
            tuple(found),
            scores,
            changes,
            tried,
            given,
        )

    def _drawn(
        self,
        model: FitModel,
        problem: FitProblem,
        solution: Solution,
        table: pd.DataFrame,
        loose: list[int],
        autocorrelation: float,
    ) -> Bootstrap:
        scheme, cluster = self.options.bootstrap, self.options.cluster
        if model.derive is None:
            return bootstrap(problem, solution, loose, autocorrelation, self.draws, scheme, cluster)
        return bootstrap_derived(
            problem, solution, table, lambda part: self.problem(model, part), scheme, cluster, self.draws
        )


def _reasons(fit: FittedLaw, table: pd.DataFrame) -> list[str]:
    """The remarks of a fit that withhold a law of all points."""
    reasons = [remark.text for remark in fit.remarks if remark.code in say.WITHHOLDING]
    if not fit.drawn.between_runs:
        reasons += [remark.text for remark in fit.remarks if remark.code == "runs-disagree"]
    if "n" in fit.problem.model.inputs or any(slot.key for slot in fit.problem.slots):
        reasons += [remark.text for remark in say.of_points(table) if remark.code == "schedules-differ"]
    return reasons


def _given(
    model: FitModel, problem: FitProblem, solution: Solution, drawn: Bootstrap
) -> tuple[Estimate, ...]:
    """The parameters that were fixed or tied; not those tied to one that has several values, and so has several too."""
    several_values = not problem.model.split and any(slot.parameter.per for slot in problem.slots)
    out: list[Estimate] = []
    for parameter in model.parameters:
        value = parameter.guess
        interval = Interval(None, None, "it is given")
        if parameter.expr and not several_values:
            complete = completion(model)
            names = [say.slot_name(problem, slot) for slot in problem.slots]
            found = complete(
                {name: np.array([[one]]) for name, one in zip(names, solution.values, strict=True)}
            )
            value = float(np.asarray(found[parameter.name]).ravel()[0])
            several = complete({name: drawn.values[:, [at]] for at, name in enumerate(names)})
            interval = drawn.interval(value, np.asarray(several[parameter.name])[:, 0])
        elif parameter.expr or parameter.vary:
            continue
        out.append(Estimate(parameter.name, value, None, interval, None, parameter.expr or f"{value:g}"))
    return tuple(out)


def _rank(problem: FitProblem, solution: Solution) -> Rank:
    free = [at for at, bound in enumerate(solution.bounds) if bound is None]
    return rank_at(problem, solution.theta, free)


def _unchecked(problem: FitProblem) -> list[Remark]:
    """Whether the form in N rests on every single size."""
    sizes = problem.table["n"].nunique()
    if "n" not in problem.model.columns or sizes > len(problem.slots):
        return []
    fewer = FitProblem(
        problem.model,
        problem.objective,
        problem.table[problem.table["n"] < problem.table["n"].max()].reset_index(drop=True),
        problem.curves,
    )
    if not len(fewer.table):
        return []
    found = design_rank(fewer)
    if found.full:
        return []
    loose = [say.slot_name(problem, problem.slots[at]) for at in found.undetermined]
    take, them = ("takes", "it") if len(loose) == 1 else ("take", "them")
    text = (
        f"{join(loose)} {take} all {sizes} sizes there are: none is left to check the law, and one odd size moves "
        f"{them}"
    )
    return [Remark("unchecked", text)]

"""What is asked of a fitted law, and what the points can answer: the gate of predictions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from attrs import asdict, evolve, frozen

from fvlm_core.interfaces.fit import FitModel, LRCurve
from fvlm_core.scaling.fit.noise import Noise
from fvlm_core.scaling.fit.problem import group_label
from fvlm_core.scaling.fit.report import FitReport, FittedLaw, Status
from fvlm_core.scaling.fit.uncertainty import LEVEL
from fvlm_core.scaling.points.points import MEANING, NUMBERS, size_label
from fvlm_core.scaling.predict.cost import SAME_SIZE, Cost
from fvlm_core.scaling.predict.prediction import Best, Prediction, Predictor
from fvlm_core.scaling.predict.question import Asked, At
from fvlm_core.scaling.predict.reach import FARTHEST, Excess, beyond, beyond_others
from fvlm_core.scaling.predict.roll_out import factor_beyond
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import shorten
from fvlm_core.utils.parse_number import parse_count
from fvlm_registry.nearest import did_you_mean

NO_COST = (
    "a budget needs the cost of a run, and these points do not hold their FLOPs: give a column C, recipes whose sizes "
    "are planned (--recipe FILE), or, for text, --cost 6ND"
)


@frozen(eq=False)
class Answer:
    """status and reasons: as of `FitReport`; "refused" when no number is given. prediction: at one N and D. best: of a
    budget, over all N. sizes: of a budget, those that exist. parts: what the intervals of a new run hold."""

    status: Status
    asked: Asked
    report: FitReport
    cost: Cost | None
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    prediction: Prediction | None = None
    best: Best | None = None
    sizes: tuple[Prediction, ...] = ()
    noise: Noise | None = None
    parts: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values; null for what is withheld or not known."""
        noise = None
        if self.noise is not None:
            noise = {key: _finite(value) for key, value in asdict(self.noise).items()}
        return {
            "status": self.status,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
            "asked": {"N": self.asked.n, "D": self.asked.d, **self.asked.at, "C": self.asked.budget},
            "prediction": self.prediction.to_json() if self.prediction else None,
            "optimum": self.best.to_json() if self.best else None,
            "sizes": [one.to_json() for one in self.sizes],
            "level": LEVEL,
            "interval_holds": list(self.parts),
            "noise": noise,
            "cost": None if self.cost is None else str(self.cost),
            "fit": self.report.to_json(),
        }


def ask(asked: Asked, report: FitReport, cost: Cost | None, remarks: Sequence[str] = ()) -> Answer:
    """Answer from a fit, or say why not.

    report: made with `force` when everything is to be shown, and the reasons with it. remarks: on the cost.
    Raises `UsageError` for a budget where the cost is not known.
    """
    if asked.budget is not None and cost is None:
        raise UsageError(NO_COST)
    warnings = [*remarks, *report.warnings]
    asked = evolve(asked, at=known_labels(report, asked.at))
    label = "" if asked.n is None else _known_label(report.points.table, asked.n)
    fit = _fit_for(report, label, asked)
    if fit is None:
        reasons = (*report.reasons, *_cannot(report, asked))
        return Answer("refused", asked, report, cost, reasons, tuple(warnings))
    predictor = Predictor(fit, cost, asked.at)
    warnings += predictor.remarks
    answer = Answer("ok", asked, report, cost, noise=predictor.noise, parts=predictor.parts)
    if asked.budget is None or asked.n is not None:
        n = np.nan if asked.n is None else asked.n
        d = np.nan if asked.d is None else asked.d
        d = d if asked.budget is None else _affordable(cost, n, asked.budget)
        prediction = predictor.at(n, d, label)
        answer = evolve(answer, prediction=prediction)
        if np.isfinite(n):
            warnings += [cost.about(n) if cost else _UNCOUNTED]
        excess = _beyond(fit, n, d, prediction.compute, cost)
    else:
        assert cost is not None
        low, high = _carried(fit, cost)
        best = predictor.best(asked.budget, low, high)
        sizes = [(size.label, size.n) for size in cost.sizes]
        answer = evolve(answer, best=best, sizes=predictor.among(asked.budget, sizes))
        warnings += [_edge(best, low, high, cost), cost.about(best.n)]
        excess = _beyond(fit, best.n, best.d, asked.budget, cost)
        warnings += [
            f"{one.label}: {far}" for one in answer.sizes for far in _beyond(fit, one.n, one.d, None, cost)
        ]
    excess += beyond_others(fit.problem.model, fit.problem.table, asked.at)
    told = answer.prediction or answer.best
    assert told is not None
    excess, foreseen = _foreseen(predictor, predictor.factor(told.n, told.d), excess)
    answer = evolve(answer, parts=(*answer.parts, *foreseen))
    warnings = list(dict.fromkeys(filter(None, warnings)))
    status: Status = "ok" if report.status == "ok" else "reduced"
    if excess and not report.forced:
        reasons = (*report.reasons, *map(str, excess))
        return Answer("refused", asked, report, cost, reasons, tuple(warnings), noise=answer.noise)
    if report.forced and (report.reasons or excess):
        status = "refused"
    return evolve(
        answer, status=status, reasons=(*report.reasons, *map(str, excess)), warnings=tuple(warnings)
    )


def ask_under(curve: LRCurve, report: FitReport, size: str, at: At, remarks: Sequence[str] = ()) -> Answer:
    """The loss at the end of a run with these learning rates, from a fit of a law that reads them. size: by its name or
    its N; "" for the only one. remarks: on the rates. Raises `UsageError` for a size that was not fitted, and a law
    that
    reads no learning rates."""
    model = report.model
    if not model.features or report.model.derive is not None:
        raise UsageError(
            f'"{model.name}" ({model.form}) reads no learning rates: ask laws that do, such as multi-power or tissue'
        )
    last = float(curve.steps[-1])
    at = known_labels(report, at)
    asked = Asked(at={**at, "step": last})
    warnings = tuple(dict.fromkeys([*remarks, *report.warnings]))
    if not report.fits:
        return Answer("refused", asked, report, None, report.reasons, warnings)
    fit = _of_size(report, size)
    predictor = Predictor(fit, None, at)
    prediction = predictor.under(curve, fit.group)
    steps = fit.problem.table["step"].to_numpy(float)
    low, high = float(steps.min()), float(steps.max())
    allowed, outside = min(high / low, FARTHEST["D"]), max(last / high, low / last)
    excess = [Excess("step", last, outside, allowed, low, high)] if outside > allowed else []
    far, foreseen = _foreseen(predictor, factor_beyond(fit.problem, {"step": last}), excess)
    answer = Answer(
        "ok" if report.status == "ok" else "reduced",
        asked,
        report,
        None,
        (*report.reasons, *map(str, far)),
        tuple(dict.fromkeys([*warnings, *predictor.remarks])),
        prediction,
        noise=predictor.noise,
        parts=(*predictor.parts, *foreseen),
    )
    if far and not report.forced:
        return evolve(answer, status="refused", prediction=None, parts=())
    return evolve(answer, status="refused") if report.forced and answer.reasons else answer


def _of_size(report: FitReport, size: str) -> FittedLaw:
    """The fit of a size, by its name or its N. Raises `UsageError`."""
    groups = [fit.group for fit in report.fits]
    label, number = size, parse_count(size) if size else None
    if number is not None and size not in groups:
        label = _known_label(report.points.table, number)
    for fit in report.fits:
        if fit.group == label or (not size and len(groups) == 1) or fit.group == "":
            return fit
    near = did_you_mean(size, groups) if size else ""
    raise UsageError(f"{report.model.name}: say which size with --n{near}; there are {', '.join(groups)}")


def known_size(text: str, table: pd.DataFrame) -> tuple[float, str] | None:
    """N of the points' size of this name, and a remark where the name says another number; None for no such size.

    Raises `UsageError` for a size without one N.
    """
    n = table.loc[(table["size"] == text).to_numpy(), "n"].unique()
    if not len(n):
        return None
    if not (n / n[0] - 1 <= SAME_SIZE).all() or not (n / n[0] - 1 >= -SAME_SIZE).all():  # NaN is neither
        told = ", ".join(f"{one:.6g}" for one in n) if np.isfinite(n).all() else "not known"
        raise UsageError(f'--n {text}: N of the size "{text}" is {told}: give it as a number')
    same = (number := parse_count(text)) is not None and abs(number / n[0] - 1) <= SAME_SIZE
    return float(n[0]), "" if same else f'"{text}" is a size of the points: N = {n[0]:,.0f}'


def refuse_untold(model: FitModel, at: Iterable[str] = ()) -> None:
    """Raise `UsageError` for a law whose loss N, D and the columns said beside them (`at`) cannot tell: one that reads
    the steps of a run, say. Columns that are not said yet are asked for by `check_question`."""
    told = {*at, *(one.name for one in model.variables), *model.labels}
    columns = [name for name in model.inputs if name in NUMBERS and name not in ("n", "d", *told)]
    untold = [*columns, *model.reads] if model.features else [*model.reads]
    point = pd.DataFrame({"n": [1.0], "d": [1.0], "loss": 1.0, "size": "", "run": "", "schedule": ""})
    for feature in model.features.values() if not untold else ():
        try:
            feature(point, {})
        except KeyError as error:
            untold.append(str(error.args[0]))
    untold += [f"its {slot.per}" for slot in model.parameters if slot.per not in (None, "size", *told)]
    if untold:
        untold = [*columns, *untold]
        named = ", ".join(MEANING.get(name, name) for name in dict.fromkeys(untold))
        raise UsageError(
            f'"{model.name}" ({model.form}) tells the loss of a point from more than N and D: {named}. A question of '
            f"--n, --d and --budget does not say that. `fvlm fit --model {model.name}` shows what the law finds; ask "
            "laws of N and D, such as joint-chinchilla"
        )


def known_labels(report: FitReport, at: At) -> At:
    """What is asked of, with labels as the points spell them: a number is one label however it is written (8, 8.0).
    Raises `UsageError` for a label that no point has."""
    out = dict(at)
    for column in at.keys() & {*report.model.labels}:
        seen = [group_label(one) for one in report.points.table[column].unique()]
        text = str(at[column])
        number = parse_count(text)
        same = [one for one in seen if number is not None and parse_count(one) == number]
        if text not in seen and not same:
            near = did_you_mean(text, seen) or f"; there are {shorten(', '.join(seen))}"
            raise UsageError(f"--at {column}={text}: no point is of that {column}{near}")
        out[column] = text if text in seen else same[0]
    return out


def _beyond(fit: FittedLaw, n: float, d: float, compute: float | None, cost: Cost | None) -> list[Excess]:
    """Of a law that reads no N, N cannot lie outside the points."""
    of_sizes = "n" in fit.problem.model.columns
    of_data = np.isfinite(d)
    return beyond(fit.problem.table, n if of_sizes else None, d if of_data else None, compute, cost)


def _foreseen(
    predictor: Predictor, factor: float, excess: Sequence[object]
) -> tuple[list[object], list[str]]:
    """What is too far beyond the points where refits to the smaller runs tell how errors grow; and what the interval
    holds of it. excess: what points carry by their span alone, the rule where no refit tells."""
    rolled = predictor.rolled if factor > 1.0 else None
    if rolled is None:
        return [*excess], []
    reach = rolled.reach(factor)
    said = (
        f"what the law gets wrong a factor of {factor:.3g} beyond the points, "
        f"{f'{reach:.2%}' if predictor.fit.problem.relative else f'{reach:.3g}'} to either side ({rolled.steps} refits "
        f"to smaller runs, which foresaw up to a factor of {rolled.farthest:.3g})"
    )
    if excess and factor > rolled.farthest**2:
        far = f"refits to the smaller runs foresaw a factor of {rolled.farthest:.3g}, and carry the square of it"
        return [*excess, far], [said]
    measured = predictor.fit.problem.loss
    if 2 * reach > np.ptp(predictor.fit.problem.scaled(measured)):
        wide = (
            f"so far beyond the points the law says nothing: by what refits to the smaller runs got wrong, it may be "
            f"off "
            f"by more than all that was measured lies apart ({measured.min():.4g} to {measured.max():.4g})"
        )
        return [wide], [said]
    return [], [said]


def _carried(fit: FittedLaw, cost: Cost) -> tuple[float, float]:
    """The N that the points carry and whose cost is known."""
    n = fit.problem.table["n"].to_numpy()
    allowed = min(n.max() / n.min(), FARTHEST["N"])
    low, high = max(n.min() / allowed, cost.reach[0]), min(n.max() * allowed, cost.reach[1])
    if low >= high:
        ends = " to ".join(size_label(end) for end in cost.reach)
        raise UsageError(
            f"the points are of other sizes than those whose cost is known, {ends}: name their recipes"
        )
    return low, high


def _edge(best: Best, low: float, high: float, cost: Cost) -> str:
    if not best.edge:
        return ""
    side, end = ("largest", high) if best.edge > 0 else ("smallest", low)
    known = "whose cost is known" if end in cost.reach else "that the points carry"
    return f"the loss still falls at the {side} N {known}, {size_label(end)}: the optimum is there or beyond"


def _fit_for(report: FitReport, label: str, asked: Asked) -> FittedLaw | None:
    """The fit that can answer: of the whole law; or, at a size (or another group) that was fitted, one with parameters
    of that size."""
    split = report.model.split
    if split is not None and split in asked.at:
        label = str(asked.at[split])
    for fit in report.fits:
        of_sizes = any(slot.parameter.per not in (None, *asked.at) for slot in fit.problem.slots)
        if (not of_sizes and fit.group in ("", label)) or (label and fit.group in ("", label)):
            return fit
    return None


def _known_label(table: pd.DataFrame, n: float) -> str:
    near = table[(table["n"] / n - 1).abs() <= SAME_SIZE]
    return str(near["size"].iloc[0]) if len(near) else ""


def _cannot(report: FitReport, asked: Asked) -> tuple[str, ...]:
    if not report.fits:
        return ()
    split = report.model.split
    if split is not None and split in asked.at:
        return (f"the points of {split} {asked.at[split]} tell too little: no law of theirs was kept",)
    sizes = ", ".join(report.points.sizes)
    what = "the best use of a budget" if asked.n is None else f"N = {size_label(asked.n)}"
    return (f"what the points tell is about their own sizes ({sizes}) and says nothing of {what}",)


def _affordable(cost: Cost | None, n: float, budget: float | None) -> float:
    assert cost is not None
    assert budget is not None
    each = float(cost.flops(n))
    if np.isfinite(each):
        return budget / each
    ends = " to ".join(size_label(end) for end in cost.reach)
    raise UsageError(
        f"the cost of N = {size_label(n)} is not known: {cost} tell it from {ends}. Name recipes with such sizes "
        "(--recipe), or ask with --d"
    )


_UNCOUNTED = "the points do not hold their FLOPs: C is neither told nor checked"


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value

"""The best use of a budget of inference: model size, frames and visual tokens a frame of one request.

Li et al. (2025), arXiv 2411.03312, for size and tokens; Wang et al. (2025), arXiv 2505.18855, for frames beside them. A
law falls with each of the three, so that the best request costs what the budget pays for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from attrs import asdict, evolve, field, frozen

from fvlm_core.interfaces.fit import FitModel, Serving
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.report import FitReport, FittedLaw, Status
from fvlm_core.scaling.points.points import size_label
from fvlm_core.scaling.predict.cost import SAME_SIZE
from fvlm_core.scaling.predict.prediction import Estimated, Predictor, Range
from fvlm_core.scaling.predict.question import At
from fvlm_core.scaling.predict.reach import FARTHEST
from fvlm_core.scaling.predict.serving_cost import Served, ServingCost
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import shorten

LEVELS = 48
"""Numbers of frames, and of visual tokens, tried: all of fewer, else evenly in their logarithm, beside those that were
run."""

BLOCK = 50
"""Draws that are looked at together, to spare memory."""

ROWS = 12
"""Of the table of choices."""

ALIKE = 0.005
"""A choice worse by this part of the loss is near-equal even where the draws tell it apart."""


@frozen
class Budget:
    """FLOPs of one request. rate: FLOPs a second that stand for milliseconds, None where the budget is of FLOPs."""

    flops: float
    rate: float | None = None

    @property
    def milliseconds(self) -> float | None:
        """Of a request, None for a budget of FLOPs."""
        return None if self.rate is None else 1e3 * self.flops / self.rate


@frozen
class Choice:
    """A request within the budget. worse: by what part its loss (of a target that may be negative, by how much) is
    worse than that of the best choice; worse_interval: 95 %, by the same draws. best: the share of draws in which it is
    the best of all that are listed."""

    label: str
    n: float
    frames: int
    tokens: int
    flops: float
    loss: float
    worse: float
    worse_interval: Range | None
    best: float | None


@frozen(eq=False)
class InferenceAnswer:
    """status and reasons: as of `FitReport`. best: the best choice of all, with the 95 % intervals of its size, frames
    and tokens over the law's draws (None without any), and the loss there. near: choices of models that exist, best
    first."""

    status: Status
    report: FitReport
    budget: Budget
    cost: ServingCost
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    best: Choice | None = None
    loss: Estimated | None = None
    intervals: Mapping[str, Range | None] = field(factory=dict[str, "Range | None"])
    near: tuple[Choice, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values; null for what is withheld or not known."""
        best = None
        if self.best is not None and self.loss is not None:
            best = {
                "size": self.best.label or None,
                **{
                    name: {"value": value, "interval": None if ends is None else list(ends)}
                    for (name, ends), value in zip(
                        self.intervals.items(), (self.best.n, self.best.frames, self.best.tokens), strict=True
                    )
                },
                "flops": self.best.flops,
                self.report.model.target: self.loss.to_json(),
            }
        return {
            "status": self.status,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
            "budget": {"flops": self.budget.flops, "milliseconds": self.budget.milliseconds},
            "cost": self.cost.source,
            "best": best,
            "near": [asdict(one) for one in self.near],
            "fit": self.report.to_json(),
        }


def serving_of(model: FitModel) -> Serving:
    """Raises `UsageError` for a law of no requests."""
    if model.serving is None or "n" not in model.columns:
        raise UsageError(
            f'fit "{model.name}" ({model.form}) does not say which of its columns a request costs by: ask laws that '
            "do, such as visual-tokens or video"
        )
    return model.serving


def choose(
    report: FitReport,
    budget: Budget,
    cost: ServingCost,
    d: float | None = None,
    at: At | None = None,
    remarks: Sequence[str] = (),
) -> InferenceAnswer:
    """The request that a budget is best spent on. d: training data of the model, where the law reads it. at: of the
    law's other columns; frames and tokens given there are held. Raises `UsageError` where the budget pays for nothing,
    and for a question that does not say all that the law reads."""
    serving, at = serving_of(report.model), dict(at or {})
    check_complete(report.model, serving, d, at)
    warnings = tuple(dict.fromkeys([*remarks, *report.warnings]))
    answer = InferenceAnswer(report.status, report, budget, cost, report.reasons, warnings)
    fit = next((one for one in report.fits if one.problem.model.name == report.model.name), None)
    if fit is None or len(report.fits) > 1:
        return evolve(answer, status="refused")
    cost, far = _carried(fit, cost)
    tried = _affordable(fit, serving, budget, cost, at)
    table = _Table(fit, serving, tried, np.nan if d is None else d, at)
    losses, drawn = table.losses()
    sign = -1.0 if report.model.output.rising else 1.0
    best = int(np.argmin(sign * losses))
    chosen = np.argmin(sign * drawn, axis=1) if len(drawn) else np.zeros(0, int)
    intervals = {
        name: None
        if not len(drawn)
        else tuple(np.quantile(values[chosen], (0.025, 0.975), method="nearest").tolist())
        for name, values in zip(("N", *table.names), (table.n, table.frames, table.tokens), strict=True)
    }
    one = tried[best]
    predictor = Predictor(fit, None, {**at, **table.given(best)})
    loss = predictor.at(one.n, table.d).loss
    near = _near(table, losses, drawn, sign, best)
    warnings += (*far, *_edges(fit, serving, tried[best], budget, cost, at))
    return evolve(
        answer,
        best=evolve(one, loss=float(table.fit.problem.unscaled(losses[best]))),
        loss=loss,
        intervals=intervals,
        near=near,
        warnings=warnings,
    )


def check_complete(model: FitModel, serving: Serving, d: float | None, at: At) -> None:
    """Raise `UsageError` unless a question says all that the law reads but size, frames and tokens, and no more."""
    told = {"n", "d", serving.tokens, serving.frames, *at}
    missing = [name for name in (*model.columns, *model.labels) if name not in told]
    if "d" in model.columns and d is None:
        raise UsageError(
            f'fit "{model.name}" reads D as well: say --d, the data that the model was trained on'
        )
    if "d" not in model.columns and d is not None:
        raise UsageError(f'fit "{model.name}" reads no D: leave --d out')
    if missing:
        line = ",".join(f"{name}=NUMBER" for name in missing)
        raise UsageError(f'fit "{model.name}" reads {", ".join(missing)}: say it with --at {line}')


def _carried(fit: FittedLaw, cost: ServingCost) -> tuple[ServingCost, list[str]]:
    """The models that the points carry, by the rule of `FARTHEST`, and which they do not. Raises `UsageError` for
    none."""
    n = fit.problem.table["n"].to_numpy(float)
    allowed = min(n.max() / n.min(), FARTHEST["N"])
    ends = (n.min() / allowed * (1 - SAME_SIZE), n.max() * allowed * (1 + SAME_SIZE))
    kept = tuple(one for one in cost.models if ends[0] <= one.n <= ends[1])
    left = [one.label or size_label(one.n) for one in cost.models if one not in kept]
    if not left:
        return cost, []
    why = f"too far from the points, {size_label(n.min())} to {size_label(n.max())}"
    if not kept:
        raise UsageError(f"all models ({shorten(', '.join(left))}) are {why}")
    return evolve(cost, models=kept), [f"left out, {why}: {shorten(', '.join(left))}"]


def _affordable(fit: FittedLaw, serving: Serving, budget: Budget, cost: ServingCost, at: At) -> list[Choice]:
    """For every model and number of frames, the most visual tokens that the budget pays for, and for every number of
    both the largest model between those that exist, all inside what the points have. Raises `UsageError` where it pays
    for nothing."""
    frames = [1] if not serving.frames else _levels(fit.problem.table, serving.frames, at)
    low, high = _range(fit.problem.table, serving.tokens, at)
    out: list[Choice] = []
    for model in cost.models:
        least, most = (low, high) if model.tokens is None else (model.tokens, model.tokens)
        for count in frames:
            tokens = _most(model, count, least, most, budget.flops)
            if tokens:
                spent = model.flops(count, tokens)
                out.append(Choice(model.label, model.n, count, tokens, spent, np.nan, 0.0, None, None))
    if cost.rule is not None and len(cost.models) > 1:
        sizes = [one.n for one in cost.models]
        for count, tokens in product(frames, _levels(fit.problem.table, serving.tokens, at)):
            base = cost.rule(0.0, count, tokens)
            each = cost.rule(1.0, count, tokens) - base
            n = min((budget.flops - base) / each, max(sizes))
            if n >= min(sizes):
                out.append(Choice("", n, count, tokens, base + n * each, np.nan, 0.0, None, None))
    if not out:
        cheapest = min(cost.models, key=lambda one: one.flops(frames[0], one.tokens or low))
        least = cheapest.tokens or low
        raise UsageError(
            f"the budget, {budget.flops:.3g} FLOPs, pays for no request: the cheapest, N = {size_label(cheapest.n)} "
            f"with {frames[0]} x {least} visual tokens, takes {cheapest.flops(frames[0], least):.3g}"
        )
    return out


def _most(model: Served, frames: int, low: int, high: int, budget: float) -> int:
    """The most tokens in [low, high] that the budget pays for; 0 for none. Costs rise with tokens."""
    if model.flops(frames, low) > budget:
        return 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if model.flops(frames, middle) <= budget else (low, middle - 1)
    return low


def _range(table: pd.DataFrame, column: str, at: At) -> tuple[int, int]:
    if column in at:
        held = round(float(at[column]))
        return held, held
    values = table[column].to_numpy(float)
    return max(1, int(np.ceil(values.min()))), max(1, int(values.max()))


def _levels(table: pd.DataFrame, column: str, at: At) -> list[int]:
    low, high = _range(table, column, at)
    run = [] if column in at else [int(value) for value in table[column].unique() if value == int(value)]
    if high - low < LEVELS:
        return [*range(low, high + 1)]
    between = np.geomspace(low, high, LEVELS).round().astype(int).tolist()
    return sorted({*between, *run})


@frozen(eq=False)
class _Table:
    """A law at choices. d: NaN for a law that reads none."""

    fit: FittedLaw
    serving: Serving
    tried: Sequence[Choice]
    d: float
    at: At

    @property
    def n(self) -> Floats:
        return np.array([one.n for one in self.tried])

    @property
    def frames(self) -> Floats:
        return np.array([one.frames for one in self.tried])

    @property
    def tokens(self) -> Floats:
        return np.array([one.tokens for one in self.tried])

    @property
    def names(self) -> tuple[str, str]:
        """Of frames and tokens."""
        return self.serving.frames or "frames", self.serving.tokens

    def given(self, place: int) -> dict[str, float]:
        """Of the law's own columns at one choice."""
        one = self.tried[place]
        frames = {self.serving.frames: float(one.frames)} if self.serving.frames else {}
        return {**frames, self.serving.tokens: float(one.tokens)}

    def losses(self) -> tuple[Floats, Floats]:
        """On the scale of scatter: of the best fit [M], and of the draws [S, M], as far from it as its own error is."""
        problem = self.fit.problem
        table = pd.DataFrame({"n": self.n, "d": self.d, "size": "", "run": "", "schedule": ""})
        own = {self.serving.tokens: self.tokens.astype(float)}
        if self.serving.frames:
            own[self.serving.frames] = self.frames.astype(float)
        there = problem.at(table.assign(**dict(self.at)).assign(**own))
        best = problem.scaled(there.predict(self.fit.solution.values[None])[0])
        values = self.fit.drawn.values
        parts = [there.predict(values[at : at + BLOCK]) for at in range(0, len(values), BLOCK)]
        drawn = problem.scaled(np.concatenate(parts) if parts else np.zeros((0, len(table))))
        drawn = drawn[np.isfinite(drawn).all(axis=1)]
        return best, best + self.fit.drawn.scale * (drawn - best)


def _near(table: _Table, losses: Floats, drawn: Floats, sign: float, best: int) -> tuple[Choice, ...]:
    """Of models that exist: the best choice of each, and others as good as the best of all, best first."""
    named = [at for at, one in enumerate(table.tried) if one.label]
    first: dict[str, int] = {}
    for at in sorted(named, key=lambda at: sign * losses[at]):
        first.setdefault(table.tried[at].label, at)
    apart = sign * (losses - losses[best])
    spread = sign * (drawn - drawn[:, [best]])
    low, high = (
        np.quantile(spread, (0.025, 0.975), axis=0) if len(drawn) else np.full((2, len(losses)), np.nan)
    )
    alike = np.log1p(ALIKE) if table.fit.problem.relative else ALIKE * abs(float(losses[best]))
    good = [at for at in named if apart[at] <= alike or low[at] <= 0]
    listed = sorted({*first.values(), *good}, key=lambda at: apart[at])
    kept = [at for at in listed if at in first.values()][:ROWS]
    kept += [at for at in listed if at not in kept][: ROWS - len(kept)]
    kept.sort(key=lambda at: apart[at])
    shares = np.zeros(len(kept))
    if len(drawn):
        shares = np.bincount(np.argmin(sign * drawn[:, kept], axis=1), minlength=len(kept)) / len(drawn)
    part = np.expm1 if table.fit.problem.relative else np.asarray
    return tuple(
        evolve(
            table.tried[at],
            loss=float(table.fit.problem.unscaled(losses[at])),
            worse=float(part(apart[at])),
            worse_interval=(float(part(low[at])), float(part(high[at]))) if len(drawn) else None,
            best=float(share) if len(drawn) else None,
        )
        for at, share in zip(kept, shares, strict=True)
    )


def _edges(
    fit: FittedLaw, serving: Serving, best: Choice, budget: Budget, cost: ServingCost, at: At
) -> list[str]:
    """Where the best choice rests on the most that the points have."""
    out: list[str] = []
    for column, value in ((serving.frames, best.frames), (serving.tokens, best.tokens)):
        if column and column not in at and value == _range(fit.problem.table, column, at)[1]:
            out.append(f"{column}* = {value} is the most that the points have: more may be better")
    sizes = [one.n for one in cost.models]
    if best.n >= max(sizes) > min(sizes):
        out.append(f"N* = {size_label(best.n, 3)} is the largest size there is: a larger one may be better")
    left = 1 - best.flops / budget.flops
    if left > 0.1:
        out.append(
            f"{left:.0%} of the budget is left: nothing larger that the points or recipes have fits into it"
        )
    return out

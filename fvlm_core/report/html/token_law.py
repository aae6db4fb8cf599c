"""What a law of frames and tokens says to answer with, at budgets of FLOPs, where one was fitted to the runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fvlm_core.report.html.law_charts import DRAWS
from fvlm_core.report.html.laws import Json, law_of, points_of, stored
from fvlm_core.report.html.parts import Block, Cell, Column, Table, number
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.scaling.points.in_fits import FITS
from fvlm_core.utils.errors import FvlmError
from fvlm_registry import LookupFailure

if TYPE_CHECKING:
    from fvlm_core.interfaces.fit import Serving
    from fvlm_core.scaling.fit.report import FitReport
    from fvlm_core.scaling.predict.inference import InferenceAnswer
    from fvlm_core.scaling.predict.serving_cost import Served

BUDGETS = 5
"""From the cheapest request to the dearest, evenly in their logarithm."""


def blocks(runs: Sequence[Gathered]) -> Iterator[Block]:
    """Of every fit of the runs' recipes whose law reads what a request of frames costs by."""
    recipes = dict.fromkeys((one.run.folder.parent, one.run.recipe) for one in runs)
    for at, (folder, recipe) in enumerate(recipes):
        own = [one for one in runs if one.run.folder.parent == folder]
        for number_, report in enumerate(stored(folder / FITS)):
            try:
                law = law_of(report)
                if law.serving is None or not law.serving.frames:
                    continue
                heading = f"What {law.name} says to answer with"
                heading = f"{recipe}: {heading}" if len(recipes) > 1 else heading
                if report["status"] != "ok":
                    words = f"Nothing: the law is {report['status']}, and the reasons stand with it."
                    yield Block(heading, [words])
                    continue
                yield _answered(heading, f"token-law-{at}-{number_}", own, _fitted(folder, own, report))
            except (FvlmError, LookupFailure, LookupError, TypeError, ValueError) as error:
                yield Block("", [f"What a law says to answer with cannot be told: {error}"])


def _fitted(folder: Any, runs: Sequence[Gathered], report: Json) -> FitReport:
    """The stored fit again, for its draws."""
    from fvlm_core.scaling.fit.fitting import fit_points
    from fvlm_core.scaling.fit.objective import FitObjective
    from fvlm_core.scaling.fit.options import Options

    points = points_of(folder, runs, report)
    if points is None:
        raise ValueError("its points cannot be had any more")
    asked = FitObjective(report["objective"]["name"], report["objective"]["delta"])
    return fit_points(points, law_of(report), asked, draws=DRAWS, options=Options(sensitivity=False))


def _answered(heading: str, id: str, runs: Sequence[Gathered], report: FitReport) -> Block:
    from fvlm_core.scaling.predict.inference import Budget, choose, serving_of
    from fvlm_core.scaling.predict.serving_cost import ServingCost

    table, serving = report.points.table, serving_of(report.model)
    models = _served(runs, report)
    cost = ServingCost(tuple(models), "the ledger's of the runs' models, without text")
    least, most = (
        extreme([one.flops(*_request(table, serving, extreme, one)) for one in models])
        for extreme in (min, max)
    )
    d = float(table.groupby("run")["d"].max().median()) if "d" in report.model.columns else None
    asked = np.geomspace(least, most, BUDGETS)
    answers = [choose(report, Budget(float(budget) * (1 + 1e-9)), cost, d) for budget in asked]
    given = "" if d is None else f", trained on {d:,.0f} samples"
    said = (
        f"The best of the sizes, frames and tokens of the points, by the law{given}: for a budget of FLOPs of a "
        "request's frames, by the ledger. Intervals at 95 % are over the law's draws."
    )
    columns = (
        *(Column(name, number=True) for name in ("MFLOP a request", "parameters")),
        *(
            Column(name, number=True)
            for name in ("frames", "95 % of frames", "tokens a frame", "95 % of tokens")
        ),
        *(Column(name, number=True) for name in (report.model.target, "95 %")),
    )
    warnings = list(dict.fromkeys(warning for one in answers for warning in one.warnings))
    return Block(
        heading, warnings=warnings, tables=[Table(id, said, columns, list(map(_row, answers)), plain=True)]
    )


def _request(table: Any, serving: Serving, extreme: Any, model: Served) -> tuple[int, int]:
    """The fewest or the most frames and tokens of the points."""
    frames, tokens = (round(float(extreme(table[name]))) for name in (serving.frames, serving.tokens))
    return frames, model.tokens or tokens


def _served(runs: Sequence[Gathered], report: FitReport) -> list[Served]:
    """The models of the runs, each once."""
    from fvlm_core.planning.connector_trace import Tracer
    from fvlm_core.planning.inference import Request
    from fvlm_core.recipes.read import model_from_resolved
    from fvlm_core.scaling.predict.serving_cost import Served

    fitted = set(report.points.table["run"])
    total = "total" in report.points.n_kind
    found: dict[tuple[float, int | None], Served] = {}
    for one in runs:
        record = one.run.record
        if not {one.label, one.run.id} & fitted or not record.get("resolved"):
            continue
        request = Request(Tracer.of(model_from_resolved(record["resolved"]["model"]), 0), 1)
        n = float(record["total_params" if total else "llm_params"])
        tokens = None if request.free else request.own_tokens
        label = str(record.get("size") or one.label)
        found.setdefault((n, tokens), Served(label, n, request.flops, tokens))
    return list(found.values())


def _row(answer: InferenceAnswer) -> list[Cell]:
    best, loss = answer.best, answer.loss
    if best is None or loss is None:
        return [number(answer.budget.flops / 1e6), *[Cell("")] * 7]
    _, frames, tokens = answer.intervals.values()
    return [
        number(answer.budget.flops / 1e6),
        Cell(best.label or f"{best.n:,.3g}", best.n),
        number(best.frames, "{:,}"),
        _ends(frames, "{:,.0f}"),
        number(best.tokens, "{:,}"),
        _ends(tokens, "{:,.0f}"),
        number(loss.value, "{:.4f}"),
        _ends(loss.band, "{:.4f}"),
    ]


def _ends(found: tuple[float, float] | None, text: str) -> Cell:
    if found is None:
        return Cell("none")
    low, high = found
    return number(low, f"{text.format(low)} to {text.format(high)}")

"""The best use of a budget of inference, from what a user says: a budget in FLOPs or milliseconds, and what costs."""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from fvlm_core.api.costs import plan_recipes
from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.fit.report import FitReport
from fvlm_core.scaling.points.points import size_label
from fvlm_core.scaling.predict.inference import (
    Budget,
    InferenceAnswer,
    check_complete,
    choose,
    serving_of,
)
from fvlm_core.scaling.predict.question import At
from fvlm_core.scaling.predict.serving_cost import Served, ServingCost, cost_by_rule
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.parse_number import parse_count

TEXT = 128
"""Tokens of text of a request, where neither the law nor the user says."""


@frozen
class InferenceQuestion:
    """What is asked. budget: of one request, "5e12" FLOPs, "50ms" or "2s". rate: FLOPs a second, for a time. text:
    tokens of text; None: the law's, else `TEXT`. encoder: FLOPs of the encoder a frame, without recipes. d: training
    data of the model. at: of the law's other columns. recipes: whose models may be chosen."""

    budget: str
    rate: float | None = None
    text: float | None = None
    encoder: float | None = None
    d: float | None = None
    at: At | None = None
    recipes: tuple[str, ...] = ()

    def parsed(self) -> Budget:
        """Raises `UsageError`."""
        text = self.budget.strip()
        unit = next((unit for unit in ("ms", "s") if text.endswith(unit)), "")
        number = parse_count(text.removesuffix(unit))
        if number is None or number <= 0:
            raise UsageError(
                f'a budget of inference: expected FLOPs of one request (5e12), 50ms or 2s, got "{self.budget}"'
            )
        if not unit:
            if self.rate is not None:
                raise UsageError("a rate turns milliseconds into FLOPs, and the budget is one of FLOPs")
            return Budget(number)
        if self.rate is None:
            raise UsageError(
                "milliseconds are as many FLOPs as the machine does in them: say how many a second it reaches (--rate "
                "2e14)"
            )
        return Budget(number * self.rate * (1e-3 if unit == "ms" else 1.0), self.rate)


def check_inference(model: FitModel, question: InferenceQuestion) -> None:
    """Raise `UsageError` for what can be told to be wrong before anything is fitted."""
    serving = serving_of(model)
    question.parsed()
    check_complete(model, serving, question.d, question.at or {})


def infer(report: FitReport, question: InferenceQuestion) -> InferenceAnswer:
    """Raises `UsageError` for a law of no requests, and a question that cannot be answered."""
    serving, budget = serving_of(report.model), question.parsed()
    text = question.text if question.text is not None else serving.text or TEXT
    if question.recipes:
        if question.encoder is not None:
            raise UsageError("the encoder's FLOPs are the recipes': leave --encoder-flops out")
        cost, remarks = _of_recipes(question.recipes, text, report)
    else:
        table = report.points.table
        sizes = [
            (str(size), float(rows["n"].median())) for size, rows in table.groupby("size", observed=True)
        ]
        remarks: list[str] = []
        if question.encoder is None:
            remarks.append(
                "the encoder is not counted: name recipes for the true cost of their models (--recipe), or say its "
                "FLOPs a frame (--encoder-flops)"
            )
        cost = cost_by_rule(sizes, text, question.encoder or 0.0, serving)
    return choose(report, budget, cost, question.d, question.at, remarks)


def _of_recipes(names: Sequence[str], text: float, report: FitReport) -> tuple[ServingCost, list[str]]:
    """The models of recipes, by the ledger. N is as the points count it, else the language model's own parameters."""
    from fvlm_core.planning.inference import Request

    recipes, plans = plan_recipes(names)
    models: dict[str, Served] = {}
    total = "total" in report.points.n_kind
    fixed: list[str] = []
    free: list[str] = []
    for recipe, planned in zip(recipes, plans, strict=True):
        for run, plan in zip(recipe.runs, planned, strict=True):
            request = Request.of(run.config, plan, max(1, round(text)))
            own = request.own_tokens
            n = float(plan.parameters.total if total else plan.parameters.components["llm"])
            if any(same.n == n and same.flops(4, own) == request.flops(4, own) for same in models.values()):
                continue  # runs of one model, such as seeds
            label = plan.size if plan.size not in models else f"{plan.size}, {run.id}"
            models[label] = Served(label, n, request.flops, None if request.free else own)
            (free if request.free else fixed).append(label)
    counted = "all parameters" if total else "the parameters of its language model"
    remarks = [f"N of a recipe's model is {counted}"]
    if free:
        remarks.append(
            "another number of visual tokens than its connector makes costs what the language model takes to read "
            f"them: {', '.join(free)}"
        )
    if fixed:
        remarks.append(f"makes its own number of visual tokens a frame: {', '.join(fixed)}")
    sizes = ", ".join(f"{name} (N = {size_label(one.n)})" for name, one in models.items())
    return ServingCost(tuple(models.values()), f"the ledger's of {sizes}, {text:g} tokens of text"), remarks

"""The points that a law is fitted to, of all that there are."""

from __future__ import annotations

from attrs import evolve

from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.fit.budgets import with_budgets
from fvlm_core.scaling.fit.sweeps import with_sweeps
from fvlm_core.scaling.points.chosen_rates import with_chosen_rates
from fvlm_core.scaling.points.point_selection import apply
from fvlm_core.scaling.points.points import Points


def prepared(points: Points, model: FitModel) -> Points:
    """The final points of runs, with the learning rates they were given, for a law that is made for those; with the
    labels that its parameters differ by. The same again for points that are prepared already, or a part of such.

    Raises `UsageError` when the points lack what the law reads.
    """
    if model.points == "final" and "lr" in model.columns:
        points = with_chosen_rates(points)
    if model.points == "final" and points.policy.points == "all":
        points = apply(evolve(points.policy, points="final"), points)
    points = points.of_law(model)
    if model.valid is not None:
        model.valid(points.table)
    labels = {parameter.per for parameter in model.parameters}
    table = points.table
    if "budget" in labels and "budget" not in table:
        table = with_budgets(table, points.source)
    if "sweep" in labels and "sweep" not in table:
        table = with_sweeps(table)
    return points if table is points.table else evolve(points, table=table)

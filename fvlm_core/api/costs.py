"""What training costs, by the name that a user gives: as points or recipes say, or 6ND."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fvlm_core.planning.run_plan import RunPlan
    from fvlm_core.recipes.read import Recipe
    from fvlm_core.scaling.points.points import Points
    from fvlm_core.scaling.predict.cost import Cost


COSTS = ("ledger", "6ND")
"""The names."""


def plan_recipes(names: Sequence[str]) -> tuple[list[Recipe], list[list[RunPlan]]]:
    """Read recipes and plan those of their runs that are meant for fits; no weights are read.

    Raises `UsageError` for a recipe without such a run.
    """
    from attrs import evolve

    from fvlm_core.planning.plan import plan
    from fvlm_core.recipes.read import read_recipe
    from fvlm_core.utils.errors import UsageError

    recipes: list[Recipe] = []
    for name in names:
        recipe = read_recipe(name)
        runs = tuple(run for run in recipe.runs if run.config.in_fits)
        if not runs:
            raise UsageError(f"{recipe.file}: no run of it is meant for fits (in_fits = false)")
        recipes.append(evolve(recipe, runs=runs))
    return recipes, [plan(recipe) for recipe in recipes]


def choose_cost(
    name: str,
    points: Points | None,
    plans: Sequence[RunPlan],
    recipes: Sequence[str],
    sizes: Sequence[float] = (),
) -> tuple[Cost | None, list[str]]:
    """The cost that the options ask for, and remarks on it; None when it is not known.

    Recipes come before the points: they say what a new run will cost.
    """
    from fvlm_core.scaling.predict.cost import cost_of_plans, cost_of_points, six_nd

    if name == "6ND":
        return six_nd(points, sizes), []
    if plans:
        remarks = [] if points is None else _units(points)
        return cost_of_plans(plans, ", ".join(recipes)), remarks
    found = None if points is None else cost_of_points(points)
    return found if found is not None else (None, [])


def _units(points: Points) -> list[str]:
    """A recipe's cost is of one training sample; so must D be."""
    from fvlm_core.utils.errors import UsageError

    kind = points.d_kind
    if "sample" in kind:
        return []
    if kind == "as given":
        return ["D of the points is taken for training samples, which the recipes' costs are of"]
    raise UsageError(
        f"{points.source}: D counts {kind}, and the recipes' cost is of one training sample: "
        "choose the samples with --columns D=..., or --cost 6ND"
    )

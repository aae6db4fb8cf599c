"""Which runs to make next, of combinations of columns or of a recipe's runs, for whatever a law reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.api.costs import plan_recipes
from fvlm_core.api.pool import PoolSuggestion
from fvlm_core.recipes.resolved import plain
from fvlm_core.scaling.fit.constraints import freed
from fvlm_core.scaling.points.points import meaning
from fvlm_core.scaling.points.points_from_runs import recorded
from fvlm_core.scaling.pool.advice import advise_pool
from fvlm_core.scaling.pool.grid import Grid, combinations, pool_of, priced, wanted_row
from fvlm_core.scaling.pool.tables import same_target
from fvlm_core.scaling.predict.question import At
from fvlm_core.utils.errors import UsageError

if TYPE_CHECKING:
    from fvlm_core.interfaces.fit import FitModel
    from fvlm_core.planning.run_plan import RunPlan
    from fvlm_core.recipes.read import Run
    from fvlm_core.scaling.fit.objective import Floats
    from fvlm_core.scaling.points.points import Points

LEDGER = "ledger"

RUNS = 12
"""At most, unless told otherwise."""


@frozen
class Asked:
    """What may be run: a grid, or the runs of recipes. cost: a formula of the grid's columns. budget: in its unit, for
    recipes in FLOPs. at, n, d: what is to be predicted. most: runs."""

    law: FitModel
    grid: Grid
    recipes: tuple[str, ...]
    cost: str
    budget: float | None
    at: At
    n: float | None
    d: float | None
    most: int | None


def from_grid(asked: Asked, points: Points | None) -> PoolSuggestion:
    """The runs within the budget after which the target is known best. points: what is measured. Raises
    `UsageError`."""
    model = freed(asked.law)
    same_target([model])
    if asked.recipes and asked.grid:
        raise UsageError(
            "--grid and recipes exclude each other: the runs that may be made are those of the recipes"
        )
    wanted = wanted_row(model, asked.at, asked.n, asked.d)
    if asked.budget is None:
        unit = "FLOPs" if asked.recipes else "the unit of --cost"
        raise UsageError(f"say what the runs may take together: --budget, in {unit}")
    offered, price = _of_recipes(asked, model) if asked.recipes else _of_grid(asked)
    pool = pool_of(model, offered, price, wanted, points)
    return PoolSuggestion(advise_pool(pool, [model], asked.budget, asked.most or RUNS), "the points")


def _of_grid(asked: Asked) -> tuple[pd.DataFrame, Floats]:
    rows = combinations(asked.grid)
    if asked.cost == LEDGER:
        some = "*".join(name.upper() if name in ("n", "d") else name for name in list(asked.grid)[:2])
        raise UsageError(
            f"say what a run of the grid costs, as a formula of its columns: --cost '{some}', or --cost 1 for a budget "
            "that is a number of runs"
        )
    return rows, priced(rows, asked.cost)


def _of_recipes(asked: Asked, model: FitModel) -> tuple[pd.DataFrame, Floats]:
    """The runs of the recipes that are meant for fits, with the FLOPs that they are planned to take."""
    if asked.cost != LEDGER:
        raise UsageError("--cost: a recipe's runs cost the FLOPs that they are planned to take: leave it out")
    recipes, plans = plan_recipes(asked.recipes)
    runs = [
        (run, of) for recipe, planned in zip(recipes, plans, strict=True)
        for run, of in zip(recipe.runs, planned, strict=True)
    ]  # fmt: skip
    rows = pd.DataFrame([{"run": run.id, **_told(run, of, model)} for run, of in runs])
    for column in rows:
        if rows[column].isna().any():
            lacking = ", ".join(rows["run"][rows[column].isna()])
            raise UsageError(
                f'fit "{model.name}" reads {meaning(model, str(column))}, which these runs do not say: {lacking}. Name '
                "what may be run instead: --grid"
            )
    return rows, np.array([of.flops for _, of in runs])


def _told(run: Run, of: RunPlan, model: FitModel) -> dict[str, Any]:
    """What the law reads of a run that was not made, from its plan and its recipe."""
    known: dict[str, Any] = {
        "n": float(of.parameters.total),
        "d": float(of.samples),
        "compute": of.flops,
        "step": float(of.steps),
        "lr": of.rates.get("connector"),
    }
    recipe = plain(run.config)
    out: dict[str, Any] = {}
    for one in dict.fromkeys([*model.columns, *model.reads, *model.labels]):
        found = known[one] if one in known else recorded(recipe, (one, *model.variable(one).headers))
        out[one] = found if found is None else str(found) if one in model.labels else found
    return out

"""Which runs to make next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fvlm_core.api.checks import count, one_of, within
from fvlm_core.api.costs import COSTS
from fvlm_core.api.explained import public
from fvlm_core.api.fit import LAW
from fvlm_core.api.grid import RUNS, Asked, from_grid
from fvlm_core.api.places import Root, runs_folder, warn
from fvlm_core.api.points import PointsRequest, load_points, requested
from fvlm_core.api.pool import PoolSuggestion, from_pool, needs, unread
from fvlm_core.api.suggesting import Question, Suggestion, answered
from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.scaling.pool.grid import checked_grid
from fvlm_core.scaling.predict.advice import check_law, of_sizes_and_data
from fvlm_core.scaling.predict.question import values_at
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.paths import user_path

if TYPE_CHECKING:
    from fvlm_core.api.pool import Table
    from fvlm_core.runs.sound import PassedOver
    from fvlm_core.runs.store import StoredRun
    from fvlm_core.scaling.points.points import Points


@public
def suggest(
    *recipes: str | PathLike[str],
    data: Any = None,
    budget: float | str | None = None,
    hours: float | str | None = None,
    rate: float | str | None = None,
    target_n: float | str | None = None,
    target_d: float | str | None = None,
    target_budget: float | str | None = None,
    sizes: str | Sequence[float | str] | None = None,
    law: str | FitModel = LAW,
    cost: str = "ledger",
    max_runs: int | None = None,
    shortest: float | str | None = None,
    longest: float | str | None = None,
    largest_share: float = 0.9,
    noise: float | None = None,
    fresh: bool = False,
    out: str | PathLike[str] | None = None,
    pool: Table | None = None,
    target: Table | None = None,
    observed: Table | None = None,
    columns: str | Mapping[str, str] | None = None,
    grid: Mapping[str, Sequence[float | str]] | None = None,
    at: Mapping[str, float | str] | None = None,
    root: Root = None,
) -> Suggestion | PoolSuggestion:
    """Which runs shrink the uncertainty of a prediction most, within a budget, as `fvlm suggest` says; the arguments
    are its options.

    recipes: files or names of recipes, whose sizes are the candidates. data: the points there are, as `fit` takes them.
    Nothing is written: `.save()` writes the recipe, where recipes are given. Raises `FvlmError`.

    With a pool, a table of candidate rows (a file or a DataFrame), the answer is the rows to buy: `cost` is then the
    name of its column of costs, `budget` what they may cost together, `target` the rows to predict, `observed` what is
    measured so far, `columns` where the law's columns are, and `law` one or several with commas between, which count by
    how well they explain what is measured.

    With a grid, values to try of every column that the law reads, the answer is the combinations to run: `cost` is then
    a formula of the columns ("V*T"), `budget` in its unit, `at` the values to predict at, and `columns` where `data`
    has them. max_runs: 12, of a pool 60.
    """
    within("max_runs", max_runs, 1, 200, whole=True)
    elsewhere = {"recipes": recipes, "hours": hours, "rate": rate, "target_budget": target_budget, "sizes": sizes,
                 "shortest": shortest, "longest": longest, "noise": noise, "out": out}  # fmt: skip
    if pool is not None:
        of_pool = {
            "data": data,
            "target_n": target_n,
            "target_d": target_d,
            "fresh": fresh,
            "grid": grid,
            "at": at,
        }
        unread("from a pool", [*elsewhere.items(), *of_pool.items()])
        return from_pool(pool, cost, target, count("budget", budget), observed, law, columns, max_runs)
    needs("pool, a table of candidate rows", [("target", target), ("observed", observed)])
    model = load_model(law) if isinstance(law, str) else law
    if grid is not None or (recipes and not of_sizes_and_data(model)):
        del elsewhere["recipes"]
        unread("over a grid" if grid is not None else f"of {model.name}", [*elsewhere.items()])
        asked = Asked(
            model,
            {} if grid is None else checked_grid(grid, model),
            tuple(map(str, recipes)),
            cost,
            count("budget", budget),
            {} if at is None else values_at([f"{name}={value}" for name, value in at.items()], model),
            count("target_n", target_n),
            count("target_d", target_d),
            max_runs,
        )
        request = requested(data, runs_folder(root), columns=columns)
        return from_grid(asked, None if fresh else points_there(request, warn, [model]))
    check_law(model)
    needs("grid, values to try of a law's columns", [("at", at)])
    if columns is not None and data is None:
        raise UsageError("columns goes with data, a table of points, or with pool")
    one_of("cost", cost, COSTS)
    within("largest_share", largest_share, 0, 1, above=True)
    within("noise", noise, 0, 1, above=True)
    request = requested(data, runs_folder(root), columns=columns)
    question = Question(
        recipes=tuple(map(str, recipes)),
        budget=count("budget", budget),
        hours=count("hours", hours),
        rate=count("rate", rate),
        target=(
            count("target_n", target_n),
            count("target_d", target_d),
            count("target_budget", target_budget),
        ),
        sizes=sizes if isinstance(sizes, str) or sizes is None else ",".join(map(str, sizes)),
        law=model,
        cost=cost,
        most=max_runs or RUNS,
        shortest=count("shortest", shortest),
        longest=count("longest", longest),
        largest=largest_share,
        noise=noise,
        out=None if out is None else user_path(Path(out)),
    )
    return answered(question, None if fresh else points_there(request, warn), lambda: measured_rate(request))


def points_there(request: PointsRequest, note: PassedOver, laws: Sequence[FitModel] = ()) -> Points | None:
    """The points there are; None before the first run."""
    of_table = request.files or request.table is not None
    if not of_table and not any(run.in_fits and run.evaluations() for run in _runs(request)):
        return None
    return load_points(request, laws, note)


def _runs(request: PointsRequest) -> list[StoredRun]:
    """Those of the runs asked for that can be read; `load_points` names the others. Raises as `named_folders`."""
    from fvlm_core.runs.listing import list_entries
    from fvlm_core.runs.select import named_folders
    from fvlm_core.runs.sound import sound

    root = request.root
    if request.runs is None:
        folders = [root / entry.folder for entry in list_entries(root)]
    else:
        folders = named_folders(request.runs, root)
    return sound(folders, lambda text: None) if folders else []


def measured_rate(request: PointsRequest) -> float | None:
    """FLOPs a second of the runs there are: the median of what each trained, over its time, evaluations included."""
    from statistics import median

    rates = [
        rows[-1]["flops"] / rows[-1]["wall_time_sec"]
        for run in _runs(request)
        if (rows := [row for row in run.rows() if row.get("flops") and row.get("wall_time_sec")])
    ]
    return median(rates) if rates and not request.files and request.table is None else None

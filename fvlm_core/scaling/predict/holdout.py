"""How well a law predicts points that it was not fitted to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
from attrs import asdict, evolve, frozen

from fvlm_core.runs.store import StoredRun
from fvlm_core.scaling.fit.preparation import prepared
from fvlm_core.scaling.fit.problem import group_label
from fvlm_core.scaling.fit.report import FitReport, FittedLaw
from fvlm_core.scaling.points.point_selection import holds
from fvlm_core.scaling.points.points import Points
from fvlm_core.scaling.points.points_from_runs import from_runs
from fvlm_core.scaling.predict.prediction import Predictor
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.filter_expression import Condition


@frozen
class Score:
    """Predictions against what was measured.

    of: a run, or "all". points: how many. r2: 1 - residual over total sum of squares about the mean of what was
    measured (None for one point, or where all are alike). mean, worst: relative error |predicted / measured - 1|
    (absolute, where the target may be 0 or negative). coverage: the share of points inside the 95 % interval of a new
    run; None without intervals.
    """

    of: str
    points: int
    r2: float | None
    mean: float
    worst: float
    coverage: float | None


@frozen(eq=False)
class Holdout:
    """Points that were kept out, and how well they were predicted.

    where: which, as they were asked for. table: those that could be predicted, with `measured`, `predicted`, `low` and
    `high` beside the points' columns. total: of all of them, None where there is none. runs: run by run, where there
    are several. unpredicted: how many are of groups that no fit is of, or lack what the law reads. relative: whether
    errors are parts of what was measured.
    """

    where: str
    table: pd.DataFrame
    total: Score | None
    runs: tuple[Score, ...]
    unpredicted: int
    relative: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "where": self.where,
            "total": None if self.total is None else asdict(self.total),
            "runs": [asdict(one) for one in self.runs],
            "predictions": self._predictions(),
            "unpredicted": self.unpredicted,
            "relative": self.relative,
        }

    def _predictions(self) -> list[dict[str, Any]]:
        """A row a point: its run, what was measured and predicted, and the interval."""
        columns = [*("run", "n", "d", "measured", "predicted", "low", "high")]
        rows = self.table[[name for name in columns if name in self.table]].to_dict("records")
        return [{str(name): _finite(value) for name, value in row.items()} for row in rows]


def _finite(value: Any) -> Any:
    """None for a number that there is none of, which JSON cannot say."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def kept_out(points: Points, where: Sequence[Condition]) -> tuple[Points, Points]:
    """The points to fit, and those that meet any of the conditions.

    points: prepared for the law, so that what is kept out is what it would be fitted to. Raises `UsageError` where
    either would be empty, or no point has a column or a label that is asked for.
    """
    out = np.zeros(len(points.table), bool)
    for condition in where:
        out |= np.asarray(holds(condition, points.table))
    text = " or ".join(map(str, where))
    if not out.any():
        raise UsageError(f"--holdout: no point is where {text}, of {len(out)}")
    if out.all():
        raise UsageError(f"--holdout: every point is where {text}: nothing is left to fit")
    said = f"points kept out, where {text}: {int(out.sum())}"
    return (
        evolve(points, table=_rows(points.table, ~out), remarks=(*points.remarks, said)),
        evolve(points, table=_rows(points.table, out)),
    )


def _rows(table: pd.DataFrame, keep: Any) -> pd.DataFrame:
    kept = table[keep].reset_index(drop=True)
    for column in kept.select_dtypes("category"):
        kept[column] = kept[column].cat.remove_unused_categories()
    return kept


def score(report: FitReport, held: Points, where: Sequence[Condition]) -> Holdout:
    """The fits' predictions of points that were kept out (`kept_out`). Raises `UsageError` for a law that is fitted to
    points made of all runs."""
    model = report.model
    if model.derive is not None:
        raise UsageError(
            f"{model.name}: is fitted to points made of all runs, and predicts none of them: no --holdout"
        )
    parts: list[pd.DataFrame] = []
    for fit in report.fits:
        of = held.table
        if model.split is not None:
            of = of[[group_label(key) == fit.group for key in of[model.split]]]
        known = _known(fit, of)
        if len(known):
            best, low, high = Predictor(fit, None).over(known, held.curves)
            parts.append(known.assign(measured=known[model.target], predicted=best, low=low, high=high))
    text = " or ".join(map(str, where))
    if not parts:
        return Holdout(text, held.table[:0], None, (), len(held.table), True)
    table = pd.concat(parts, ignore_index=True)
    relative = report.fits[0].problem.relative
    runs = table.groupby("run", sort=False, observed=True)
    named = [(str(name), rows) for name, rows in runs if name]
    return Holdout(
        text,
        table,
        _score("all", table, relative),
        tuple(_score(name, rows, relative) for name, rows in named if len(named) > 1),
        len(held.table) - len(table),
        relative,
    )


def score_runs(report: FitReport, runs: Sequence[StoredRun], pattern: str) -> Holdout:
    """A fit's predictions of the runs that its recipe holds out. pattern: of their ids."""
    held = [run for run in runs if fnmatchcase(run.id, pattern)]
    points = from_runs(held, report.points.source, laws=[report.model], controls=True)
    where = Condition("run", "==", pattern)
    if report.model.derive is not None:
        return Holdout(str(where), points.table[:0], None, (), len(points.table), True)
    return score(report, prepared(points, report.model), [where])


def _known(fit: FittedLaw, table: pd.DataFrame) -> pd.DataFrame:
    """The points whose groups the fit has seen, and that hold what the law reads."""
    model = fit.problem.model
    keep = np.ones(len(table), bool)
    for column in {slot.per for slot in model.parameters if slot.per is not None} & {*table.columns}:
        keep &= table[column].isin(fit.problem.table[column].unique()).to_numpy()
    for column in (*model.columns, model.target):
        keep &= table[column].notna().to_numpy()
    return table[keep].reset_index(drop=True)


def _score(of: str, table: pd.DataFrame, relative: bool) -> Score:
    measured, predicted = table["measured"].to_numpy(float), table["predicted"].to_numpy(float)
    apart = predicted - measured
    errors = np.abs(apart / measured if relative else apart)
    about = float(((measured - measured.mean()) ** 2).sum())
    low, high = table["low"].to_numpy(float), table["high"].to_numpy(float)
    told = np.isfinite(low) & np.isfinite(high)
    inside = (low <= measured) & (measured <= high)
    return Score(
        of,
        len(table),
        1 - float(apart @ apart) / about if about > 0 else None,
        float(errors.mean()),
        float(errors.max()),
        float(inside[told].mean()) if told.any() else None,
    )

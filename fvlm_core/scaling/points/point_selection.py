"""Which points enter a fit: the policy a user asks for, applied in one place and stored with every result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from attrs import evolve, field, frozen

from fvlm_core.scaling.points.column_names import meant
from fvlm_core.utils.errors import Problem, Problems, UsageError
from fvlm_core.utils.filter_expression import Condition
from fvlm_core.utils.parse_number import parse_count
from fvlm_registry.nearest import did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from fvlm_core.scaling.points.points import Points

Selection = Literal["all", "final", "tail", "best"]


@frozen
class Cut:
    """A warm-up left out: the points of a run before a fraction of its D, or before a count of D."""

    value: float
    kind: Literal["fraction", "count"]

    @classmethod
    def parse(cls, text: str) -> Cut:
        """`0.05`: a fraction, below 1, of each run's D; `20k`, `1.5M`, `2B`: a count of D. Raises `UsageError`."""
        number = parse_count(text)
        if number is not None and number >= 0:
            if text.strip()[-1:] in ("k", "K", "M", "B", "T"):
                return cls(number, "count")
            if number < 1:
                return cls(number, "fraction")
        raise UsageError(
            "--warmup-cut: expected a fraction of each run's D below 1 (0.05), or a count of D with one of the "
            f'suffixes k, M, B, T (20k); got "{text}"'
        )

    def __str__(self) -> str:
        return f"{self.value:g} of each run's D" if self.kind == "fraction" else f"D = {self.value:g}"


@frozen
class PointSelection:
    """Which points are kept, in the order in which it is applied.

    drop_runs: runs left out. where: conditions that every point meets. warmup_cut: points before it are left out.
    points: of what then is left of each run, "all"; the "final" one, of the largest D (or step, where D is not known);
    or the "tail", the last fraction `tail` of them (at least one). A point that names no run counts as a run of one
    point. Or "best": of all points that agree in the columns `per`, the one of the lowest loss.
    """

    points: Selection = "all"
    tail: float | None = None
    warmup_cut: Cut | None = None
    drop_runs: tuple[str, ...] = field(default=(), converter=tuple)
    where: tuple[Condition, ...] = field(default=(), converter=tuple)
    per: tuple[str, ...] = field(default=(), converter=tuple)

    def __attrs_post_init__(self) -> None:
        if (self.points == "tail") != (self.tail is not None) or not (
            self.tail is None or 0 < self.tail <= 1
        ):
            raise ValueError(f'points = "tail" goes with 0 < tail <= 1, got {self.points!r} with {self.tail}')

    @classmethod
    def parse(
        cls,
        points: str = "all",
        warmup_cut: str | None = None,
        drop_runs: tuple[str, ...] = (),
        where: tuple[str, ...] = (),
        per: str = "",
    ) -> PointSelection:
        """From the options' texts. Raises `Problems` with everything that is wrong with them."""
        problems: list[Problem] = []

        def tried(parse: Callable[[str], Any], text: str) -> Any:
            try:
                return parse(text)
            except UsageError as error:
                problems.append(Problem(str(error)))
                return None

        selection = tried(_selection, points)
        cut = None if warmup_cut is None else tried(Cut.parse, warmup_cut)
        conditions = [tried(Condition.parse, text) for text in where]
        columns = tuple(name.strip() for name in per.split(",") if name.strip())
        if (points == "best") != bool(columns):
            told = "--points best goes with --per, which says what a setting is: --points best --per N,D"
            problems.append(Problem(told))
        if problems:
            raise Problems(problems)
        kind, tail = selection
        return cls(kind, tail, cut, tuple(dict.fromkeys(drop_runs)), tuple(conditions), columns)

    def __str__(self) -> str:
        """In words: `the final point of each run; without run C4; where lr >= 1e-3`."""
        parts = {
            "all": ["all points"],
            "final": ["the final point of each run"],
            "best": [f"the best point for each {', '.join(self.per)}"],
            "tail": [f"the last {self.tail:g} of each run's points" if self.tail else ""],
        }[self.points]
        if self.warmup_cut:
            parts.append(f"from {self.warmup_cut} on")
        if self.drop_runs:
            parts.append(
                f"without {'run' if len(self.drop_runs) == 1 else 'runs'} {', '.join(self.drop_runs)}"
            )
        if self.where:
            parts.append(f"where {' and '.join(map(str, self.where))}")
        return "; ".join(parts)

    def to_json(self) -> dict[str, Any]:
        """What was asked for, in the syntax of the options; options that were not used are absent."""
        out: dict[str, Any] = {"points": f"tail:{self.tail:g}" if self.tail else self.points}
        if self.per:
            out["per"] = list(self.per)
        if self.warmup_cut:
            out["warmup_cut"] = {self.warmup_cut.kind: self.warmup_cut.value}
        if self.drop_runs:
            out["drop_runs"] = list(self.drop_runs)
        if self.where:
            out["where"] = [str(condition) for condition in self.where]
        return out


def apply(policy: PointSelection, points: Points, target: str = "loss", rising: bool = False) -> Points:
    """The points that a policy keeps; how many each part of it leaves out is added to the remarks.

    target, rising: what the best points are best in, and whether they are the highest. The learning-rate curves stay
    those of whole runs. `policy` becomes the policy of the result. Raises `UsageError` for a run or a label that no
    point has, and when no point is left.
    """
    table = points.table
    said: list[str] = []
    keep = np.ones(len(table), bool)
    ends = None

    def leave_out(out: Any, why: str) -> None:
        nonlocal keep
        if count := int((keep & out).sum()):
            said.append(f"points left out, {why}: {count}")
        keep = keep & ~out

    problems: list[Problem] = []
    for run in policy.drop_runs:
        labels = table["run"].cat.categories
        if run == "" or run not in labels:
            problems.append(Problem(f'--drop-run: no point is of a run "{run}"{_near(run, labels)}'))
        else:
            leave_out((table["run"] == run).to_numpy(), f"of run {run}")
    for condition in policy.where:
        try:
            leave_out(~holds(condition, table), f"not where {condition}")
        except UsageError as error:
            problems.append(Problem(str(error)))
    if problems:
        raise Problems(problems)
    d = table["d"].to_numpy()
    if policy.warmup_cut:
        start: Any = policy.warmup_cut.value
        if policy.warmup_cut.kind == "fraction":
            ends = _largest(d, _runs(table))
            start = start * ends
        leave_out(d < start, f"before {policy.warmup_cut}")
    if policy.points == "best":
        out = np.zeros(len(table), bool)
        at = np.flatnonzero(keep)
        out[at] = ~_best(policy, table.iloc[at], target, rising)
        leave_out(out, f"not the best for their {', '.join(policy.per)}")
    elif policy.points != "all":
        out = np.zeros(len(table), bool)
        at = np.flatnonzero(keep)
        out[at] = _early(policy, _progress(points, at), _runs(table.iloc[at]))
        leave_out(
            out,
            "not the final of their run" if policy.points == "final" else f"not in the last {policy.tail:g}",
        )
    if not keep.any():
        counted = "\n".join(f"  {line}" for line in said)
        raise UsageError(f"{points.source}: no point is left of {len(table)}:\n{counted}")
    if not keep.all():
        table = table[keep].reset_index(drop=True)
        for column in table.select_dtypes("category"):
            table[column] = table[column].cat.remove_unused_categories()
    return evolve(points, table=table, remarks=(*points.remarks, *said), policy=policy)


def column_called(key: str, table: pd.DataFrame, option: str) -> str:
    """The column that a user means. Raises `UsageError` for none."""
    name = next((one for one in (key, key.lower(), meant(key)) if one in table), "")
    if not name:
        near = did_you_mean(key, table.columns) or f"; they have {', '.join(map(str, table.columns))}"
        raise UsageError(f'{option}: the points have no column "{key}"{near}')
    return name


def _best(policy: PointSelection, table: pd.DataFrame, target: str, rising: bool) -> Any:
    """Whether each row is the best of those that agree with it: bool [rows], one for each setting."""
    by = [column_called(name, table, f"--per {','.join(policy.per)}") for name in policy.per]
    for name, column in zip(policy.per, by, strict=True):
        missing = int((table[column].isna() | (table[column] == "")).sum())
        if missing:
            raise UsageError(f"--per {','.join(policy.per)}: {missing} of {len(table)} points have no {name}")
    values = table[target].to_numpy(float)
    ordered = table.assign(_value=-values if rising else values).sort_values("_value", kind="stable")
    first = ~ordered.duplicated(by).to_numpy()
    found = np.zeros(len(table), bool)
    found[table.index.get_indexer(ordered.index[first])] = True
    return found & np.isfinite(values)


def _progress(points: Points, rows: Any) -> Any:
    """How far each of these rows has been trained: D, or the step. Raises `UsageError` where neither tells."""
    table = points.table.iloc[rows]
    for column in ("d", "step"):
        if table[column].notna().all():
            return table[column].to_numpy(float)
    named = table[table["run"] != ""]
    if named.duplicated(["size", "run"]).any():
        raise UsageError(
            f"{points.source}: the final point of a run is that of the largest D or step, and these points do not say "
            "either. Add a column D or step, or take all: --points all"
        )
    return np.zeros(len(table))


def holds(condition: Condition, table: pd.DataFrame) -> Any:
    """Whether each row meets it: bool [rows]. A row without a number there does not. Raises `UsageError`."""
    key, option = condition.key, condition.option
    column: Any = table[column_called(key, table, f'{option} "{condition}"')]
    if column.dtype == "category":
        labels = column.cat.categories
        if condition.is_pattern:
            met = [label for label in labels if condition.matches(label)]
            if not met:
                raise UsageError(
                    f'{option} "{condition}": no point has such a {key}{_near(condition.value, labels)}'
                )
            return column.isin(met).to_numpy() ^ (condition.symbol in ("!=", "!~"))
        label = condition.text()
        if label not in labels:  # truth values are written in any case
            label = next((one for one in labels if one.lower() == label.lower() in ("true", "false")), label)
        if label not in labels:
            raise UsageError(f'{option} "{condition}": no point has that {key}{_near(label, labels)}')
        return condition.compare(column, label).to_numpy()
    numbers = column.to_numpy()
    return condition.compare(numbers, condition.number()) & ~np.isnan(numbers)


def _selection(text: str) -> tuple[Selection, float | None]:
    kind, _, rest = text.partition(":")
    if text == "all":
        return "all", None
    if text == "final":
        return "final", None
    fraction = parse_count(rest)
    if kind == "tail" and fraction is not None and 0 < fraction <= 1:
        return "tail", fraction
    if text == "best":
        return "best", None
    raise UsageError(f'--points: expected final, all, best, or tail:F with 0 < F <= 1, got "{text}"')


def _runs(table: pd.DataFrame) -> Any:
    """A number for the run of each row, int [rows]: equal within a size's run, one of its own without a name."""
    runs: Any = table.groupby(["size", "run"], sort=False, observed=True).ngroup().to_numpy()
    unnamed = (table["run"] == "").to_numpy()
    return np.where(unnamed, len(table) + np.arange(len(table)), runs)


def _largest(d: Any, runs: Any) -> Any:
    """The largest D of the run of each row."""
    _, code = np.unique(runs, return_inverse=True)
    largest = np.zeros(code.max(initial=-1) + 1)
    np.maximum.at(largest, code, d)
    return largest[code]


def _early(policy: PointSelection, d: Any, runs: Any) -> Any:
    """Which rows are not of the final point, or of the tail, of their run: bool [rows]."""
    if policy.tail is None:
        return d < _largest(d, runs)
    order = np.lexsort((d, runs))
    _, first, count = np.unique(runs[order], return_index=True, return_counts=True)
    kept = np.ceil(policy.tail * count * (1 - 1e-12)).astype(int)
    out = np.zeros(len(d), bool)
    rank = np.arange(len(d)) - np.repeat(first, count)
    out[order] = rank < np.repeat(count - kept, count)
    return out


def _near(label: str, labels: Any) -> str:
    """The nearest label there is, or all of them when they are few."""
    named = [str(known) for known in labels if known]
    if near := did_you_mean(label, named):
        return near
    return f"; there are {', '.join(named)}" if 0 < len(named) <= 12 else ""

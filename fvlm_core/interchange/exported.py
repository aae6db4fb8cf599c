"""Runs from the two tables of an export: `all_eval_points.csv`, `run_summaries.csv`, or one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fvlm_core.interchange.export_tables import (
    AS_WRITTEN,
    LOGGED_AS,
    POINT_COLUMNS,
    SOURCE_ROW,
    SUMMARY_COLUMNS,
    TEXTS,
    WHOLE,
    further_columns,
)
from fvlm_core.interchange.measured import MeasuredRun, Start
from fvlm_core.interchange.table import Format, ImportedTable, TableRow
from fvlm_core.runs.metrics import Row
from fvlm_core.utils.errors import Problem, Problems
from fvlm_core.utils.listing import shorten
from fvlm_registry.nearest import did_you_mean

IDENTITY = ("model_size", "lr_schedule")
"""Columns that either table may tell."""

POINTS_FORMAT = Format(
    "evaluation points",
    POINT_COLUMNS,
    TEXTS,
    WHOLE & {*POINT_COLUMNS},
    frozenset({"run_id", "step"}),
    frozenset(IDENTITY),
    further_columns,
)
SUMMARIES_FORMAT = Format(
    "run summaries",
    SUMMARY_COLUMNS,
    TEXTS,
    WHOLE & {*SUMMARY_COLUMNS},
    frozenset({"run_id"}),
    frozenset(IDENTITY),
)

EXTRA = "extra"
"""In imported rows: cells of columns that the format does not know."""


def runs_of_tables(
    points: ImportedTable | None, summaries: ImportedTable | None, remarks: list[str]
) -> list[MeasuredRun]:
    """The runs that either table names, those with points first, in the order of the files.

    Raises `Problems` for a run measured twice at one step with different values, a run of two sizes or schedules, and
    a run with two summaries. remarks: what people should know is added to them.
    """
    problems = _untold(points, summaries, remarks)
    runs = _with_points(points, problems, remarks) if points else {}
    if summaries:
        _add_summaries(summaries, runs, problems, remarks)
        if points:
            _add_counts(runs, remarks)
    if problems:
        raise Problems(problems)
    return list(runs.values())


def _untold(
    points: ImportedTable | None, summaries: ImportedTable | None, remarks: list[str]
) -> list[Problem]:
    """The columns that neither table has; of those that one of them has, a remark."""
    tables = [table for table in (points, summaries) if table]
    lacking = [{problem.key for problem in table.untold} for table in tables]
    neither = set[str].intersection(*lacking)
    for table, keys in zip(tables, lacking, strict=True):
        for column in [column for column in IDENTITY if column in keys - neither]:
            other = next(one for one in tables if one is not table)
            remarks.append(f"{table.file}: no column {column}; taken from {other.file.name}")
    return [problem for table in tables for problem in table.untold if problem.key in neither]


def _with_points(table: ImportedTable, problems: list[Problem], remarks: list[str]) -> dict[str, MeasuredRun]:
    runs: dict[str, MeasuredRun] = {}
    first: dict[tuple[str, int], TableRow] = {}
    lines: dict[str, int] = {}
    copies = 0
    for place, row in enumerate(table.rows):
        values = row.values
        name = values["run_id"]
        run = runs.get(name)
        if run is None:
            run = runs[name] = MeasuredRun(
                name, values.get("model_size", ""), values.get("lr_schedule", ""), starts=[Start()]
            )
            lines[name] = row.line
            _check_name(name, table, row.line, problems)
        for column, said in zip(IDENTITY, (run.size, run.schedule), strict=True):
            if values.get(column, said) != said:
                problems.append(
                    Problem(
                        f'run {name} has "{values[column]}" here and "{said}" in line {lines[name]}; expected one '
                        "for each run: give what are two runs two names",
                        str(table.file),
                        row.line,
                        column,
                    )
                )
        other = first.setdefault((name, values["step"]), row)
        if other is row:
            run.starts[0].rows.append(_point(row, place))
        elif (other.values, other.as_written, other.extra) == (values, row.as_written, row.extra):
            copies += 1
        else:
            problems.append(_twice(table, name, row, other))
    for run in runs.values():  # the order of the file is kept in the rows themselves
        run.starts[0].rows.sort(key=lambda row: row["step"])
    if copies:
        remarks.append(f"{table.file}: rows that are exact copies of earlier ones, left out: {copies}")
    return runs


def _point(row: TableRow, place: int) -> Row:
    values = {
        LOGGED_AS.get(column, column): value for column, value in row.values.items() if column not in TEXTS
    }
    return {"event_type": "eval", **values, SOURCE_ROW: place, **_beside(row)}


def _beside(row: TableRow) -> dict[str, Any]:
    return {key: value for key, value in ((AS_WRITTEN, row.as_written), (EXTRA, row.extra)) if value}


def _twice(table: ImportedTable, name: str, row: TableRow, other: TableRow) -> Problem:
    column = next(
        (
            column
            for column in row.values
            if (row.values[column], row.as_written.get(column))
            != (other.values[column], other.as_written.get(column))
        ),
        "",
    )
    ours, theirs = (of.as_written.get(column, of.values.get(column)) for of in (row, other))
    differ = f"{column} {ours} here and {theirs} there" if column else "other columns differ"
    return Problem(
        f"run {name} has step {row.values['step']} here and in line {other.line}, with different values ({differ}); "
        "expected one row for each step: keep the right one",
        str(table.file),
        row.line,
    )


def _add_summaries(
    table: ImportedTable, runs: dict[str, MeasuredRun], problems: list[Problem], remarks: list[str]
) -> None:
    with_points = list(runs)
    lines: dict[str, int] = {}
    for place, row in enumerate(table.rows):
        name = row.values["run_id"]
        if name in lines:
            text = (
                f"run {name} has a summary here and in line {lines[name]}; expected one: keep the right one"
            )
            problems.append(Problem(text, str(table.file), row.line, "run_id"))
            continue
        lines[name] = row.line
        if name not in runs:
            _check_name(name, table, row.line, problems)
            if with_points:
                near = did_you_mean(name, with_points)
                remarks.append(f"run {name} has a summary and no points; it is a run of its own{near}")
            runs[name] = MeasuredRun(name)
        run = runs[name]
        run.total_params = row.values["total_params"]
        run.size = run.size or row.values.get("model_size", "")
        run.schedule = run.schedule or row.values.get("lr_schedule", "")
        told = {"model_size": run.size, "lr_schedule": run.schedule}
        run.summary = {**told, **row.values, SOURCE_ROW: place, **_beside(row)}
    silent = [name for name in with_points if runs[name].summary is None]
    if silent:
        remarks.append(f"no summary, and none is made up: {shorten(', '.join(silent))}")


def _add_counts(runs: dict[str, MeasuredRun], remarks: list[str]) -> None:
    """Parameters of runs without a count, from the others of their size when these agree: as `fvlm fit --data` does."""
    by_size: dict[str, set[int]] = {}
    for run in runs.values():
        if run.size and run.total_params is not None:
            by_size.setdefault(run.size, set()).add(run.total_params)
    taken: dict[str, list[str]] = {}
    for run in runs.values():
        counts = by_size.get(run.size, set())
        if run.total_params is None and len(counts) == 1:
            (run.total_params,) = counts
            taken.setdefault(run.size, []).append(run.id)
    for size, names in taken.items():
        (count,) = by_size[size]
        remarks.append(f"N of {shorten(', '.join(names))} is that of the other runs of {size}: {count:,}")


def _check_name(name: str, table: ImportedTable, line: int, problems: list[Problem]) -> None:
    if wrong := wrong_name(name):
        problems.append(Problem(f"{wrong}, got {name!r}", str(table.file), line, "run_id"))


def wrong_name(name: str) -> str:
    """What is wrong with a run's name; nothing when it can be told apart in a table again."""
    if name != name.strip() or not name.isprintable():
        return "expected a name without spaces around it, line breaks or control characters"
    return ""


def check_sizes(runs: Sequence[MeasuredRun]) -> list[str]:
    """Names of the runs whose N is not known, and which have points."""
    return [run.id for run in runs if run.total_params is None and run.evaluations]

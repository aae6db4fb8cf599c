"""Points from files: CSV, JSON and Parquet, read strictly into one table."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from attrs import evolve
from pandas.api.types import union_categoricals

from fvlm_core.interfaces.fit import LRCurve
from fvlm_core.scaling.points.charts import STEP, ChartSheet, is_chart
from fvlm_core.scaling.points.column_names import meant
from fvlm_core.scaling.points.columns import STANDARD, ColumnChoices, FoundColumns, find_columns, proposed_n
from fvlm_core.scaling.points.counts import N_KINDS
from fvlm_core.scaling.points.csv_file import CSVSheet
from fvlm_core.scaling.points.dialect import Decimal
from fvlm_core.scaling.points.in_fits import marks_beside
from fvlm_core.scaling.points.json_file import JSONSheet
from fvlm_core.scaling.points.parquet_file import FrameSheet, ParquetSheet
from fvlm_core.scaling.points.point_selection import holds
from fvlm_core.scaling.points.points import TEXT, Points, labelled, settle
from fvlm_core.scaling.points.table_reader import Cells, Sheet, out_of_range
from fvlm_core.scaling.points.wide import WideSheet
from fvlm_core.utils.errors import Problem, Problems, UsageError
from fvlm_core.utils.filter_expression import Condition
from fvlm_core.utils.listing import listed, shorten
from fvlm_registry.nearest import did_you_mean

POINTS, SUMMARIES = "all_eval_points.csv", "run_summaries.csv"

Columns = dict[str, Any]
"""A float array or a `pandas.Categorical` by column."""


def read_points(files: Sequence[Path], choice: ColumnChoices | None = None) -> Points:
    """Points from tables: in the export's format (`all_eval_points.csv`), with plain columns N, D, loss, or as chosen.

    By the ending of its name, a file is Parquet (.parquet, .pq), JSON (.json: an array of rows, or the record of
    `fvlm fit --json`; .jsonl, .ndjson: a row a line), or else CSV. Parameter counts that are not there are looked up
    in `run_summaries.csv` beside the file. A file of steps that names no run is one run. Raises `Problems` or
    `UsageError`, naming file, line and column, for a file that is not readable as points. A folder stands for the
    points of the export in it, and runs that an export marks as no fit points (`marks`) are left out.
    """
    choice = choice or ColumnChoices()
    files = [file / POINTS if (file / POINTS).is_file() else file for file in files]
    remarks: list[str] = []
    tables: list[Columns] = []
    curves: dict[str, LRCurve] = {}
    n_kinds: list[str] = []
    d_kinds: list[str] = []
    runs: list[str] = []
    ways_out: dict[str, str] = {}
    stems = [file.stem for file in files]
    for file in files:
        sheet = open_table(file, choice.decimal)
        sheet = sheet if choice.outputs is None else WideSheet(sheet, choice.outputs)
        counts = partial(_holds_counts, sheet)
        found = find_columns(str(file), sheet.line, sheet.headers, choice, advice=sheet.advice, counts=counts)
        table = load(sheet, found, remarks, choice)
        remarks += [f"{file}: {said}" for said in (sheet.said, ", ".join(found.usual)) if said]
        n_kinds.append(sheet.kinds.get("n", found.n_kind))
        d_kinds.append(sheet.kinds.get("d", found.d_kind))
        _leave_out_controls(file, table, remarks)
        if "n" not in table and _look_up(file, table, choice, remarks):
            n_kinds[-1] = N_KINDS[choice.n or "total"].words
        if (
            "n" not in table
            and "n" not in choice.unread
            and (way_out := _without_n(sheet, table, choice, remarks))
        ):
            ways_out["n"] = f"{file}: {way_out}"
        if "run" not in table and _is_one_run(table):
            name = file.stem if stems.count(file.stem) == 1 else str(file.with_suffix(""))
            table["run"] = labelled([name], np.zeros(_rows(table), np.int8))
            runs.append(name)
        tables.append(table)
        curves |= sheet.curves
    if runs:
        remarks.append(
            f"a file that names no run and has every step once is one run: {shorten(', '.join(runs))}"
        )
    points = settle(
        _merged(tables),
        listed(files),
        remarks,
        n_kind=" or ".join(dict.fromkeys(n_kinds)),
        d_kind=" or ".join(dict.fromkeys(d_kinds)),
        warmup=choice.warmup,
        keep=(*choice.extras, *choice.reads, *choice.further),
        read=choice.further,
    )
    return evolve(points, curves={**points.curves, **curves}, ways_out=ways_out)


def read_frame(table: pd.DataFrame, name: str, choice: ColumnChoices | None = None) -> Points:
    """Points from a table of pandas, by the same rules as those of a file. name: what messages call it. An index with a
    name is a column. Raises `Problems` or `UsageError`."""
    choice = choice or ColumnChoices()
    remarks: list[str] = []
    sheet: Sheet = FrameSheet(table, name, choice.decimal)
    sheet = sheet if choice.outputs is None else WideSheet(sheet, choice.outputs)
    counts = partial(_holds_counts, sheet)
    found = find_columns(name, None, sheet.headers, choice, advice=sheet.advice, counts=counts)
    columns = load(sheet, found, remarks, choice)
    remarks += [f"{name}: {said}" for said in (sheet.said, ", ".join(found.usual)) if said]
    way_out = _without_n(sheet, columns, choice, remarks) if "n" not in {*columns, *choice.unread} else ""
    points = settle(
        columns,
        name,
        remarks,
        n_kind=found.n_kind,
        d_kind=found.d_kind,
        warmup=choice.warmup,
        keep=(*choice.extras, *choice.reads, *choice.further),
        read=choice.further,
    )
    return evolve(points, ways_out={"n": f"{name}: {way_out}"} if way_out else {})


def read_columns(source: Path | pd.DataFrame, columns: Sequence[str], name: str = "") -> dict[str, Any]:
    """Columns of numbers, 0 or more, of a table that holds no points: float [n] by column, found by their usual names.

    name: what messages call a table of pandas. Raises `UsageError` or `Problems`: a missing column, and every bad cell.
    """
    sheet = open_table(source) if isinstance(source, Path) else FrameSheet(source, name, "")
    headers: dict[str, str] = {}
    for column in columns:
        found = [header for header in sheet.headers if meant(header) == column]
        if len(found) != 1:
            what = f"{len(found)} columns with {column}, {listed(found)}" if found else f"no column {column}"
            near = "" if found else did_you_mean(column, sheet.headers) or f"; found {listed(sheet.headers)}"
            raise Problems([Problem(f"{what}{near}", str(sheet.file), sheet.line)])
        headers[column] = found[0]
    cells = sheet.read([*headers.values()])
    problems: list[Problem] = []
    for header in headers.values():
        outside = ~((cells.numbers[header] >= 0) & np.isfinite(cells.numbers[header]))
        problems += sheet.bad_cells(header, "expected a number, not negative", np.flatnonzero(outside))
    if problems:
        raise Problems(problems)
    return {column: cells.numbers[header] for column, header in headers.items()}


def open_table(file: Path, decimal: Decimal = "") -> Sheet:
    """A table in a file, by the ending of its name. Raises `UsageError` for what is none."""
    try:
        if not file.exists():
            raise UsageError(f"{file}: there is no such file")
        if not stat.S_ISREG(file.stat().st_mode):
            what = "a folder" if file.is_dir() else "no regular file"
            raise UsageError(f"{file}: expected a file with a table, got {what}")
        suffix = file.suffix.lower()
        if suffix in (".parquet", ".pq"):
            return ParquetSheet(file, decimal)
        if suffix in (".json", ".jsonl", ".ndjson"):
            return JSONSheet(file, by_line=suffix != ".json", decimal=decimal)
        sheet = CSVSheet(file, decimal)
        return ChartSheet(sheet) if is_chart(sheet.headers) else sheet
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from None


def _without_n(sheet: Sheet, table: Columns, choice: ColumnChoices, remarks: list[str]) -> str:
    """How N is added to a table that has none, for errors; "" where that is not known. Runs of a chart are sizes of
    their own."""
    if sheet.advice:
        if "size" not in table:
            remarks.append(f"{sheet.file}: N of its runs is not known: each is a size of its own")
            table["size"] = table["run"]
        return sheet.advice
    if sized := proposed_n(sheet.headers, partial(_holds_counts, sheet)):
        return f'"{sized}" may be N: --columns N={shlex.quote(sized)}'
    if "size" not in table and (unused := _unused(table, choice)):
        remarks.append(
            f"{sheet.file}: no column was taken for N, so all rows are one size; if one of "
            f"{shorten(', '.join(unused))} is N, say so: --columns N=HEADER"
        )
    return ""


def _holds_counts(sheet: Sheet, header: str) -> bool:
    """Whether all rows hold numbers under a header: large ones, such as 1.5e8 or 150M, and nothing else."""
    try:
        cells = sheet.read([header])
    except UsageError:
        return False
    numbers, wrong = cells.numbers[header], cells.wrong[header]
    return bool(cells.rows and not wrong.any() and (numbers >= FEWEST_PARAMETERS).all())


FEWEST_PARAMETERS = 1_000.0
"""A column of smaller numbers holds no parameter counts: depths, or millions of them."""


def load(
    sheet: Sheet, found: FoundColumns, remarks: list[str], choice: ColumnChoices | None = None
) -> Columns:
    """The columns of one table: those that are found, and all others that hold numbers or labels: rows that differ in
    any are no copies. Raises `Problems` that name every bad cell.

    remarks: of a run's history, that rows without a loss are left out.
    """
    choice = choice or ColumnChoices()
    labels = {column: found.headers[column] for column in (*TEXT, *choice.labels) if column in found.headers}
    numbers = {column: header for column, header in found.headers.items() if column not in labels}
    # A name of ours with another meaning cannot be told apart from it.
    others = [
        header
        for header in sheet.headers
        if header in found.extras
        or not (
            header in found.headers.values() or header.lower() in STANDARD or sheet.headers.count(header) > 1
        )
    ]
    cells = sheet.read(_once(numbers), _once(labels), others)
    if not cells.rows:
        raise UsageError(
            f"{sheet.file}: no data below the header" if sheet.line else f"{sheet.file}: no rows"
        )
    kept = np.ones(cells.rows, bool)
    loss = None if "loss" in choice.unread else found.headers.get("loss")
    if loss is not None and STEP in sheet.headers:
        kept = ~np.isnan(cells.numbers[loss]) | cells.wrong[loss]
    problems: list[Problem] = []
    for column, header in numbers.items():
        if column in choice.unread:
            _known(sheet, cells, header, remarks)
            continue
        wrong = cells.wrong[header]
        outside, expected = out_of_range(column, cells.numbers[header], choice)
        if column == "loss" and choice.where and (wrong | outside).any():
            left_out = _not_meant(numbers, labels, cells, found.factors, choice.where)
            wrong, outside = wrong & ~left_out, outside & ~left_out
        problems += sheet.bad_cells(header, "expected a number", np.flatnonzero(wrong))
        problems += sheet.bad_cells(header, expected, np.flatnonzero(outside & ~wrong & kept))
        if column == "loss" and choice.where is not None and problems and problems[-1].key == header:
            # What is no number meets neither.
            met = "loss < 1e9" if np.isinf(cells.numbers[header]).any() else "loss > 0"
            said = f'--where "{met}" leaves out what has no loss'
            problems.append(Problem(said, str(sheet.file), problems[-1].line))
    problems += [
        Problem("expected numbers or labels, which --where can compare", str(sheet.file), None, header)
        for header in found.extras
        if header not in cells.others
    ]
    if problems:
        raise Problems(problems)
    out: Columns = {column: cells.numbers[header] for column, header in numbers.items()}
    out |= {column: out[column] * factor for column, factor in found.factors.items()}
    out |= {column: cells.labels[header] for column, header in labels.items()} | cells.others
    if not kept.all():
        remarks.append(f"{sheet.file}: rows without a loss, left out: {(~kept).sum()} of {len(kept)}")
        out = {column: values[kept] for column, values in out.items()}
    if not kept.any():
        raise UsageError(f"{sheet.file}: no row has a {loss}")
    return out | {column: _as_labels(out[column]) for column in labels if column in out}


def _not_meant(
    numbers: Mapping[str, str],
    labels: Mapping[str, str],
    cells: Cells,
    factors: Mapping[str, float],
    conditions: Sequence[Condition],
) -> Any:
    """Which rows do not meet the conditions of the user, and will be left out: bool [rows]. Runs that crashed have no
    loss, and are left out by what says that they did, or by --where "loss > 0"."""
    out = np.zeros(cells.rows, bool)
    table = pd.DataFrame(
        {column: cells.numbers[header] * factors.get(column, 1.0) for column, header in numbers.items()}
        | {column: cells.labels[header] for column, header in labels.items()}
        | cells.others
    )
    for condition in conditions:
        with suppress(UsageError):  # told where conditions are applied
            out |= ~holds(condition, table)
    return out


def _known(sheet: Sheet, cells: Cells, header: str, remarks: list[str]) -> None:
    """In place: NaN for what cannot be in a column that no law reads."""
    numbers = cells.numbers[header]
    usable = (numbers > 0) & (numbers < np.inf)
    if said := int((cells.wrong[header] | ~(usable | np.isnan(numbers))).sum()):
        what = "no number above 0, and taken as not known, since no law reads it"
        remarks.append(f"{sheet.file}: {header}: {what}: {said}")
    cells.numbers[header] = np.where(usable, numbers, np.nan)


def _rows(table: Columns) -> int:
    return len(next(iter(table.values())))


def _once(columns: Columns) -> list[str]:
    return list(dict.fromkeys(columns.values()))


def _as_labels(values: Any) -> Any:
    if isinstance(values, pd.Categorical):
        return pd.Categorical.from_codes(values.codes, pd.Index(list(values.categories), dtype=object))
    return pd.Categorical(
        pd.Series(values).map(lambda value: f"{value:.15g}", na_action="ignore").astype(object)
    )


def _merged(tables: list[Columns]) -> Columns:
    """The tables one below the other; a column that one of them lacks is missing there."""
    if len(tables) == 1:
        return tables[0]
    lengths = [*map(_rows, tables)]
    out: Columns = {}
    for column in dict.fromkeys(name for table in tables for name in table):
        pieces = [
            table.pop(column, np.full(length, np.nan)) for table, length in zip(tables, lengths, strict=True)
        ]
        out[column] = (
            union_categoricals([_as_labels(piece) for piece in pieces])
            if any(isinstance(piece, pd.Categorical) for piece in pieces)
            else np.concatenate(pieces)
        )
    return out


def _leave_out_controls(file: Path, table: Columns, remarks: list[str]) -> None:
    """Drop the rows of runs that the files beside an export mark as no fit points, and say so."""
    if "run" not in table:
        return
    marks = marks_beside(file)
    controls = marks.controls(list(table["run"].categories))
    if not controls:
        return
    remarks.append(f"left out, because they are not meant for fits ({marks.file}): {listed(controls)}")
    kept = ~table["run"].isin(controls)
    if not kept.any():
        raise UsageError(f"{file}: no point to fit: {remarks[-1]}")
    for name in table:
        table[name] = table[name][kept]
    table["run"] = table["run"].remove_unused_categories()


def _is_one_run(table: Columns) -> bool:
    """Whether the rows can only be of one run: every step once, and one N."""
    if "step" not in table or len(table["step"]) < 2:
        return False
    steps = np.sort(table["step"])
    one_size = "n" not in table or (table["n"] == table["n"][0]).all()
    return bool(one_size and np.isfinite(steps).all() and (np.diff(steps) > 0).all())


def _unused(table: Columns, choice: ColumnChoices) -> list[str]:
    """The columns of numbers that nothing reads."""
    read = {*STANDARD, *choice.extras, *choice.reads, *choice.further}
    return [
        name for name, values in table.items() if name not in read and not isinstance(values, pd.Categorical)
    ]


def _look_up(file: Path, table: Columns, choice: ColumnChoices, remarks: list[str]) -> bool:
    """Add parameter counts by run, or by size, from the summaries beside the file; NaN where they do not tell."""
    summaries = file.with_name(SUMMARIES)
    if not summaries.is_file() or summaries == file:
        return False
    sheet = CSVSheet(summaries)
    key = N_KINDS[choice.n or "total"].key
    keys = {
        column: header for column, header in (("run", "run_id"), ("size", "model_size")) if column in table
    }
    keys = {column: header for column, header in keys.items() if header in sheet.headers}
    if key not in sheet.headers or not keys:
        return False
    cells = sheet.read([key], list(keys.values()))
    out = np.full(_rows(table), np.nan)
    for column, header in keys.items():
        by_label = (
            pd.Series(cells.numbers[key])
            .groupby(cells.labels[header], observed=True)
            .agg(["first", "nunique"])
        )
        sure = by_label["first"].where(by_label["nunique"] == 1)
        labels = table[column]
        of_label = sure.reindex(labels.categories).to_numpy(float)
        out = np.where(np.isnan(out), np.append(of_label, np.nan)[labels.codes], out)
    if np.isnan(out).all():
        return False
    table["n"] = out
    remarks.append(f"N (parameters) looked up in {summaries}")
    return True

"""A CSV file with known columns, read strictly: every problem is named with its line."""

from __future__ import annotations

import csv
import shlex
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from attrs import field, frozen

from fvlm_core.interchange.export_tables import parse, written
from fvlm_core.scaling.points.column_names import plainly
from fvlm_core.scaling.points.csv_file import CSVSheet, bare
from fvlm_core.scaling.points.dialect import Decimal, Dialect
from fvlm_core.scaling.points.table_reader import SHOWN
from fvlm_core.utils.errors import Problem, Problems, UsageError
from fvlm_core.utils.listing import listed
from fvlm_registry.nearest import did_you_mean

LOSSES = frozenset({"val_loss", "train_loss", "best_val_loss", "final_train_loss"})
"""Columns of positive numbers. The parts of a loss may be 0, where there is no such part."""


@frozen
class Format:
    """The columns that a table must have. needed: those that have a value in every row. whole: whole numbers.
    told: those that another table may tell instead. further: of all headers, those of columns that the table may have
    besides, which are of numbers then."""

    name: str
    columns: tuple[str, ...]
    texts: frozenset[str]
    whole: frozenset[str]
    needed: frozenset[str]
    told: frozenset[str] = frozenset()
    further: Callable[[Sequence[str]], Sequence[str]] = lambda headers: ()

    def missing(self, headers: Sequence[str]) -> list[str]:
        """The columns that are not there."""
        return [column for column in self.columns if column not in headers]

    def names(self, sheet: CSVSheet) -> list[str]:
        """The headers of a sheet; a column of this format that is spelt otherwise ("Val Loss") by its name here."""
        headers = [header.strip() for header in sheet.headers]
        plain = [plainly(header) for header in headers]
        return [
            name if name in self.columns and name not in headers and plain.count(name) == 1 else header
            for header, name in zip(headers, plain, strict=True)
        ]

    def absent(self, column: str, sheet: CSVSheet) -> Problem:
        """That a column is not there, with the header that may be meant by it."""
        unknown = [header for header in self.names(sheet) if header not in self.columns]
        near = next((header for header in unknown if did_you_mean(header, [column])), None)
        meant = f': did you mean it by "{near}"?' if near else ", empty where nothing is known"
        return Problem(
            f'no column "{column}", which {self.name} have{meant}', str(sheet.file), sheet.line, column
        )


@frozen
class TableRow:
    """A row: line in the file, values by column, texts of numbers that we would write otherwise, and the cells of
    columns that the format does not know."""

    line: int
    values: dict[str, Any]
    as_written: dict[str, str]
    extra: dict[str, Any] = field(factory=dict[str, Any])


@frozen
class ImportedTable:
    """remarks: what was left out of it. untold: that columns are not there which another table may tell instead."""

    file: Path
    format: Format
    rows: list[TableRow]
    extras: list[str]
    untold: list[Problem]
    remarks: list[str] = field(factory=list[str])


def open_sheet(file: Path, decimal: Decimal = "") -> CSVSheet:
    """The file as a sheet with its header read. Raises `UsageError` where it is no CSV file."""
    try:
        return CSVSheet(file, decimal)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from None


def choose_format(sheet: CSVSheet, formats: Sequence[Format]) -> Format:
    """The format that a file's columns are those of. Raises `Problems`: of the nearest one, what is missing."""
    best = min(formats, key=lambda of: len(of.missing(of.names(sheet))) / len(of.columns))
    headers = best.names(sheet)
    twice = [header for header in best.columns if headers.count(header) > 1]
    problems = [
        Problem(
            f'{headers.count(header)} columns are called "{header}": keep one of them',
            str(sheet.file),
            sheet.line,
        )
        for header in twice
    ]
    missing = best.missing(headers)
    if len(problems) + len(missing) > len(best.columns) / 2:
        known = "\n".join(f"  {of.name}: {', '.join(of.columns)}" for of in formats)
        found = listed(headers, none="nothing")
        raise UsageError(
            f"{sheet.file}:{sheet.line}: not the columns of any table that is imported. Found: {found}\n{known}\n"
            f"A table of points is fitted as it is: fvlm fit --data {shlex.quote(str(sheet.file))}"
        )
    problems += [best.absent(column, sheet) for column in missing if column not in best.told]
    if problems:
        raise Problems(problems)
    return best


def read_table(sheet: CSVSheet, of: Format, *, may_be_torn: bool = False) -> ImportedTable:
    """All rows of a file. may_be_torn: a last line that a kill cut short is left out, and said.

    Raises `Problems` with the lines of rows of another length, of cells that are no numbers, and of empty cells that
    are needed.
    """
    file, headers = sheet.file, of.names(sheet)
    remarks: list[str] = []
    lines = _lines(sheet, may_be_torn, remarks)
    columns = [column for column in of.columns if column in headers]
    columns += [header for header in of.further(headers) if _numbers(sheet, headers, header, lines)]
    extras = [header for header in headers if header not in columns]
    no_number, empty, odd = (defaultdict[str, list[int]](list) for _ in range(3))
    lengths: list[Problem] = []
    rows: list[TableRow] = []
    for at, (line, cells) in enumerate(lines):
        if len(cells) != len(headers):
            text = f"expected {len(headers)} cells, as the header has, got {len(cells)}"
            lengths.append(Problem(text, str(file), line))
            continue
        texts = dict(zip(headers, map(bare, cells), strict=True))
        free = {header: _free(texts[header], sheet.dialect) for header in extras if texts[header]}
        row = TableRow(line, {}, {}, free)
        for column in columns:
            text = texts[column]
            value: Any = text
            if column not in of.texts:
                text = sheet.dialect.plain(text)
                try:
                    value = parse(column, text, column in of.whole)
                except ValueError:
                    no_number[column].append(at)
                    continue
                if written(column, value) != text:
                    row.as_written[column] = text
            if column in LOSSES and _no_loss(text, value):
                odd[column].append(at)
            if column in of.needed and value in ("", None):
                empty[column].append(at)
            row.values[column] = value
        rows.append(row)
    untold = [of.absent(column, sheet) for column in of.columns if column not in columns]
    sheet.headers = headers  # as the messages name them
    problems = [
        p for column in columns for p in sheet.bad_cells(column, _kind(of, column), no_number[column])
    ]
    problems += [
        p for column in of.needed for p in sheet.bad_cells(column, "expected a value", empty[column])
    ]
    problems += lengths[:SHOWN]
    if problems:
        raise Problems(problems)
    remarks += [
        f"{problem}; kept as written, and left out of fits"
        for column in columns
        for problem in sheet.bad_cells(column, "expected a finite, positive number", odd[column])
    ]
    if sheet.said:
        remarks.append(f"{file}: {sheet.said}")
    return ImportedTable(file, of, rows, extras, untold, remarks)


def _no_loss(text: str, value: float | None) -> bool:
    """Whether something is written that is no loss: nan, inf, zero or less. An empty cell, or "NA", says nothing."""
    return text.strip().lower() not in ("", "na") if value is None else value <= 0


def _lines(sheet: CSVSheet, may_be_torn: bool, remarks: list[str]) -> list[tuple[int, list[str]]]:
    try:
        lines = list(sheet.lines())
    except csv.Error as error:
        raise UsageError(f"{sheet.file}: not readable as CSV: {error}") from None
    if may_be_torn and lines and not _ends_with_newline(sheet.file):
        remarks.append(f"{sheet.file}:{lines.pop()[0]}: a last line that was cut short, left out")
    return lines


def _kind(of: Format, column: str) -> str:
    return "expected a whole number, not negative" if column in of.whole else "expected a number"


def _numbers(
    sheet: CSVSheet, headers: Sequence[str], column: str, lines: Sequence[tuple[int, list[str]]]
) -> bool:
    """Whether every cell of a column is a number or empty."""
    at = headers.index(column)
    try:
        for cell in (row[at] for _, row in lines if len(row) == len(headers)):
            parse(column, sheet.dialect.plain(bare(cell)))
    except ValueError:
        return False
    return True


def _free(text: str, dialect: Dialect) -> Any:
    """A cell of a column that nobody knows: a number where it is one."""
    try:
        value = parse("", dialect.plain(text))
    except ValueError:
        return text
    return text if value is None else value


def _ends_with_newline(file: Path) -> bool:
    with file.open("rb") as data:
        size = data.seek(0, 2)
        data.seek(max(0, size - 4))
        last = data.read().rstrip(b"\0")  # of UTF-16, a line feed has two bytes
        return last[-1:] in (b"\n", b"\r") or not size

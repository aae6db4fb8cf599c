"""Tables in JSON files: an array of rows, a row a line, or the points in the record of a fit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.interfaces.fit import LRCurve
from fvlm_core.scaling.points.copies import POINT
from fvlm_core.scaling.points.dialect import Decimal, encoding_of
from fvlm_core.scaling.points.table_reader import SHOWN, Cells, Place, Sheet
from fvlm_core.utils.data_files import read_data
from fvlm_core.utils.errors import Problem, Problems, UsageError
from fvlm_core.utils.listing import shorten

_ABSENT = object()
_PLAIN = (int, float, str, type(None), type(_ABSENT))

LARGEST = 256 << 20
"""Bytes of a file that is read: it is held in memory, several times over."""


class JSONSheet(Sheet):
    """A JSON file, all of which is in memory."""

    def __init__(self, file: Path, by_line: bool, decimal: Decimal = "") -> None:
        """by_line: a row a line, whatever the file looks like. Raises `UsageError` for what holds no rows."""
        super().__init__(file, decimal)
        self._lines: list[int] = []
        self._columns: dict[str, list[Any]] = {}
        try:
            text = read_data(file, LARGEST).decode(encoding_of(file))
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            raise UsageError(f"{file}:{line}: not UTF-8 text ({error.reason}); expected JSON") from None
        if not text.strip():
            raise UsageError(f"{file}: the file is empty; expected JSON")
        content: Any = self._by_line(text) if by_line else self._whole(text)
        if isinstance(content, list):
            self._add(content)
        else:
            self._from_record(content)
        self.headers = list(self._columns)

    def read(self, numbers: Sequence[str], labels: Sequence[str] = (), others: Sequence[str] = ()) -> Cells:
        """The columns under these headers."""
        cells = Cells(len(next(iter(self._columns.values()), [])))
        problems: list[Problem] = []
        for header in numbers:
            cells.numbers[header], cells.wrong[header] = self._numbers(header)
        for header in (*labels, *others):
            values = self._columns[header]
            bad = [row for row, value in enumerate(values) if not _is_label(value)]
            if header in labels:
                problems += self.bad_cells(header, "expected a label", bad)
            if not bad:
                (cells.labels if header in labels else cells.others)[header] = _labels(values)
        if problems:
            raise Problems(problems)
        return cells

    def places(self, rows: Sequence[int], header: str) -> list[tuple[Place, str]]:
        """Lines of a file with a row a line; else row numbers, from 1."""
        found = [(self._place(row), self._columns[header][row]) for row in rows]
        return [
            (place, _written(value) + (self.dialect.way_out(value) if isinstance(value, str) else ""))
            for place, value in found
        ]

    def _numbers(self, header: str) -> tuple[Any, Any]:
        """Floats, NaN where there is none, and which values are something else; texts as the cells of a CSV file."""
        values = self._columns[header]
        numbers = np.array([_float(value) for value in values], float)
        wrong = np.array([type(value) not in _PLAIN for value in values])
        texts = [row for row, value in enumerate(values) if isinstance(value, str)]
        if texts:
            numbers[texts], wrong[texts] = self.dialect.numbers_of_texts([values[row] for row in texts])
        return numbers, wrong

    def _place(self, row: int) -> Place:
        return (self._lines[row], "") if self._lines else (None, f"row {row + 1}")

    def _whole(self, text: str) -> Any:
        """The one value of a file, or its rows where it holds several."""
        try:
            return _parsed(text)
        except json.JSONDecodeError as error:
            if error.msg == "Extra data" and text.lstrip().startswith("{"):
                return self._by_line(text)
            raise UsageError(f"{self.file}:{error.lineno}: not readable as JSON: {error.msg}") from None
        except (ValueError, RecursionError) as error:
            raise UsageError(f"{self.file}: not readable as JSON: {_reason(error)}") from None

    def _by_line(self, text: str) -> list[Any]:
        rows: list[Any] = []
        problems: list[Problem] = []
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                rows.append(_parsed(line))
                self._lines.append(number)
            except (ValueError, RecursionError) as error:
                problems.append(Problem(f"not readable as JSON: {_reason(error)}", str(self.file), number))
                if len(problems) == SHOWN:
                    break
        if problems:
            raise Problems(problems)
        return rows

    def _add(self, rows: list[Any]) -> None:
        """Rows as columns. Raises `Problems` for rows that are no objects."""
        odd = [row for row, content in enumerate(rows) if not isinstance(content, dict)]
        problems = [
            Problem(f"expected an object, got {_written(rows[row])}", str(self.file), *self._place(row))
            for row in odd[:SHOWN]
        ]
        if len(odd) > SHOWN:
            problems.append(Problem(f"{len(odd) - SHOWN} more rows that are no objects", str(self.file)))
        if problems:
            raise Problems(problems)
        if not rows:
            raise UsageError(f"{self.file}: no rows")
        for header in dict.fromkeys(key for row in rows for key in row):
            self._columns[header] = [row.get(header, _ABSENT) for row in rows]

    def _from_record(self, content: Any) -> None:
        """The points that `fvlm fit --json` wrote."""
        points = content.get("points") if isinstance(content, dict) else None
        if not isinstance(points, dict) or "table" not in points:
            keys = f" with {shorten(', '.join(content))}" if isinstance(content, dict) and content else ""
            raise UsageError(
                f"{self.file}: expected an array of rows, a row a line, or the record of `fvlm fit --json` with its "
                f"points; got {_kind(content)}{keys}"
            )
        table = points["table"]
        lists = (
            isinstance(table, dict) and table and all(isinstance(column, list) for column in table.values())
        )
        if not lists or len({len(column) for column in table.values()}) > 1:
            raise UsageError(f"{self.file}: points.table: expected columns of equal length")
        # Rows of a record are points, each of them: what told them apart may not be in it.
        self._columns = {**table, POINT: list(range(len(next(iter(table.values())))))}
        self.kinds = {
            name[0]: points[name] for name in ("n_kind", "d_kind") if isinstance(points.get(name), str)
        }
        try:
            self.curves = {run: _curve(of) for run, of in points.get("curves", {}).items()}
        except (AttributeError, KeyError, TypeError, ValueError):
            raise UsageError(
                f"{self.file}: points.curves: expected steps, rates and warmup for each run, in rising order of steps"
            ) from None


def _curve(of: Any) -> LRCurve:
    steps, rates = np.array(of["steps"], float), np.array(of["rates"], float)
    rising = steps.ndim == 1 and len(steps) and (np.diff(steps) > 0).all()
    if not rising or steps.shape != rates.shape or not np.isfinite([*steps, *rates]).all():
        raise ValueError
    return LRCurve(steps, rates, int(of["warmup"]))


def _parsed(text: str) -> Any:
    """JSON in which no object has a key twice."""
    return json.loads(text, object_pairs_hook=_object)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'"{next(name for name in names if names.count(name) > 1)}" is there twice in a row')
    return out


def _reason(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _float(value: Any) -> float:
    try:
        return float(value) if type(value) in (int, float) else np.nan
    except OverflowError:
        return np.inf if value > 0 else -np.inf


def _is_label(value: Any) -> bool:
    if isinstance(value, str):
        return value.isascii() or value.encode("utf-8", "ignore").decode() == value  # else a lone surrogate
    return type(value) in (*_PLAIN, bool)


def _labels(values: list[Any]) -> Any:
    """Labels; numbers as numbers when all are, which filters can compare, and labels come to their text later."""
    plain = [None if value is _ABSENT else value for value in values]
    kinds = set(map(type, plain)) - {type(None)}
    if kinds and kinds <= {int, float}:
        return np.array([_float(value) for value in plain], float)
    return pd.Categorical(
        pd.Series([None if value is None else _text(value) for value in plain], dtype=object)
    )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _written(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    if isinstance(value, list | dict):
        return _kind(value)
    return shorten(json.dumps(value))


def _kind(value: Any) -> str:
    return {dict: "an object", list: "a list", str: "a text", bool: "a truth value"}.get(
        type(value), "a number"
    )

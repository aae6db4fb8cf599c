"""Which runs of exported tables are no fit points: a mark that travels beside the tables, whose columns are fixed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from attrs import frozen

from fvlm_core.scaling.points.csv_file import CSVSheet
from fvlm_core.utils.data_files import NOTES, read_data
from fvlm_core.utils.errors import Problem, Problems, UsageError
from fvlm_core.utils.listing import listed

MARKS = "in_fits.csv"
"""Of an export with such runs: `run_id`, and `in_fits`, true or false."""

FITS = "scaling_fits.json"
NOT_IN_FITS = "not_in_fits"
"""A key of it: the names of these runs."""

_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


@frozen
class Marks:
    """in_fits: by run; a run that is not named is in fits. file: where that is said; None: nowhere."""

    in_fits: Mapping[str, bool]
    file: Path | None = None

    def controls(self, runs: Sequence[str]) -> list[str]:
        """Those of these runs that are no fit points."""
        return [run for run in runs if not self.in_fits.get(run, True)]


def marks_beside(table: Path) -> Marks:
    """What the files beside a table say of its runs: `in_fits.csv`, or else `scaling_fits.json`.

    Raises `Problems` or `UsageError` for marks that cannot be read: controls would enter the fit without a word.
    """
    if (file := table.with_name(MARKS)).is_file() and file != table:
        return Marks(_read_marks(file), file)
    if (file := table.with_name(FITS)).is_file():
        names = _read_names(file)
        return Marks(dict.fromkeys(names, False), file if names else None)
    return Marks({})


def _read_marks(file: Path) -> dict[str, bool]:
    sheet = CSVSheet(file)
    columns = ("run_id", "in_fits")
    missing = [
        Problem(f'no column "{name}"; found {listed(sheet.headers)}', str(file), sheet.line)
        for name in columns
        if name not in sheet.headers
    ]
    if missing:
        raise Problems(missing)
    out: dict[str, bool] = {}
    problems: list[Problem] = []
    labels = sheet.read([], columns).labels
    for at, (run, mark) in enumerate(zip(*(labels[name].tolist() for name in columns), strict=True)):
        value = _BOOLEANS.get(str(mark).strip().lower())
        if value is None or run != run:
            ((line, _), got), *_ = sheet.places([at], "run_id" if value is not None else "in_fits")
            problems.append(Problem(f"expected a run, and true or false, got {got}", str(file), line))
        elif out.setdefault(run, value) != value:
            problems.append(Problem(f"run {run} is there twice, as true and as false", str(file)))
    if problems:
        raise Problems(problems)
    return out


def _read_names(file: Path) -> list[str]:
    try:
        content: Any = json.loads(read_data(file, NOTES))
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{file}: not readable as JSON: {error}; it may say which runs are no fit points"
        ) from None
    names = content.get(NOT_IN_FITS, []) if isinstance(content, dict) else []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"{file}: {NOT_IN_FITS}: expected a list of runs' names")
    return names

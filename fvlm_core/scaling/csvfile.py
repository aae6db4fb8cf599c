"""Points from CSV files, read strictly: every problem is named with its line."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.errors import Problem, Problems, UsageError
from fvlm_core.scaling.points import MEANING, NEEDED, NUMBERS, TEXT, Points, tidy
from fvlm_registry.nearest import did_you_mean

HEADERS: dict[str, tuple[str, ...]] = {
    "size": ("model_size", "size"),
    "run": ("run_id", "run"),
    "schedule": ("lr_schedule", "schedule"),
    "n": ("total_params", "n"),
    "d": ("samples_seen", "d"),
    "loss": ("val_loss", "loss"),
    "step": ("step",),
    "lr": ("lr",),
    "compute": ("flops", "c"),
}
"""Names of each column, in lower case: those of the export, and plain ones. Case does not count."""

SUMMARIES = "run_summaries.csv"
SHOWN = 5
"""Bad lines named one by one; the others are counted."""


def read_points(files: Sequence[Path]) -> Points:
    """Points from CSV files in the export's format (`all_eval_points.csv`) or with plain columns N, D, loss.

    The export's format has no parameter counts: they are looked up in `run_summaries.csv` beside the file. Raises
    `Problems` or `UsageError`, naming file, line and column, for a file that is not readable as points.
    """
    remarks: list[str] = []
    tables = [_read(file, remarks) for file in files]
    return tidy(pd.concat(tables, ignore_index=True), ", ".join(map(str, files)), remarks)


def _read(file: Path, remarks: list[str]) -> pd.DataFrame:
    found = _columns(file)
    names = {header: column for column, header in found.items()}
    types = {header: "category" for header, column in names.items() if column in TEXT}
    raw = _load(file, types)[list(names)]
    raw = raw.rename(columns=names)
    if raw.empty:
        raise UsageError(f"{file}: no data below the header")
    problems: list[Problem] = []
    for column in NUMBERS:
        if column in raw:
            raw[column] = _numbers(raw[column], file, found[column], column, problems)
    if problems:
        raise Problems(problems)
    for column in TEXT:
        if column in raw:
            raw[column] = raw[column].map(_bare, na_action="ignore")
    if "n" not in raw:
        raw["n"] = _look_up(file, raw, remarks)
    return raw


def _load(file: Path, types: Any = None, rows: int | None = None) -> pd.DataFrame:
    """The cells as they are: empty ones missing, nothing else guessed. A row of another length is an error."""
    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            return pd.read_csv(
                file,
                dtype=types,
                index_col=False,
                encoding="utf-8-sig",
                keep_default_na=False,
                na_values=[""],
                skipinitialspace=True,
                nrows=rows,
                low_memory=False,
            )
    except FileNotFoundError:
        raise UsageError(f"{file}: there is no such file") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file}: not UTF-8 text ({error.reason} at byte {error.start}); expected a CSV file"
        ) from None
    except pd.errors.EmptyDataError:
        raise UsageError(f"{file}: the file is empty; expected a CSV file with a header") from None
    except pd.errors.ParserWarning:
        raise UsageError(f"{file}: not readable as CSV: the rows have more cells than the header") from None
    except pd.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise UsageError(f"{file}: not readable as CSV: {reason}") from None
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None


def _columns(file: Path) -> dict[str, str]:
    """The header of each known column. Raises when a needed one is missing or one has two candidates."""
    headers = [str(header) for header in _load(file, rows=0).columns]
    found: dict[str, str] = {}
    problems: list[Problem] = []
    for column, names in HEADERS.items():
        candidates = [header for header in headers if header.strip().lower() in names]
        if len(candidates) > 1:
            both = " and ".join(f'"{header}"' for header in candidates)
            problems.append(
                Problem(f"{both} could both be {_meaning(column)}: keep one of them", str(file), 1)
            )
        elif candidates:
            found[column] = candidates[0]
        elif column in NEEDED:
            names_left = [header for header in headers if header not in found.values()]
            near = next(filter(None, (did_you_mean(name, names_left) for name in names)), "")
            expected = " or ".join(f'"{name.upper() if len(name) == 1 else name}"' for name in names)
            shown = ", ".join(headers)
            problems.append(
                Problem(
                    f"no column with {_meaning(column)}: expected {expected}; found {shown}{near}",
                    str(file),
                    1,
                )
            )
    if problems:
        raise Problems(problems)
    return found


def _meaning(column: str) -> str:
    return MEANING.get(column, f"the {column}")


def _numbers(cells: pd.Series, file: Path, header: str, column: str, problems: list[Problem]) -> pd.Series:
    """The cells as floats; what is wrong with them goes to `problems`, line by line."""
    numbers: Any = pd.to_numeric(cells, errors="coerce").astype(float)
    written = cells.notna()
    not_number = written & numbers.isna() & ~cells.astype(str).str.strip().str.lower().isin(["nan", "na"])
    _name(problems, file, header, cells, not_number, "expected a number")
    if column in ("n", "d", "loss"):
        # D = 0 is an evaluation before training: left out later, and said.
        positive = (numbers > 0) if column != "d" else (numbers >= 0)
        bad = ~not_number & ~(np.isfinite(numbers) & positive)
        _name(problems, file, header, cells, bad, "expected a finite, positive number")
    return numbers


def _name(
    problems: list[Problem], file: Path, header: str, cells: pd.Series, bad: Any, expected: str
) -> None:
    rows: list[int] = np.flatnonzero(bad).tolist()
    if not rows:
        return
    lines = _lines(file, rows[:SHOWN])
    for row, line in zip(rows, lines, strict=False):
        cell = cells.iloc[row]
        got = "an empty cell" if pd.isna(cell) else f'"{cell}"'
        problems.append(Problem(f"{expected}, got {got}", str(file), line, header))
    if len(rows) > SHOWN:
        problems.append(
            Problem(f"{expected}: {len(rows) - SHOWN} more like this", str(file), lines[-1] + 1, header)
        )


def _lines(file: Path, rows: list[int]) -> list[int]:
    """Line numbers of data rows, counted as an editor does: quoted line breaks and blank lines included."""
    lines: list[int] = []
    with file.open(encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text)
        next(row for row in reader if row)
        at = 0
        for cells in reader:
            if not cells:
                continue
            if at == rows[len(lines)]:
                lines.append(reader.line_num)
                if len(lines) == len(rows):
                    break
            at += 1
    return lines


def _bare(label: str) -> str:
    """A label without the apostrophe that the export puts before spreadsheet formulas."""
    return label[1:] if label[:1] == "'" and label[1:2] in ("=", "+", "-", "@") else label


def _look_up(file: Path, raw: pd.DataFrame, remarks: list[str]) -> pd.Series:
    """Parameter counts by run, or by size, from the summaries beside the file; NaN where they do not tell."""
    nothing = pd.Series(np.nan, index=raw.index)
    summaries = file.with_name(SUMMARIES)
    if not summaries.exists() or summaries == file:
        return nothing
    known = _load(summaries, types=str)
    if "total_params" not in known:
        return nothing
    counts = pd.to_numeric(known["total_params"], errors="coerce")
    out = nothing
    for column, header in (("run", "run_id"), ("size", "model_size")):
        if column in raw and header in known:
            by_label = counts.groupby(known[header].map(_bare, na_action="ignore")).agg(["first", "nunique"])
            sure = by_label["first"].where(by_label["nunique"] == 1)
            out = out.fillna(raw[column].astype(object).map(sure))
    if out.notna().any():
        remarks.append(f"N (parameters) looked up in {summaries}")
    return out.astype(float)

"""Tables in CSV files, read strictly: every problem is named with its line."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.errors import UsageError
from fvlm_core.interfaces import LRCurve
from fvlm_core.scaling.sheet import AT_ONCE, Chunk, Place

MISSING = ("nan", "na")
"""What stands for no number, in any case, besides an empty cell."""

FORMULA = ("=", "+", "-", "@")
"""Text that begins so is a formula to a spreadsheet."""


class CSVSheet:
    """A CSV file with a header: UTF-8, commas, quotes where needed. See `Sheet`."""

    def __init__(self, file: Path) -> None:
        """Raises `UsageError` for a file without a header, or that is no text."""
        self.file = file
        self.line: int | None = 1
        self.kinds: Mapping[str, str] = {}
        self.curves: Mapping[str, LRCurve] = {}
        with _explained(file):
            first = _read(file, header=None, dtype=str, nrows=1)
        self.headers = ["" if pd.isna(cell) else str(cell) for cell in first.iloc[0]]

    def chunks(self, numbers: Sequence[str], labels: Sequence[str]) -> Iterator[Chunk]:
        """The columns under these headers, some rows at a time."""
        at = {header: self.headers.index(header) for header in (*numbers, *labels)}
        types = {at[header]: "category" for header in labels}
        with _explained(self.file):
            reader = _read(
                self.file, header=0, names=range(len(self.headers)), dtype=types, chunksize=AT_ONCE
            )
            for rows in reader:
                chunk = Chunk(len(rows))
                for header in numbers:
                    chunk.numbers[header], chunk.wrong[header] = _numbers(rows[at[header]])
                for header in labels:
                    chunk.labels[header] = _bare(rows[at[header]].array)
                yield chunk

    def places(self, rows: Sequence[int], header: str) -> list[tuple[Place, str]]:
        """Lines, counted as an editor does: quoted line breaks and blank lines included."""
        column = self.headers.index(header)
        out: list[tuple[Place, str]] = []
        try:
            for at, (line, cells) in enumerate(self.lines()):
                if len(out) == len(rows):
                    break
                if at == rows[len(out)]:
                    cell = cells[column] if column < len(cells) else ""
                    out.append(((line, ""), f'"{cell}"' if cell else "an empty cell"))
        except csv.Error:  # a cell beyond that module's limit, which is not pandas'
            pass
        return [*out, *(((None, f"row {row + 1}"), "something else") for row in rows[len(out) :])]

    def lines(self) -> Iterator[tuple[int, list[str]]]:
        """The rows below the header as they are written, each with its (last) line. Raises `csv.Error`, and
        `UsageError` for what is no text."""
        with self.file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, skipinitialspace=True)
            below = False
            try:
                for cells in reader:
                    if not cells or (len(cells) == 1 and not cells[0].strip(" \t")):
                        continue
                    if below:
                        yield reader.line_num, cells
                    below = True
            except UnicodeDecodeError as error:
                raise _no_text(self.file, error) from None


def _read(file: Path, **options: Any) -> Any:
    """The cells as they are: empty ones missing, nothing else guessed. A row of another length is an error."""
    return pd.read_csv(
        file,
        index_col=False,
        encoding="utf-8-sig",
        keep_default_na=False,
        na_values=[""],
        skipinitialspace=True,
        low_memory=False,
        compression=None,
        **options,
    )


@contextmanager
def _explained(file: Path) -> Generator[None]:
    """What pandas raises, in plain words."""
    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            yield
    except UnicodeDecodeError as error:
        raise _no_text(file, error) from None
    except pd.errors.EmptyDataError:
        raise UsageError(f"{file}: the file is empty; expected a CSV file with a header") from None
    except pd.errors.ParserWarning:
        raise UsageError(f"{file}: not readable as CSV: the rows have more cells than the header") from None
    except pd.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise UsageError(f"{file}: not readable as CSV: {reason}") from None


def _no_text(file: Path, error: UnicodeDecodeError) -> UsageError:
    return UsageError(f"{file}: not UTF-8 text ({_undecodable(file, error)}); expected a CSV file")


def _undecodable(file: Path, error: UnicodeDecodeError) -> str:
    """The reason, and the first line that it is true of."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode()
            except UnicodeDecodeError as found:
                return f"{found.reason} in line {number}, byte {found.start + 1}"
    return error.reason


def _numbers(cells: Any) -> tuple[Any, Any]:
    """Cells as floats, NaN where there is no number, and which of them hold something else: [n] each."""
    if cells.dtype == "category":
        values, wrong = _numbers(pd.Series(cells.cat.categories))
        codes = cells.cat.codes.to_numpy()
        return np.append(values, np.nan)[codes], np.append(wrong, False)[codes]
    if pd.api.types.is_bool_dtype(cells):
        return np.full(len(cells), np.nan), np.ones(len(cells), bool)
    if pd.api.types.is_numeric_dtype(cells):
        return cells.to_numpy(float), np.zeros(len(cells), bool)
    texts = cells.astype(str)
    numbers = pd.to_numeric(texts, errors="coerce").to_numpy(float)
    empty = cells.isna() | texts.str.strip().str.lower().isin(MISSING)
    return numbers, np.isnan(numbers) & ~empty.to_numpy()


def _bare(labels: Any) -> Any:
    """Labels without the apostrophe that the export puts before spreadsheet formulas."""
    plain = [bare(label) for label in labels.categories]
    if plain == list(labels.categories):
        return labels
    return pd.Categorical(pd.Series(labels).astype(object).map(bare, na_action="ignore"))


def bare(label: str) -> str:
    """A label without the apostrophe that the export puts before spreadsheet formulas."""
    return label[1:] if label[:1] == "'" and label.lstrip("'")[:1] in FORMULA else label

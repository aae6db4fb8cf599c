"""Tables in CSV files, read strictly: every problem is named with its line."""

from __future__ import annotations

import csv
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.scaling.points.dialect import Decimal, find_dialect, is_blank
from fvlm_core.scaling.points.table_reader import Cells, Place, Sheet
from fvlm_core.utils.csv_text import bare
from fvlm_core.utils.errors import UsageError


class CSVSheet(Sheet):
    """A CSV file with a header, in any `Dialect`, quotes where needed."""

    def __init__(self, file: Path, decimal: Decimal = "") -> None:
        """Raises `UsageError` for a file without a header, or that is no text."""
        super().__init__(file)
        _refuse_packed(file)
        with _explained(file):
            self.dialect = find_dialect(file, decimal)
            first = self._frame(header=None, dtype=str, nrows=1)
        self.said = str(self.dialect)
        self.line = 1 + self.dialect.skipped
        self.headers = ["" if pd.isna(cell) else str(cell) for cell in first.iloc[0]]

    def read(self, numbers: Sequence[str], labels: Sequence[str] = (), others: Sequence[str] = ()) -> Cells:
        """The columns under these headers, of the rows that have something in a cell."""
        at = {header: self.headers.index(header) for header in (*numbers, *labels, *others)}
        texts = {at[header]: str for header in labels}
        with _explained(self.file):
            frame = self._frame(header=0, names=range(len(self.headers)), dtype=texts)
        there = _filled(frame)
        if there.any():
            self._say_blank(int((~there[: np.flatnonzero(there)[-1]]).sum()))
        frame = frame if there.all() else frame[there]
        cells = Cells(len(frame))
        for header in numbers:
            cells.numbers[header], cells.wrong[header] = self.dialect.numbers(frame[at[header]])
        cells.labels = {header: _labels(frame[at[header]]) for header in labels}
        for header in others:
            values, wrong = self.dialect.numbers(frame[at[header]])
            cells.others[header] = _labels(frame[at[header]]) if wrong.any() else values
        return cells

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
                    got = f'"{cell}"{self.dialect.way_out(cell)}' if cell else "an empty cell"
                    out.append(((line, ""), got))
        except csv.Error:  # a cell beyond that module's limit, which is not pandas'
            pass
        return [*out, *(((None, f"row {row + 1}"), "something else") for row in rows[len(out) :])]

    def lines(self) -> Iterator[tuple[int, list[str]]]:
        """The rows below the header as they are written, each with its (last) line. Raises `csv.Error`, and
        `UsageError` for what is no text."""
        with self.file.open(encoding=self.dialect.encoding, newline="") as text:
            below, blank = False, 0
            try:
                for _ in range(self.dialect.skipped):
                    next(text, "")
                reader = csv.reader(text, delimiter=self.dialect.separator, skipinitialspace=True)
                for cells in reader:
                    if is_blank(cells):
                        blank += len(cells) > 1
                        continue
                    if below:
                        self._say_blank(blank)
                        yield reader.line_num + self.dialect.skipped, cells
                    below = True
            except UnicodeError as error:
                raise _no_text(self.file, error) from None

    def _say_blank(self, count: int) -> None:
        """Say how the file was read, and how many rows without a value are above others."""
        blank = f"empty rows between others, left out: {count}" if count else ""
        self.said = ", ".join(filter(None, [str(self.dialect), blank]))

    def _frame(self, **options: Any) -> pd.DataFrame:
        """The cells as they are: empty ones missing, nothing else guessed. A row of another length is an error."""
        return pd.read_csv(
            self.file,
            index_col=False,
            encoding=self.dialect.encoding,
            sep=self.dialect.separator,
            decimal=self.dialect.decimal,
            skiprows=self.dialect.skipped,
            keep_default_na=False,
            na_values=[""],
            skipinitialspace=True,
            low_memory=False,
            compression=None,
            **options,
        )


def _filled(frame: pd.DataFrame) -> Any:
    """Which rows have something in a cell: bool [rows]."""
    out = np.zeros(len(frame), bool)
    for name in frame.columns:
        left = frame.loc[~out, name]
        there = left.notna()
        if not pd.api.types.is_numeric_dtype(left):
            there &= left.astype(str).str.strip() != ""
        out[~out] = there
    return out


@contextmanager
def _explained(file: Path) -> Generator[None]:
    """What pandas raises, in plain words."""
    try:
        with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
            yield
    except UnicodeError as error:
        raise _no_text(file, error) from None
    except pd.errors.EmptyDataError:
        raise UsageError(f"{file}: the file is empty; expected a CSV file with a header") from None
    except pd.errors.ParserWarning:
        raise UsageError(f"{file}: not readable as CSV: the rows have more cells than the header") from None
    except pd.errors.ParserError as error:
        reason = str(error).strip().removeprefix("Error tokenizing data. C error: ")
        raise UsageError(f"{file}: not readable as CSV: {reason}") from None


def _refuse_packed(file: Path) -> None:
    """Raise `UsageError` for tables that are no text: workbooks, and compressed files."""
    with file.open("rb") as data:
        start = data.read(8)
    for mark, what, way_out in _PACKED:
        if start.startswith(mark):
            raise UsageError(f"{file}: {what}; expected a CSV file: {way_out}")


_WORKBOOK = "save the sheet as CSV"
_PACKED = (
    (b"PK\x03\x04", "a workbook or another zip archive", _WORKBOOK),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook", _WORKBOOK),
    (b"\x1f\x8b", "compressed by gzip", "gunzip it"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unzstd it"),
    (b"PAR1", "a Parquet file", "give it the ending .parquet"),
)


def _no_text(file: Path, error: UnicodeError) -> UsageError:
    return UsageError(
        f"{file}: not UTF-8 text ({_undecodable(file, error)}); expected a CSV file in UTF-8, or in UTF-16 with a byte "
        "order mark"
    )


def _undecodable(file: Path, error: UnicodeError) -> str:
    """The reason, and the first line that it is true of."""
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            try:
                line.decode()
            except UnicodeDecodeError as found:
                return f"{found.reason} in line {number}, byte {found.start + 1}"
    return error.reason if isinstance(error, UnicodeDecodeError) else str(error)


def _labels(cells: pd.Series[Any]) -> Any:
    """Texts as a `pandas.Categorical`, without the apostrophe that the export puts before spreadsheet formulas."""
    codes, texts = pd.factorize(cells.astype(object))
    plain = [bare(str(text)) for text in texts]
    if len(set(plain)) == len(plain):
        return pd.Categorical.from_codes(codes, categories=pd.Index(plain, dtype=object))
    return pd.Categorical(pd.Series([*plain, None], dtype=object).to_numpy()[codes])

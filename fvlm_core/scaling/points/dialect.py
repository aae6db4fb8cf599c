"""How a CSV file is written: its encoding, what separates its columns, its decimal mark."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.parse_number import parse_count
from fvlm_core.utils.text_encodings import MARKS

Decimal = Literal["", ".", ","]
"""The mark of decimals; "": what a file shows."""

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}

MISSING = ("nan", "na")
"""What stands for no number, in any case, besides an empty cell."""

LONGEST = 4 << 20
"""Bytes of a line that is read."""

SAMPLE = 1000
"""Lines that are looked at. A later cell that does not fit what they say is an error, not another meaning."""

_HINT = re.compile(r"sep=(.)\s*", re.IGNORECASE)
"""A first line that tells spreadsheets the separator."""

_NUMBER = r"[+-]?\d*\{mark}\d+(?:[eE][+-]?\d+)?\s?[kKMBT]?"
_WITH_COMMA = re.compile(_NUMBER.format(mark=","))
_WITH_POINT = re.compile(_NUMBER.format(mark="."))
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}([.,]\d{3})+")
"""Also what a number looks like whose thousands are separated: 1,234."""

_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
"""A number whose thousands are separated by commas."""

_SWAPPED = str.maketrans(",.", ".,")


@frozen
class Dialect:
    """encoding: as `open` takes it. separator: of columns. decimal: "." or ",". skipped: lines before the header. told:
    whether a user says the decimal mark; the other then separates thousands."""

    encoding: str
    separator: str = ","
    decimal: str = "."
    skipped: int = 0
    told: bool = False

    def __str__(self) -> str:
        """In words, as far as it is not that of every CSV file."""
        words = [
            "" if self.encoding == "utf-8-sig" else f"text in {self.encoding.upper()}",
            "" if self.separator == "," else f"columns separated by {SEPARATORS[self.separator]}",
            "" if self.decimal == "." else "decimal commas",
        ]
        return ", ".join(filter(None, words))

    def plain(self, text: str) -> str:
        """A number with a decimal point, whatever the file writes. What then has a comma is no number."""
        text = text.translate(_SWAPPED) if self.decimal == "," else text
        return text.replace(",", "") if self.told and _GROUPED.fullmatch(text.strip()) else text

    def numbers(self, cells: pd.Series[Any]) -> tuple[Any, Any]:
        """Cells as floats, NaN where there is no number, and which of them hold something else: [n] each.

        Besides plain numbers: 10M, 1.5B, 1_000_000, and decimal commas where they are this file's.
        """
        if pd.api.types.is_bool_dtype(cells):
            return np.full(len(cells), np.nan), np.ones(len(cells), bool)
        if pd.api.types.is_numeric_dtype(cells):
            return cells.to_numpy(float), np.zeros(len(cells), bool)
        codes, different = pd.factorize(cells.astype(object))
        texts = [self.plain(str(text)) for text in different]
        found = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(float, copy=True)
        empty = np.array([text.strip().lower() in MISSING for text in texts], bool)
        for at in np.flatnonzero(np.isnan(found) & ~empty):
            found[at] = np.nan if (number := parse_count(texts[at])) is None else number
        # Code -1, of an empty cell, is the last.
        found, wrong = np.append(found, np.nan), np.append(np.isnan(found) & ~empty, False)
        return found[codes], wrong[codes]

    def numbers_of_texts(self, texts: Sequence[str | None]) -> tuple[Any, Any]:
        """As `numbers`, of texts in a typed file, which may have spaces around them."""
        return self.numbers(pd.Series([(text or "").strip() or None for text in texts], dtype=object))

    def way_out(self, text: str) -> str:
        """What to write instead of a cell that looks like a number of another dialect; nothing for others."""
        other = "," if self.decimal == "." else "."
        if other not in text or not re.fullmatch(r"[\d.,+\-eE_kKMBT ]+", text.strip()):
            return ""
        mark, names = text.strip(), {",": "comma", ".": "point"}
        if _THOUSANDS.fullmatch(mark) and mark.count(other) == 1 and self.decimal not in mark:
            whole, part = mark.replace(other, ""), mark.replace(other, self.decimal)
            return (
                f": {whole} or {part}? Write it without the {names[other]}, or say which is the decimal mark: "
                f"--decimal {self.decimal} or --decimal {other}"
            )
        if _THOUSANDS.fullmatch(mark.split(self.decimal)[0]):
            return f": write it without separators of thousands, {mark.replace(other, '')}"
        return f": other numbers here have a decimal {names[self.decimal]}; use one mark for all"


def encoding_of(file: Path) -> str:
    """UTF-8, or the encoding of a byte order mark, or UTF-16 without one, by its zero bytes."""
    with file.open("rb") as data:
        start = data.read(256)
    for mark, encoding in MARKS:
        if start.startswith(mark):  # which then is no text
            return "utf-8-sig" if encoding == "utf-8" else encoding.removesuffix("-le").removesuffix("-be")
    even, odd = start[::2].count(0), start[1::2].count(0)
    if not even and odd > len(start) / 4:
        return "utf-16-le"
    return "utf-16-be" if not odd and even > len(start) / 4 else "utf-8-sig"


def find_dialect(file: Path, decimal: Decimal = "") -> Dialect:
    """How a file is written. decimal: as a user says. Raises `UsageError` for columns that spaces or other marks
    separate, and for lines that no table has."""
    encoding = encoding_of(file)
    _refuse_long_lines(file)
    with file.open(encoding=encoding, errors="replace", newline="") as text:
        lines = list(islice(text, SAMPLE + 1))
    cut = len(lines) > SAMPLE
    skipped = 0
    hint = _HINT.fullmatch(lines[0]) if lines else None
    if hint and hint[1] in SEPARATORS:
        skipped, lines = 1, lines[1:]
        separator = hint[1]
    else:
        separator = _separator(file, lines, cut)
    found = decimal or _decimal(split(lines, separator)[1:])
    return Dialect(encoding, separator, found, skipped, bool(decimal))


def split(lines: Sequence[str], separator: str) -> list[list[str]]:
    """The cells of lines, as far as they can be read; blank lines left out."""
    rows: list[list[str]] = []
    with suppress(csv.Error):  # told by whoever reads the file
        rows.extend(csv.reader(lines, delimiter=separator, skipinitialspace=True))
    return [cells for cells in rows if not is_blank(cells)]


def is_blank(cells: Sequence[str]) -> bool:
    """Whether a line has nothing on it, or nothing in any of its cells."""
    return not any(cell.strip() for cell in cells)


def _refuse_long_lines(file: Path) -> None:
    """Raise `UsageError` for a line that would be held in memory, several times over, and is none of a table."""
    number, length = 1, 0
    with file.open("rb") as data:
        while piece := data.read(LONGEST):
            first = max(piece.find(b"\n"), piece.find(b"\r"))
            if length + (len(piece) if first < 0 else first) > LONGEST:
                raise UsageError(
                    f"{file}:{number}: more than {LONGEST:,} bytes in one line, which no table has"
                )
            last = max(piece.rfind(b"\n"), piece.rfind(b"\r"))
            number += piece.count(b"\n")
            length = length + len(piece) if last < 0 else len(piece) - last - 1


def _separator(file: Path, lines: Sequence[str], cut: bool) -> str:
    """The one mark that splits the header; of several, the one that splits all rows alike, into most columns."""
    tables = {mark: split(lines, mark) for mark in SEPARATORS}
    tables = {mark: rows[: -1 if cut else None] for mark, rows in tables.items() if rows and len(rows[0]) > 1}
    if not tables:
        _refuse_other(file, lines)
        return ","
    alike = [mark for mark, rows in tables.items() if all(len(row) == len(rows[0]) for row in rows)]
    return max(alike or tables, key=lambda mark: len(tables[mark][0]))


def _refuse_other(file: Path, lines: Sequence[str]) -> None:
    """Raise `UsageError` where another mark splits the header and all rows alike."""
    marks = {None: "spaces", ":": "colons", "^": "carets", "~": "tildes", "&": "ampersands", "/": "slashes"}
    for mark, name in marks.items():
        words = [len(line.split(mark)) for line in lines if line.strip()]
        if len(words) > 1 and words[0] > 1 and len(set(words)) == 1:
            raise UsageError(
                f"{file}:1: the columns are separated by {name}; expected {', '.join(SEPARATORS.values())}. "
                f"To have commas: tr -s '{mark or ' '}' ',' < {file.name} > with_commas.csv"
            )


def _decimal(rows: Sequence[Sequence[str]]) -> str:
    """A comma where numbers can only be read so, and none can only be read otherwise."""
    cells = {cell.strip() for row in rows for cell in row}
    cells = {cell for cell in cells if not _THOUSANDS.fullmatch(cell)}
    commas = any(_WITH_COMMA.fullmatch(cell) for cell in cells)
    return "," if commas and not any(_WITH_POINT.fullmatch(cell) for cell in cells) else "."

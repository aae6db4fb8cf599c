"""Rows of a JSONL or CSV manifest, kept as places in the file: a million captions cost 16 MB, not a gigabyte."""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from attrs import frozen

from fvlm_core.interfaces import Problem, Problems, UsageError

MAX_LINE = 4 << 20
"""Bytes of the longest line that is read; a file with longer ones is no manifest."""

_BROKEN = re.compile("[\ud800-\udfff]")
"""What bytes that are not UTF-8 are read as, and what no text may hold."""


class Row(NamedTuple):
    """What one row says, and where it stands.

    line: its first line, from 1; None if the file is no list. start, length: its place in the file, in bytes.
    error: why it cannot be used, empty if it can.
    """

    file: str
    line: int | None
    start: int = 0
    length: int = 0
    video: str = ""
    caption: str = ""
    error: str = ""


@frozen
class Manifest:
    """A manifest file.

    columns: the names of the file name's and the caption's column. places: where a CSV has them; None for JSONL.
    fields: columns of the CSV. state: size in bytes and time of change in ns, when it was opened.
    """

    file: str
    columns: tuple[str, str]
    places: tuple[int, int] | None
    fields: int
    state: tuple[int, int]

    @classmethod
    def open(cls, path: Path, columns: tuple[str, str]) -> Manifest:
        """Look at a manifest. Raises `Problems` for a CSV whose header lacks a column."""
        with path.open("rb") as file:
            state = _state(file)
            if path.suffix.lower() != ".csv":
                return cls(str(path), columns, None, 0, state)
            try:
                header = next(csv.reader(_Lines(str(path), file)), [])
            except csv.Error as error:
                raise Problems([Problem(f"no header of a CSV file: {error}", str(path), 1)]) from error
        missing = [Problem(_no_column(name, header), str(path), 1) for name in columns if name not in header]
        if missing:
            raise Problems(missing)
        places = (header.index(columns[0]), header.index(columns[1]))
        return cls(str(path), columns, places, len(header), state)

    def rows(self) -> Iterator[Row]:
        """Every row, in order. Raises `UsageError` at a line that makes the rest unreadable."""
        with open(self.file, "rb") as file:
            lines = _Lines(self.file, file)
            yield from self._json_rows(lines) if self.places is None else self._csv_rows(lines)

    def read(self, start: int, length: int) -> Row:
        """The row at a place, as `rows` gave it. Raises `UsageError` when the file has changed since."""
        with open(self.file, "rb") as file:
            if _state(file) != self.state:
                raise UsageError(f"{self.file}: changed while it was in use; start again")
            file.seek(start)
            text = _text(file.read(length))
        if self.places is None:
            return self._json_row(text, 0, start, length)
        return self._csv_row(next(csv.reader([text])), 0, start, length)

    def _csv_rows(self, lines: _Lines) -> Iterator[Row]:
        reader = csv.reader(lines)
        next(reader)
        while True:
            line, start = lines.number + 1, lines.offset
            try:
                values = next(reader, None)
            except csv.Error as error:
                raise UsageError(f"{self.file}:{line}: {error}: is a quotation mark left open?") from error
            if values is None:
                return
            if values:
                yield self._csv_row(values, line, start, lines.offset - start)

    def _csv_row(self, values: list[str], line: int, start: int, length: int) -> Row:
        if len(values) != self.fields or self.places is None:
            error = f"expected {self.fields} fields as in the header, got {len(values)}"
            return Row(self.file, line, start, length, error=error)
        video, caption = self.places
        return self._row(values[video], values[caption], line, start, length)

    def _json_rows(self, lines: _Lines) -> Iterator[Row]:
        start = 0
        for text in lines:
            if not text.isspace():
                yield self._json_row(text, lines.number, start, lines.offset - start)
            start = lines.offset

    def _json_row(self, text: str, line: int, start: int, length: int) -> Row:
        try:
            record: Any = json.loads(text)
        except (ValueError, RecursionError) as error:
            return Row(self.file, line, start, length, error=f"not JSON: {error}")
        if not isinstance(record, dict):
            kind = type(record).__name__
            return Row(self.file, line, start, length, error=f"expected an object, got {kind}")
        for name in self.columns:
            if not isinstance(record.get(name), str):
                kind = type(record[name]).__name__ if name in record else ""
                error = f"{name}: expected a string, got {kind}" if kind else _no_column(name, record)
                return Row(self.file, line, start, length, error=error)
        return self._row(record[self.columns[0]], record[self.columns[1]], line, start, length)

    def _row(self, video: str, caption: str, line: int, start: int, length: int) -> Row:
        caption, error = caption.strip(), ""
        if not caption:
            error = "empty caption"
        elif not (video.isascii() and caption.isascii()) and _BROKEN.search(video + caption):
            error = "not UTF-8 text"
        return Row(self.file, line, start, length, video, caption, error)


class _Lines:
    """The lines of a file as text, counting the lines and bytes handed out."""

    def __init__(self, name: str, file: BinaryIO) -> None:
        self.name = name
        self.file = file
        self.number = 0
        self.offset = 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        raw = self.file.readline(MAX_LINE + 1)
        if not raw:
            raise StopIteration
        self.number += 1
        self.offset += len(raw)
        if len(raw) > MAX_LINE:
            raise UsageError(
                f"{self.name}:{self.number}: more than {MAX_LINE:,} bytes in one line: no manifest"
            )
        return _text(raw)


def _text(raw: bytes) -> str:
    """Bytes to text, without a byte order mark; what is not UTF-8 survives, so that one bad row hides no other."""
    return raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff")


def _state(file: BinaryIO) -> tuple[int, int]:
    status = os.fstat(file.fileno())
    return status.st_size, status.st_mtime_ns


def _no_column(name: str, columns: Iterable[str]) -> str:
    columns = list(columns)
    near = get_close_matches(name, columns, n=1)
    hint = f'; did you mean "{near[0]}"?' if near else ""
    return f'no column "{name}" among {", ".join(columns) or "none"}{hint}'

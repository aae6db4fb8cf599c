"""Rows of large CSV, JSONL and JSON files, kept as places in the file: a million rows cost 16 MB."""

from __future__ import annotations

import csv
import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from attrs import field, frozen

from fvlm_core.errors import MissingData, Problem, Problems, UsageError
from fvlm_core.sources.cache import state
from fvlm_registry.nearest import did_you_mean

MAX_ROW = 4 << 20
"""Bytes of the longest row that is read."""

_CHUNK = 1 << 20
_SURROGATES = re.compile("[\ud800-\udfff]")
_OPENING = re.compile(r"(?:\xef\xbb\xbf)?\s*\[")
_BETWEEN = re.compile(r"[\s,]*")

Record = Mapping[str, Any]


class Refused(Exception):
    """Why a row cannot be used."""


class Row(NamedTuple):
    """A row and its place in the file. number: its line, or its place in a JSON array, from 1. start, length: in
    bytes. record: column or key to value. error: why it cannot be read, empty if it can."""

    number: int
    start: int
    length: int
    record: Record
    error: str = ""


@frozen
class RowFile(ABC):
    """A file of rows. state: size and time of change when it was opened."""

    path: Path
    state: tuple[int, int] = field(init=False, default=(0, 0), eq=False)

    def __attrs_post_init__(self) -> None:
        if not self.path.is_file():
            raise MissingData(f"{self.path}: no such file")
        object.__setattr__(self, "state", state(self.path))

    def scan(self) -> Iterator[Row]:
        """Every row, in order. Raises `UsageError` at a place that makes the rest unreadable."""
        with self.path.open("rb") as file:
            yield from self._scan(file)

    def read(self, start: int, length: int) -> tuple[Record, bytes]:
        """The row at a place, as `scan` gave it, and its bytes. Raises `UsageError` if the file has changed since."""
        with self.path.open("rb") as file:
            status = os.fstat(file.fileno())
            if (status.st_size, status.st_mtime_ns) != self.state:
                raise UsageError(f"{self.path}: changed while it was in use; start again")
            file.seek(start)
            raw = file.read(length)
        return self.parse(raw), raw

    def problem(self, number: int, text: str) -> Problem:
        """A problem of a row."""
        return Problem(text, str(self.path), number)

    @abstractmethod
    def parse(self, raw: bytes) -> Record:
        """The bytes of a row to its values. Raises `Refused`."""

    @abstractmethod
    def _scan(self, file: BinaryIO) -> Iterator[Row]: ...

    def _row(self, number: int, start: int, raw: bytes) -> Row:
        try:
            return Row(number, start, len(raw), self.parse(raw))
        except Refused as refused:
            return Row(number, start, len(raw), {}, str(refused))


@frozen
class JSONLines(RowFile):
    """One JSON object a line. Empty lines are no rows."""

    def parse(self, raw: bytes) -> Record:
        return _json_object(raw)

    def _scan(self, file: BinaryIO) -> Iterator[Row]:
        for number, start, raw, length in _lines(file):
            if length > MAX_ROW:
                yield Row(number, start, length, {}, f"longer than {MAX_ROW:,} bytes")
            elif not raw.isspace():
                yield self._row(number, start, raw)


@frozen
class JSONArray(RowFile):
    """One JSON array of objects, which is never read whole."""

    def problem(self, number: int, text: str) -> Problem:
        return Problem(text, str(self.path), key=f"row {number}")

    def parse(self, raw: bytes) -> Record:
        return _json_object(raw)

    def _scan(self, file: BinaryIO) -> Iterator[Row]:
        # Read as Latin-1, every byte is one character, and JSON's own characters are what they are in UTF-8: the
        # decoder finds where each value ends, in C, and the row is then read for what it is.
        decode = json.JSONDecoder().raw_decode
        text, base, at, number, ended = "", 0, 0, 0, False
        while True:
            if not ended and len(text) - at < _CHUNK:
                more = file.read(_CHUNK).decode("latin-1")
                text, base, at, ended = text[at:] + more, base + at, 0, not more
            if base + at == 0:
                opening = _OPENING.match(text)
                if not opening:
                    raise UsageError(f"{self.path}: expected a JSON array, which begins with [")
                at = opening.end()
            at = _BETWEEN.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
            if at == len(text):
                if ended:
                    raise UsageError(f"{self.path}: cut short: its array is not closed")
                continue
            if text[at] == "]":
                return
            try:
                _, end = decode(text, at)
            except (ValueError, RecursionError) as error:
                more = file.read(_CHUNK).decode("latin-1") if len(text) - at <= MAX_ROW else ""
                if more:
                    text += more
                    continue
                place = f"row {number + 1} at byte {base + at:,}"
                message = f"{self.path}: {place} cannot be read, nor what follows it: {error}"
                raise UsageError(message) from error
            number += 1
            yield self._row(number, base + at, text[at:end].encode("latin-1"))
            at = end


@frozen
class CSVRows(RowFile):
    """A CSV file with a header. columns: those that must be there. Raises `Problems` when one is not."""

    columns: tuple[str, ...] = field(kw_only=True)
    header: tuple[str, ...] = field(init=False, default=())

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        with self.path.open("rb") as file:
            try:
                header = next(csv.reader(_Texts(self.path, file)), [])
            except csv.Error as error:
                raise Problems([Problem(f"no header of a CSV file: {error}", str(self.path), 1)]) from error
        object.__setattr__(self, "header", tuple(header))
        missing = [name for name in self.columns if name not in header]
        if missing:
            found = ", ".join(header) or "none"
            raise Problems(
                [Problem(f'no column "{name}" among {found}', str(self.path), 1) for name in missing]
            )

    def parse(self, raw: bytes) -> Record:
        text = raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
        try:
            return self._record(next(csv.reader([text]), []))
        except csv.Error as error:
            raise Refused(f"not CSV: {error}") from None

    def _record(self, values: list[str]) -> Record:
        if len(values) != len(self.header):
            raise Refused(f"expected {len(self.header)} fields as in the header, got {len(values)}")
        if _SURROGATES.search("".join(values)):
            raise Refused("not UTF-8 text")
        return dict(zip(self.header, values, strict=True))

    def _scan(self, file: BinaryIO) -> Iterator[Row]:
        texts = _Texts(self.path, file)
        reader = csv.reader(texts)
        next(reader, None)
        while True:
            number, start = texts.number + 1, texts.offset
            try:
                values = next(reader, None)
            except csv.Error as error:
                if "limit" in str(error):  # a field that swallows the rows after it
                    text = f"{self.path}:{number}: {error}: is a quotation mark left open?"
                    raise UsageError(text) from error
                yield Row(number, start, texts.offset - start, {}, f"not CSV: {error}")
                continue
            if values is None:
                return
            if not values:
                continue
            try:
                yield Row(number, start, texts.offset - start, self._record(values))
            except Refused as refused:
                yield Row(number, start, texts.offset - start, {}, str(refused))


class _Texts:
    """The lines of a file as text, counting the lines and bytes handed out."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.lines = _lines(file)
        self.number = self.offset = 0

    def __iter__(self) -> _Texts:
        return self

    def __next__(self) -> str:
        self.number, start, raw, length = next(self.lines)
        self.offset = start + length
        if length > MAX_ROW:
            raise UsageError(f"{self.path}:{self.number}: more than {MAX_ROW:,} bytes in one line")
        text = raw.decode("utf-8", "surrogateescape")
        return text.removeprefix("\ufeff") if not start else text


def _lines(file: BinaryIO) -> Iterator[tuple[int, int, bytes, int]]:
    """Number, first byte, content and length of every line; of one longer than `MAX_ROW`, the beginning."""
    number = start = 0
    while raw := file.readline(MAX_ROW + 1):
        number += 1
        length = len(raw)
        if length > MAX_ROW:
            while not (rest := file.readline(_CHUNK)).endswith(b"\n") and rest:
                length += len(rest)
            length += len(rest)
        yield number, start, raw, length
        start += length


def _json_object(raw: bytes) -> Record:
    try:
        record: Any = json.loads(raw.decode("utf-8").removeprefix("\ufeff"))
    except UnicodeDecodeError:
        raise Refused("not UTF-8 text") from None
    except (ValueError, RecursionError) as error:
        raise Refused(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise Refused(f"expected an object, got {type(record).__name__}")
    return record


def text_of(record: Record, key: str) -> str:
    """The text under a key, without white space around it. Raises `Refused` when it is missing, no text, or empty."""
    if key not in record:
        near = did_you_mean(key, record)
        raise Refused(f'no "{key}" among {", ".join(map(str, record)) or "none"}{near}')
    value = record[key]
    if not isinstance(value, str):
        raise Refused(f"{key}: expected a string, got {type(value).__name__}")
    if _SURROGATES.search(value):
        raise Refused(f"{key}: not UTF-8 text")
    value = value.strip()
    if not value:
        raise Refused(f"empty {key}")
    return value

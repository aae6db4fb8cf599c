"""Rows of large files, kept as places in the file: a million rows cost 16 MB. Here JSONL and JSON; `csv_rows`: CSV."""

from __future__ import annotations

import json
import os
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from attrs import field, frozen

from fvlm_core.utils.data_files import check_data, open_data
from fvlm_core.utils.disk_cache import state, state_key
from fvlm_core.utils.errors import MissingData, Problem, UsageError
from fvlm_core.utils.listing import listed
from fvlm_core.utils.paths import cache_folder
from fvlm_core.utils.text_encodings import NotText, decoded, encoding_of, fault_of
from fvlm_registry.nearest import did_you_mean

MAX_ROW = 4 << 20
"""Bytes of the longest row that is read."""

_CHUNK = 1 << 20
_OPENING = re.compile(r"(?:\xef\xbb\xbf)?\s*\[")
_BETWEEN = re.compile(r"[\s,]*")

Record = Mapping[str, Any]


class Refused(Exception):
    """Why a row cannot be used. unseen: see `Problem`."""

    def __init__(self, text: str, *, unseen: str = "") -> None:
        super().__init__(text)
        self.unseen = unseen


@contextmanager
def of_another_shape() -> Generator[None]:
    """Raise `Refused` for what goes wrong where a row is read that is not built as the rows of its data set are."""
    try:
        yield
    except KeyError as error:
        raise Refused(f"not built as the rows of this data set are: no {error} in it") from error
    except (TypeError, AttributeError, ValueError, IndexError) as error:
        raise Refused(f"not built as the rows of this data set are: {error}") from error


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
    """A file of rows. root: the folder that it must lie in, where it is one of a download's. state: size and time of
    change when it was opened. encoding: by its mark; UTF-8 without one.

    Raises `MissingData` where there is none, and `UsageError` for what is no regular file, or a link out of `root`, and
    for a file in another encoding than its byte order mark, or the lack of one, says.
    """

    path: Path
    root: Path | None = field(default=None, kw_only=True, eq=False)
    state: tuple[int, int] = field(init=False, default=(0, 0), eq=False)
    encoding: str = field(init=False, default="utf-8", eq=False)

    def __attrs_post_init__(self) -> None:
        try:
            check_data(self.path, inside=self.root)
        except FileNotFoundError:
            raise MissingData(f"{self.path}: no such file") from None
        object.__setattr__(self, "state", state(self.path))
        with open_data(self.path) as file:
            try:
                object.__setattr__(self, "encoding", encoding_of(file.read(_CHUNK))[0])
            except NotText as error:
                raise UsageError(f"{self.path}: {error}") from None

    def scan(self) -> Iterator[Row]:
        """Every row, in order. Raises `UsageError` at a place that makes the rest unreadable."""
        with self.open() as file:
            yield from self._scan(file)

    def read(self, start: int, length: int) -> tuple[Record, bytes]:
        """The row at a place, as `scan` gave it, and its bytes. Raises `UsageError` if the file has changed since."""
        if state(self.path) != self.state:
            raise UsageError(f"{self.path}: changed while it was in use; start again")
        with self.open() as file:
            file.seek(start)
            raw = file.read(length)
        return self.parse(raw), raw

    def open(self) -> BinaryIO:
        """The file in UTF-8: itself, or a copy in the cache, whose lines are the same. Places are counted in it."""
        return open_data(self.path if self.encoding == "utf-8" else _utf8_copy(self.path, self.encoding))

    def problem(self, number: int, text: str, unseen: str = "") -> Problem:
        """A problem of a row."""
        return Problem(text, str(self.path), number, unseen=unseen)

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
        for number, start, raw, length in lines_of(file):
            if length > MAX_ROW:
                yield Row(number, start, length, {}, f"longer than {MAX_ROW:,} bytes")
            elif not raw.isspace():
                yield self._row(number, start, raw)


@frozen
class JSONArray(RowFile):
    """One JSON array of objects, which is never read whole."""

    def problem(self, number: int, text: str, unseen: str = "") -> Problem:
        return Problem(text, str(self.path), key=f"row {number}", unseen=unseen)

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


def lines_of(file: BinaryIO, *, beyond: bool = True) -> Iterator[tuple[int, int, bytes, int]]:
    """Number, first byte, content and length of every line; of one longer than `MAX_ROW`, the beginning. beyond:
    whether such a one is gone through to its end, for what follows; else its length is not that of all of it."""
    number = start = 0
    while raw := file.readline(MAX_ROW + 1):
        number += 1
        length = len(raw)
        if length > MAX_ROW and beyond:
            while rest := file.read(_CHUNK):  # which is far faster than `readline` for gigabytes
                end = rest.find(b"\n") + 1
                length += end or len(rest)
                if end:
                    file.seek(start + length)
                    break
        yield number, start, raw, length
        start += length


def _utf8_copy(path: Path, encoding: str) -> Path:
    copy = cache_folder("text") / f"{state_key([path], encoding)}.utf8"
    if not copy.is_file():
        copy.parent.mkdir(parents=True, exist_ok=True)
        temporary = copy.with_name(f".{copy.name}.{os.getpid()}")
        try:
            with (
                path.open(encoding=encoding, newline="") as file,
                temporary.open("w", encoding="utf-8", newline="") as out,
            ):
                shutil.copyfileobj(file, out)
        except UnicodeDecodeError as error:
            raise UsageError(f"{path}: not {encoding.upper()} as its mark says: {error.reason}") from None
        temporary.replace(copy)
    return copy


def _json_object(raw: bytes) -> Record:
    try:
        text = decoded(raw)
        record: Any = json.loads(text)
    except NotText as error:
        raise Refused(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise Refused(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise Refused(f"expected an object, got {type(record).__name__}")
    if "\\ud" in text.lower() and (fault := fault_of(json.dumps(record, ensure_ascii=False))):
        raise Refused(fault)  # JSON can write half a surrogate pair, also into an id
    return record


def string_of(record: Record, key: str) -> str:
    """The string under a key. Raises `Refused` when it is missing or no text."""
    if key not in record:
        near = did_you_mean(key, record)
        raise Refused(f'no column "{key}" among {listed(record)}{near}')
    value = record[key]
    if not isinstance(value, str):
        raise Refused(f"{key}: expected a string, got {type(value).__name__}")
    if fault := fault_of(value):
        raise Refused(f"{key}: {fault}")
    return value


def text_of(record: Record, key: str) -> str:
    """The text under a key, without white space around it. Raises `Refused` as `string_of`, and when it is empty."""
    value = string_of(record, key).strip()
    if not value:
        raise Refused(f"empty {key}")
    return value

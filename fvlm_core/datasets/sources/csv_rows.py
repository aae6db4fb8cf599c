"""Rows of a CSV file, read strictly: a quotation mark left open is an error where it opens, and never a long field."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from os.path import splitext
from pathlib import Path
from typing import BinaryIO, NoReturn

from attrs import field, frozen

from fvlm_core.datasets.sources.rows import MAX_ROW, Record, Refused, Row, RowFile, lines_of
from fvlm_core.media.suffixes import is_video
from fvlm_core.utils.errors import Problem, Problems, UsageError
from fvlm_core.utils.listing import listed
from fvlm_core.utils.text_encodings import fault_of
from fvlm_registry.nearest import did_you_mean

# Of the whole process: the module takes no limit from a reader. Its own, of 131,072 characters, ends a long caption.
csv.field_size_limit(MAX_ROW)

_LONGEST = 4 * MAX_ROW
"""Bytes of the lines of one row, all its fields together."""

_SEPARATORS = (",", ";", "\t", "|")
_DECLARED = re.compile(r'"?sep=(.)"?\s*')
"""The first line by which a spreadsheet names the separator."""

_QUOTED = re.compile(r'"[^"]*(?:""[^"]*)*"')


@frozen
class CSVRows(RowFile):
    """A CSV file (RFC 4180) with a header. columns: those that must be there.

    separator: what a first line `sep=;` names; else a comma, or a tab in a file called .tsv, unless only another one
    (; tab |) gives a header with all `columns`. before: lines before the header. A name that stands twice in the header
    is in no record. Raises `Problems` when a column is missing or stands twice.
    """

    columns: tuple[str, ...] = field(kw_only=True)
    header: tuple[str, ...] = field(init=False, default=())
    separator: str = field(init=False, default=",")
    before: int = field(init=False, default=0)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        with self.open() as file:
            declared = _DECLARED.fullmatch(next(_Texts(self.path, file), ""))
        usual = declared[1] if declared else "\t" if self.path.suffix.lower() in (".tsv", ".tab") else ","
        line = 2 if declared else 1
        header = self._header(usual, line)
        others = [] if declared or self._complete(header) else [one for one in _SEPARATORS if one != usual]
        separator = next((one for one in others if self._complete(self._header(one, line))), usual)
        header = self._header(separator, line)
        texts = _wrong(header, self.columns) if isinstance(header, tuple) else [header]
        if problems := [Problem(text, str(self.path), line) for text in texts]:
            raise Problems(problems)
        for name, value in (("separator", separator), ("header", header), ("before", line - 1)):
            object.__setattr__(self, name, value)

    def _complete(self, header: tuple[str, ...] | str) -> bool:
        return set(self.columns) <= set(header) and not isinstance(header, str)

    def _header(self, separator: str, line: int) -> tuple[str, ...] | str:
        """The header in a line if fields are separated so, or why it is none."""
        with self.open() as file:
            texts = islice(_Texts(self.path, file), line - 1, None)
            try:
                return tuple(next(csv.reader(texts, delimiter=separator, strict=True), []))
            except csv.Error as error:
                return f"no header of a CSV file: {_in_words(error)}"

    def parse(self, raw: bytes) -> Record:
        text = raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff")
        try:
            return self._record(next(self._reader([text]), []))
        except csv.Error as error:
            raise Refused(f"not CSV: {_in_words(error)}") from None

    def _reader(self, lines: Iterable[str]) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self.separator, strict=True)

    def _record(self, values: list[str]) -> Record:
        if len(values) != len(self.header):
            raise Refused(f"expected {len(self.header)} fields as in the header, got {len(values)}")
        if fault := fault_of("".join(values)):
            raise Refused(fault)
        record = dict(zip(self.header, values, strict=True))
        if len(record) < len(self.header):
            return {name: value for name, value in record.items() if self.header.count(name) == 1}
        return record

    def _scan(self, file: BinaryIO) -> Iterator[Row]:
        texts = _Texts(self.path, file)
        reader = self._reader(islice(texts, self.before, None))
        next(reader, None)
        while True:
            number, start = texts.number + 1, texts.offset
            texts.begin_row()
            try:
                values = next(reader, None)
            except csv.Error as error:
                if "end of data" in str(error):
                    self._left_open(number, texts.taken)
                if len(texts.taken) > 1:
                    self._left_open(number, texts.taken, len(texts.taken) - 1)
                yield Row(number, start, texts.offset - start, {}, f"not CSV: {_in_words(error)}")
                continue
            if values is None:
                return
            if not values:
                continue
            if len(texts.taken) > 1 and (swallowed := self._swallowed(texts.taken)):
                self._left_open(number, texts.taken, swallowed)
            try:
                yield Row(number, start, texts.offset - start, self._record(values))
            except Refused as refused:
                lines = f" (in lines {number} to {texts.number})" if len(texts.taken) > 1 else ""
                yield Row(number, start, texts.offset - start, {}, f"{refused}{lines}")

    def _swallowed(self, lines: list[str]) -> int:
        """Which line of a row is a row of its own by all appearances: no fewer fields, and a key of the same kind; 0:
        none. A quotation mark left open may by chance be closed by one of a later row."""
        key = self.header.index(self.columns[0])
        begun = lines[0].replace('"', "").split(self.separator)
        own = begun[key] if key < len(begun) else ""
        for place, line in enumerate(lines[1:], 1):
            alone = next(csv.reader([line], delimiter=self.separator), [])
            if len(alone) >= len(self.header) and _alike(alone[key].strip(), own.strip()):
                return place
        return 0

    def _left_open(self, number: int, lines: list[str], line: int = -1) -> NoReturn:
        """Name the line where the field begins that swallows line `line` of a row, or all to the end of the file."""
        text = "".join(lines)
        end = len(text) if line < 0 else sum(map(len, lines[:line]))
        opening = number + text.count("\n", 0, _opening(text, end, self.separator))
        far = "to the end of the file" if line < 0 else f"into line {number + line}"
        raise UsageError(
            f"{self.path}:{opening}: a quotation mark left open, or one inside a text that is not written twice: the "
            f"field that begins with it would run on {far}"
        )


def _opening(text: str, end: int, separator: str) -> int:
    """Where the field in quotation marks begins that is not closed before `end`, or closed by one of a later field."""
    at = 0
    while at < end:
        if text.startswith('"', at):
            quoted = _QUOTED.match(text, at)
            if quoted is None or quoted.end() > end or text[quoted.end()] not in (separator, "\r", "\n"):
                return at
            at = quoted.end() + 1
        else:
            at = (
                min(place for place in (text.find(separator, at), text.find("\n", at), end) if place >= 0) + 1
            )
    return 0


def _wrong(header: tuple[str, ...], columns: tuple[str, ...]) -> Iterator[str]:
    """What is wrong with a header, a message each."""
    counts = Counter(header)
    data = "; the first line has to name the columns" if any(map(is_video, header)) else ""
    for name in columns:
        if not counts[name]:
            near = did_you_mean(name, header)
            yield f'no column "{name}" among {listed(header)}{near or data}'
        elif counts[name] > 1:
            yield f'column "{name}" stands {counts[name]} times in the header'


def _alike(one: str, other: str) -> bool:
    """Whether a key is a video, or of the kind of another: a file name with the same suffix, or a number."""
    suffix = splitext(one)[1].lower()
    same = suffix == splitext(other)[1].lower() if suffix else one.isdigit() and other.isdigit()
    return same or is_video(one)


def _in_words(error: csv.Error) -> str:
    text = str(error)
    if text.startswith("new-line character"):
        return (
            "a carriage return in a field without quotation marks (old Macintosh: tr '\\r' '\\n' < OLD > NEW)"
        )
    if "expected after" in text:
        return f"{text}: a quotation mark inside a field is written twice"
    if "end of data" in text:
        return "a quotation mark left open"
    return text


class _Texts:
    """The lines of a file as text, counting the lines and bytes handed out. taken, length: those of a row."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self.lines = lines_of(file, beyond=False)
        self.number = self.offset = self.length = 0
        self.taken: list[str] = []

    def begin_row(self) -> None:
        """Forget the lines of the row before."""
        self.taken.clear()
        self.length = 0

    def __iter__(self) -> _Texts:
        return self

    def __next__(self) -> str:
        self.number, start, raw, length = next(self.lines)
        self.offset = start + length
        if length > MAX_ROW:
            raise UsageError(f"{self.path}:{self.number}: more than {MAX_ROW:,} bytes in one line")
        self.length += length
        if self.length > _LONGEST:
            begun = self.number - len(self.taken)
            raise UsageError(f"{self.path}:{begun}: more than {_LONGEST:,} bytes in the row that begins here")
        text = raw.decode("utf-8", "surrogateescape")
        self.taken.append(text.removeprefix("\ufeff") if not start else text)
        return self.taken[-1]

"""CSV as we write it: no text in it is a formula to a spreadsheet; what marks it as none can be undone."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from typing import Any

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""Text that begins so is a formula to a spreadsheet, or hides one; the wide signs are read as the others are."""


class Number(str):
    """The text of a number, to be written as it is spelt."""

    __slots__ = ()


def csv_text(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as RFC 4180 has it, but for its line feeds. Texts are `guarded`, numbers are not."""
    lines = csv.writer(_Line(), lineterminator="\r\n")  # with that, the library quotes a lone \r as well
    whole = [head, *rows]
    return "".join(str(lines.writerow([_cell(value) for value in row])) for row in whole)


class _Line:
    """A line feed in place of the end that the library writes; `writerow` returns what this does."""

    def write(self, text: str) -> str:
        return text.removesuffix("\r\n") + "\n"


def _cell(value: Any) -> Any:
    return guarded(value) if isinstance(value, str) and not isinstance(value, Number) else value


def guarded(text: str) -> str:
    """A text with an apostrophe in front where it would be a formula, and one more where it has that already."""
    return f"'{text}" if text.lstrip("'").startswith(FORMULA) else text


def bare(text: str) -> str:
    """The text that was `guarded`."""
    return text[1:] if text[:1] == "'" and text.lstrip("'").startswith(FORMULA) else text

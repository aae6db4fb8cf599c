"""The line of a recipe that a problem is about, with what is wrong in it marked."""

from __future__ import annotations

import re
import unicodedata

from attrs import frozen

from fvlm_core.recipes.located import LARGEST
from fvlm_core.utils.errors import Problem
from fvlm_core.utils.paths import user_path
from fvlm_core.utils.regular_files import open_regular

WIDEST = 96
"""Characters of a line that are shown; of a longer one, those around what is marked."""

_BEFORE = 24
"""Characters of a long line that are kept before what is marked."""

_VALUE = r"""("(?:\\.|[^"\\])*"|'[^']*'|\[[^\]]*\]?|\{[^}]*\}?|[^,}\]\s#]+)"""


@frozen
class Excerpt:
    """number: of the line, from 1. line: its text, as much as is shown. start, end: what is marked in it, as
    characters; end > start, and end may be one past the text."""

    number: int
    line: str
    start: int
    end: int

    @property
    def gutter(self) -> str:
        """The number and a bar."""
        return f"  {self.number} | "

    @property
    def marks(self) -> str:
        """Spaces and carets, to stand below the line in a terminal's cells."""
        return " " * _cells(self.line[: self.start]) + "^" * max(1, _cells(self.line[self.start : self.end]))


def excerpt(problem: Problem) -> Excerpt | None:
    """The line of a problem in a TOML file, as the file says it now; None where there is none, or it cannot be read."""
    if problem.line is None or not problem.file.endswith(".toml"):
        return None
    try:
        with open_regular(user_path(problem.file), LARGEST) as handle:
            lines = handle.read(LARGEST).decode("utf-8-sig").split("\n")
    except (OSError, ValueError):
        return None
    if problem.line > len(lines):
        return None
    line = lines[problem.line - 1].rstrip("\r").expandtabs(1)
    start, end = _marked(line, problem)
    if not line.strip() and end <= start + 1 and start >= len(line):
        return None
    first = max(0, start - _BEFORE) if len(line) > WIDEST else 0
    ellipsis = "…" if first else ""
    shown = ellipsis + line[first : first + WIDEST]
    if first + WIDEST < len(line):
        shown += "…"
    shift = len(ellipsis) - first
    return Excerpt(problem.line, shown, start + shift, min(end + shift, max(len(shown), start + shift + 1)))


def _marked(line: str, problem: Problem) -> tuple[int, int]:
    """Where in the line it is: a column, the value that was got, the key, its value, or the whole of it."""
    if column := re.search(r"\(column (\d+)\)$", problem.text):
        start = min(int(column[1]) - 1, len(line))
        return start, start + 1
    name = re.sub(r"(\[\d+\])+$", "", problem.key).rpartition(".")[2]
    pair = re.search(rf"(?<![\w-])[\"']?({re.escape(name)})[\"']?(?![\w-])\s*=\s*", line) if name else None
    if pair and re.match(r"unknown key", problem.text):
        return pair.span(1)
    after = pair.end() if pair else 0
    got = re.search(rf"\bgot {_VALUE}", problem.text) or re.search(r'called (".*?")', problem.text)
    if got and (place := line.find(got[1], after)) >= 0:
        return place, place + len(got[1])
    if pair and (value := re.compile(_VALUE).match(line, after)):
        return value.span()
    whole = re.sub(r"\s+#[^\"']*$", "", line).rstrip()
    start = len(line) - len(line.lstrip())
    return start, max(len(whole), start + 1)


def _cells(text: str) -> int:
    """Columns that a terminal takes for a text."""
    return sum(
        2 if unicodedata.east_asian_width(one) in "WF" else not unicodedata.combining(one) for one in text
    )

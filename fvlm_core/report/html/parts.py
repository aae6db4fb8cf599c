"""What a page is made of: tables, charts, pictures and words, as values that the templates lay out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from attrs import frozen

from fvlm_core.report.html.palette import Pair


@frozen
class Cell:
    """A cell: its text, and the number that it is sorted by where it is one. share: of a bar behind it, in [0, 1]."""

    text: str
    value: float | None = None
    share: float | None = None


@frozen
class Column:
    """A column of a table. number: aligned to the right, sorted as numbers."""

    title: str
    number: bool = False


@frozen
class Table:
    """A table. The first cell of a row is its head. plain: no buttons to sort by."""

    id: str
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    notes: Sequence[str] = ()
    plain: bool = False


@frozen
class Key:
    """A line of a chart's legend, which also shows and hides it. text: what it ends at, for example."""

    series: str
    label: str
    colour: Pair
    dash: str = "solid"
    text: str = ""
    mark: bool = False


@frozen
class Chart:
    """A chart. item: of Bokeh, to embed. description: what a reader who cannot see it is told. table: its numbers.

    structure: equal for two charts that differ in their numbers alone. series: these numbers, by name of the source.
    ranges: the whole extent of the axes x and y.
    """

    id: str
    title: str
    item: dict[str, Any]
    description: str
    keys: Sequence[Key]
    table: Table
    structure: str
    series: dict[str, dict[str, Any]]
    ranges: dict[str, tuple[float, float]]
    note: str = ""


@frozen
class Frame:
    """A picture inside the page. url: a data URL. alt: what a reader who cannot see it is told."""

    url: str
    width: int
    height: int
    alt: str


@frozen
class Picture:
    """Pictures that belong together. table: what they show, in numbers, where those are known. facts: names and texts
    that are said of them."""

    frames: Sequence[Frame]
    caption: str
    table: Table | None = None
    facts: Sequence[tuple[str, str]] = ()


@frozen
class CodeBlock:
    """Text to copy: a command, a recipe."""

    title: str
    text: str
    folded: bool = False


@frozen
class PairTable:
    """Two of several runs beside each other; which two is chosen on the page.

    runs: their labels. facts, settings: names, and a text for each run; "" where there is none. chosen: the two that
    are shown first.
    """

    id: str
    runs: tuple[str, ...]
    facts: tuple[tuple[str, tuple[str, ...]], ...]
    settings: tuple[tuple[str, tuple[str, ...]], ...]
    chosen: tuple[int, int]

    def rows(self, alike: bool) -> list[tuple[str, str, str]]:
        """Settings of the two that are shown first: those that differ, or those that are alike."""
        a, b = self.chosen
        return [(key, of[a], of[b]) for key, of in self.settings if (of[a] == of[b]) is alike]

    def data(self) -> dict[str, Any]:
        """For the page's script: a setting that is the same in all runs has one value, others the places of theirs."""
        return {
            "facts": [[name, list(of)] for name, of in self.facts],
            "settings": [self._compact(key, of) for key, of in self.settings],
        }

    def _compact(self, key: str, of: tuple[str, ...]) -> list[Any]:
        values = list(dict.fromkeys(of))
        return [key, values] if len(values) == 1 else [key, values, [values.index(one) for one in of]]


@frozen
class Block:
    """A part of a section, under a heading of its own unless that is empty. warnings: said beside a sign."""

    heading: str = ""
    words: Sequence[str] = ()
    warnings: Sequence[str] = ()
    charts: Sequence[Chart] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    listings: Sequence[CodeBlock] = ()
    pair: PairTable | None = None


@frozen
class Section:
    """A section of the page. id: of its anchor."""

    id: str
    heading: str
    blocks: Sequence[Block]


def number(value: float | None, text: str = "{:,.4g}") -> Cell:
    """A cell of a number; empty where it is not known."""
    return Cell("") if value is None else Cell(minus(text.format(value)), float(value))


def minus(text: str) -> str:
    """Hyphens before digits as minus signs."""
    return re.sub(r"(?<![\w.])-(?=[\d.])", "\u2212", text)


def power(value: float | None) -> Cell:
    """`5.74 × 10¹¹`, for numbers whose powers of ten are what is read."""
    if value is None:
        return Cell("")
    digits, _, exponent = f"{value:.2e}".partition("e")
    raised = str(int(exponent)).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return Cell(f"{digits} × 10{raised}" if value else "0", float(value))


def duration(hours: float | None) -> Cell:
    """`1:07:30`."""
    if hours is None:
        return Cell("")
    seconds = round(3600 * hours)
    return Cell(f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}", float(hours))

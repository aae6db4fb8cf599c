"""Sections of the report: what one sees of the runs, and what it is made of. Imports nothing heavy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from attrs import Attribute, field, frozen
from attrs.validators import instance_of, matches_re

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Value = str | float | None
"""What a cell of a table holds: text; a number, of Python or numpy; None where there is none."""

_SAID = matches_re(r"\s*\S.*", re.DOTALL)


@frozen(eq=False)
class ReportedRun:
    """A run of the report.

    name: unique in the report. recipe, id: its recipe's name, and its own there. state: "complete", "running",
    "interrupted", "failed" or "imported". tags: in alphabetical order. resolved: its recipe with every default; {} of
    an imported run. summary: `summary.json`; {} before the first evaluation. rows: reads its metrics in force, one
    mapping a row: `event_type` ("train", "eval", "spike", "skipped"), `step`, and columns by the type.
    """

    name: str
    recipe: str
    id: str
    state: str
    tags: tuple[str, ...]
    resolved: Mapping[str, Any]
    summary: Mapping[str, Any]
    rows: Callable[[], Sequence[Mapping[str, Any]]]

    def metrics(self, event_type: str = "train") -> pd.DataFrame:
        """The rows of one type as a table, in the order of their steps; without columns where there are none."""
        import pandas as pd

        return pd.DataFrame([row for row in self.rows() if row["event_type"] == event_type])


def _of_values(instance: Any, attribute: Attribute[Any], rows: Any) -> None:
    """The cells of each row are as many as the columns, and text, numbers or None."""
    columns = instance.columns
    for at, row in enumerate(rows):
        if len(row) != len(columns):
            raise ValueError(f"rows: row {at} has {len(row)} cells, and there are {len(columns)} columns")
        for column, cell in zip(columns, row, strict=True):
            if not isinstance(cell, str | Real | None):
                got = type(cell).__name__
                raise ValueError(f'rows: row {at}, "{column}": expected text, a number or None, got {got}')


@frozen(eq=False)
class SectionTable:
    """A table. caption: what it shows, with units. rows: the first cell of each is its head.

    Raises ValueError for a row that does not fit the columns.
    """

    caption: str = field(validator=_SAID)
    columns: Sequence[str]
    rows: Sequence[Sequence[Value]] = field(validator=_of_values)


def _of_matplotlib(instance: Any, attribute: Attribute[Any], figure: Any) -> None:
    from matplotlib.figure import Figure

    if not isinstance(figure, Figure):
        raise ValueError(f"figure: expected a matplotlib Figure, got {type(figure).__name__}")


@frozen(eq=False)
class SectionFigure:
    """A matplotlib figure, shown as a picture of its own size. caption: what it shows, said to those who cannot see
    it, too. Raises ValueError for what is no figure."""

    figure: Figure = field(validator=_of_matplotlib)
    caption: str = field(validator=_SAID)


Part = str | SectionTable | SectionFigure
"""A text is a paragraph; what stands between backticks in it is shown as code."""


def _of_parts(instance: Any, attribute: Attribute[Any], parts: Any) -> None:
    for part in parts:
        if not isinstance(part, Part):
            got = type(part).__name__
            raise ValueError(f"parts: expected texts, SectionTable and SectionFigure, got {got}")


@frozen(eq=False)
class Section:
    """A section. title: its heading. parts: in the order in which they are shown. All text is shown as it is: none of
    it becomes markup. Raises ValueError for a part that is none.

    The component's target is `build(config, runs) -> Section`, with the runs of the report in its order.
    It only reads what it is given.
    The same runs give the same section: no dates, no global state, no randomness without a fixed seed.
    What cannot be told is said in the section, of runs without metrics and of no runs.
    An error in it is named in the report, which is written without the section.
    """

    title: str = field(validator=[instance_of(str), _SAID])
    parts: Sequence[Part] = field(validator=_of_parts)

"""What every kind of table offers its reader: columns of numbers and labels, and where a bad cell is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import define, field

from fvlm_core.interfaces.fit import LRCurve
from fvlm_core.scaling.points.columns import ColumnChoices
from fvlm_core.scaling.points.dialect import Decimal, Dialect
from fvlm_core.scaling.points.points import NEEDED, WEIGHTS
from fvlm_core.utils.errors import Problem

SHOWN = 5
"""Bad cells of a column that are named one by one; the others are counted."""

Place = tuple[int | None, str]
"""Where a row is, for people: a line of the file, or else "row 12"."""


@define(eq=False)
class Cells:
    """Columns of a table, by header."""

    rows: int
    numbers: dict[str, Any] = field(factory=dict)
    """Float [n], NaN where there is none."""
    wrong: dict[str, Any] = field(factory=dict)
    """Of each of `numbers`, where there is something else: bool [n]."""
    labels: dict[str, Any] = field(factory=dict)
    """`pandas.Categorical` [n], or floats where a typed file holds numbers."""
    others: dict[str, Any] = field(factory=dict)
    """As `labels` or `numbers`: what the column holds."""


class Sheet(ABC):
    """A table in a file."""

    headers: list[str]
    """The names of the columns, in order."""
    line: int | None = None
    """Of the header, for messages; None if it has none."""
    kinds: Mapping[str, str] = {}
    """Words for what "n" and "d" count, where the file itself says so."""
    curves: Mapping[str, LRCurve] = {}
    """Learning rates by run, where the file itself holds them."""
    said = ""
    """How it was read, where that is not how every such file is."""
    advice = ""
    """Where such a file cannot hold all that fits need: how else it is given."""

    def __init__(self, file: Path, decimal: Decimal = "") -> None:
        """decimal: the mark of decimals in texts, where a user says it."""
        self.file = file
        self.dialect = Dialect("utf-8", decimal=decimal or ".", told=bool(decimal))

    @abstractmethod
    def read(self, numbers: Sequence[str], labels: Sequence[str] = (), others: Sequence[str] = ()) -> Cells:
        """The columns under these headers. others: read as what they hold, and left out where that is neither numbers
        nor labels. Raises `Problems` for what holds no numbers, or no labels, by its type."""

    @abstractmethod
    def places(self, rows: Sequence[int], header: str) -> list[tuple[Place, str]]:
        """Where rows (counted from 0, rising) are, and what is written there, as a message shows it."""

    def bad_cells(self, header: str, expected: str, rows: Any) -> list[Problem]:
        """One problem for each of the first bad cells of a column, and one that counts the others. rows: int [n],
        counted from 0, rising."""
        if not len(rows):
            return []
        file, last = str(self.file), None
        out: list[Problem] = []
        for (line, row), got in self.places([int(row) for row in rows[:SHOWN]], header):
            key = f"{row}, {header}" if row else header
            out.append(Problem(f"{expected}, got {got}", file, line, key))
            last = line
        if len(rows) > SHOWN:
            more = f"{expected}: {len(rows) - SHOWN} more like this"
            out.append(Problem(more, file, None if last is None else last + 1, header))
        return out


def out_of_range(column: str, numbers: Any, choice: ColumnChoices) -> tuple[Any, str]:
    """Which numbers of a column cannot be: bool [n], and what is expected instead."""
    known = ~np.isnan(numbers)
    declared = next((one for one in choice.variables if one.name == column), None)
    missing = ~known if column in choice.needed or column in WEIGHTS else np.zeros(len(numbers), bool)
    if declared is not None and not declared.positive:
        return missing | np.isinf(numbers), "expected a finite number"
    if declared is not None or column in WEIGHTS:
        outside = missing | (known & ~((numbers > 0) & (numbers < np.inf)))
        return outside, "expected a finite, positive number"
    # D = 0 is an evaluation before training: left out later, and said.
    inside = (numbers >= 0) if column in ("d", "step", "lr") else (numbers > 0)
    inside &= numbers < np.inf
    if column in ("n", *NEEDED) and (column == "n" or column in choice.needed):
        return ~inside, "expected a finite, positive number"
    sign = "not negative" if column in ("step", "lr") else "positive"
    return ~inside & ~np.isnan(numbers), f"expected a finite number, {sign}, or nothing"

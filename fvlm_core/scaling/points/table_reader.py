"""What every kind of table offers its reader, and how its cells become numbers and labels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from attrs import define, field

from fvlm_core.interfaces.fit import LRCurve
from fvlm_core.utils.errors import Problem

SHOWN = 5
"""Bad cells of a column that are named one by one; the others are counted."""

AT_ONCE = 1 << 19
"""Rows read at a time: what is not kept is gone before the next ones come."""

Place = tuple[int | None, str]
"""Where a row is, for people: a line of the file, or else "row 12"."""


class Sheet(Protocol):
    """A table in a file. line: of the header, for messages; None if it has none."""

    file: Path
    line: int | None
    kinds: Mapping[str, str]
    """Words for what "n" and "d" count, where the file itself says so."""
    curves: Mapping[str, LRCurve]
    """Learning rates by run, where the file itself holds them."""
    said: str
    """How it was read, where that is not how every such file is."""
    advice: str
    """Where such a file cannot hold all that fits need: how else it is given."""

    @property
    def headers(self) -> list[str]:
        """The names of the columns, in order."""
        ...

    def chunks(
        self, numbers: Sequence[str], labels: Sequence[str], others: Sequence[str] = ()
    ) -> Iterator[Chunk]:
        """The columns under these headers, some rows at a time. Raises `Problems` for types that hold no numbers, or no
        labels. others: read as what they hold, and left out where that is neither."""
        ...

    def places(self, rows: Sequence[int], header: str) -> list[tuple[Place, str]]:
        """Where rows (counted from 0, rising) are, and what is written there, as a message shows it."""
        ...


@define(eq=False)
class Chunk:
    """Some rows, by header. numbers: float [n], NaN where there is none. wrong: bool [n], where there is something
    else. labels: `pandas.Categorical` [n], or floats where a typed file holds numbers. others: either of them."""

    rows: int
    numbers: dict[str, Any] = field(factory=dict)
    wrong: dict[str, Any] = field(factory=dict)
    labels: dict[str, Any] = field(factory=dict)
    others: dict[str, Any] = field(factory=dict)


@define
class Faults:
    """Cells of a column that are not what is expected of them: the first few rows, and how many."""

    header: str
    expected: str
    rows: list[int] = field(factory=list[int])
    count: int = 0

    def add(self, bad: Any, start: int) -> None:
        """Note the rows `bad` (bool [n]) of those that begin with row `start`."""
        found = np.flatnonzero(bad)
        self.rows += [start + row for row in found[: SHOWN - len(self.rows)].tolist()]
        self.count += len(found)

    def problems(self, sheet: Sheet) -> list[Problem]:
        """One problem for each that is named, and one for the others."""
        if not self.count:
            return []
        file = str(sheet.file)
        places = sheet.places(self.rows, self.header)
        out = [
            Problem(
                f"{self.expected}, got {got}", file, line, f"{row}, {self.header}" if row else self.header
            )
            for (line, row), got in places
        ]
        if self.count > len(self.rows):
            line = places[-1][0][0]
            more = f"{self.expected}: {self.count - len(self.rows)} more like this"
            out.append(Problem(more, file, None if line is None else line + 1, self.header))
        return out


def out_of_range(column: str, numbers: Any) -> tuple[Any, str]:
    """Which numbers of a column cannot be: bool [n], and what is expected instead."""
    # D = 0 is an evaluation before training: left out later, and said.
    inside = (numbers >= 0) if column in ("d", "step", "lr") else (numbers > 0)
    inside &= numbers < np.inf
    if column in ("n", "d", "loss"):
        return ~inside, "expected a finite, positive number"
    sign = "not negative" if column in ("step", "lr") else "positive"
    return ~inside & ~np.isnan(numbers), f"expected a finite number, {sign}, or nothing"

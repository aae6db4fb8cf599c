"""Tables with a column for each output, such as one loss a domain, as a row for each output with its label."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import pandas as pd
from attrs import field, frozen

from fvlm_core.scaling.points.table_reader import Cells, Place, Sheet
from fvlm_core.utils.errors import Problem, Problems, UsageError
from fvlm_core.utils.listing import listed
from fvlm_registry.nearest import did_you_mean


@frozen
class Outputs:
    """label: the column that tells the outputs apart. headers: of their columns, or patterns for them. target: the
    column that they all are."""

    label: str
    headers: tuple[str, ...] = field(converter=tuple)
    target: str

    @classmethod
    def parse(cls, text: str, labels: Sequence[str], targets: Sequence[str]) -> Outputs:
        """`domain=loss_*` or `domain=web,code`. labels: the columns that laws tell groups by. targets: what they
        predict. Raises `UsageError`."""
        label, equals, rest = (piece.strip() for piece in text.partition("="))
        headers = [header.strip() for header in rest.split(",") if header.strip()]
        if not (label and equals and headers):
            raise UsageError(
                f'--outputs: expected LABEL=HEADER,HEADER,..., such as domain=loss_*, got "{text}"'
            )
        if label not in labels:
            there = f"; they tell by {', '.join(labels)}" if labels else "; their parameters are of all rows"
            near = did_you_mean(label, labels) or there
            raise UsageError(f'--outputs: no law tells groups by "{label}"{near}')
        if len(targets) != 1:
            raise UsageError(f"--outputs: these laws predict {', '.join(targets)}: ask one at a time")
        return cls(label, headers, targets[0])

    def found(self, sheet: Sheet) -> dict[str, str]:
        """The label of each output, by header: what stands for the star of a pattern, else the header. Raises
        `Problems`."""
        out: dict[str, str] = {}
        problems: list[Problem] = []

        def wrong(text: str) -> None:
            problems.append(Problem(f"--outputs: {text}", str(sheet.file), sheet.line))

        for asked in self.headers:
            matching = [header for header in sheet.headers if header == asked or fnmatchcase(header, asked)]
            if not matching:
                near = did_you_mean(asked, sheet.headers) or f"; found {listed(sheet.headers)}"
                wrong(f'no column "{asked}"{near}')
            before, star, after = asked.partition("*")
            for header in matching:
                part = header[len(before) : len(header) - len(after)] if star and "*" not in after else header
                out[header] = part or header
        for column in (self.label, self.target):
            if column in sheet.headers and column not in out and not problems:
                wrong(f'the table has a column "{column}" of its own: rename one')
        if len(set(out.values())) < len(out):
            wrong(f"outputs of one label: {', '.join(out)}")
        if problems:
            raise Problems(problems)
        return out


class WideSheet(Sheet):
    """The table with a row for each row and output; cells that hold nothing are no rows."""

    def __init__(self, sheet: Sheet, outputs: Outputs) -> None:
        """Raises `Problems` for outputs that are not there."""
        super().__init__(sheet.file)
        self._sheet, self._outputs = sheet, outputs
        self.dialect, self.line, self.kinds, self.curves = (
            sheet.dialect,
            sheet.line,
            sheet.kinds,
            sheet.curves,
        )
        self.said, self.advice = sheet.said, sheet.advice
        self._labels = outputs.found(sheet)
        others = [header for header in sheet.headers if header not in self._labels]
        self.headers = [*others, outputs.label, outputs.target]
        self._rows: list[tuple[str, int]] = []

    def read(self, numbers: Sequence[str], labels: Sequence[str] = (), others: Sequence[str] = ()) -> Cells:
        """Output by output, the rows of each that hold one."""
        label, target = self._outputs.label, self._outputs.target
        own = [header for header in numbers if header not in (label, target)]
        part = self._sheet.read(
            [*own, *self._labels],
            [header for header in labels if header != label],
            [header for header in others if header not in (label, target)],
        )
        kept = [np.flatnonzero(~np.isnan(part.numbers[one]) | part.wrong[one]) for one in self._labels]
        rows = np.concatenate(kept)
        of = np.repeat(np.arange(len(kept)), list(map(len, kept)))
        headers = list(self._labels)
        self._rows = [(headers[which], row) for which, row in zip(of.tolist(), rows.tolist(), strict=True)]
        empty = part.rows * len(kept) - len(rows)
        lacking = f"; empty cells, which are no rows: {empty}" if empty else ""
        shown = f"{label} of {len(headers)} columns ({listed(list(self._labels.values()))}){lacking}"
        self.said = ", ".join(filter(None, [self._sheet.said, shown]))

        def stacked(columns: dict[str, Any]) -> Any:
            return np.concatenate([columns[one][at] for one, at in zip(headers, kept, strict=True)])

        def taken(columns: dict[str, Any]) -> dict[str, Any]:
            return {one: values[rows] for one, values in columns.items() if one not in self._labels}

        cells = Cells(
            len(rows), taken(part.numbers), taken(part.wrong), taken(part.labels), taken(part.others)
        )
        cells.numbers[target], cells.wrong[target] = stacked(part.numbers), stacked(part.wrong)
        names = pd.Index([*self._labels.values()], dtype=object)
        cells.labels[label] = pd.Categorical.from_codes(of, names)
        return cells

    def places(self, rows: Sequence[int], header: str) -> list[tuple[Place, str]]:
        """Where they are in the wide table."""
        out: list[tuple[Place, str]] = []
        for of, at in (self._rows[row] for row in rows):
            here = of if header == self._outputs.target else header
            (((line, row), got),) = self._sheet.places([at], here)
            out.append(((line, ", ".join(filter(None, [row, here if here == of else ""]))), got))
        return out

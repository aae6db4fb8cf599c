"""Charts that Weights & Biases saves as CSV: a column for each run, `NAME - METRIC`, with `__MIN` and `__MAX` of its
bins beside it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.scaling.points.column_names import meant
from fvlm_core.scaling.points.csv_file import CSVSheet
from fvlm_core.scaling.points.table_reader import Cells, Place, Sheet
from fvlm_core.utils.errors import Problem, Problems

RUN = "run"
BETWEEN = " - "
AXES = ("step", "d")
BINS = ("__MIN", "__MAX")
STEP = "_step"
"""Its own count of a run's steps: a table with this column is a run's history, in which few rows have every metric."""


def is_chart(headers: Sequence[str]) -> bool:
    """Whether these are the columns of a chart: bins of a metric; or an axis and nothing but metrics of runs, where the
    axis counts steps or data, or one metric is there of two runs."""
    binned = any(header + BINS[0] in headers and BETWEEN in header for header in headers)
    steps = meant(headers[0]) in AXES
    metrics = [header.rpartition(BETWEEN)[2] for header in headers[1:] if BETWEEN in header]
    alone = bool(metrics) and len(metrics) == len(headers) - 1
    return binned or (alone and (steps or len(set(metrics)) < len(metrics)))


class ChartSheet(Sheet):
    """A chart as a table with a row for each value: its run, the chart's own columns, the metrics."""

    def __init__(self, sheet: CSVSheet) -> None:
        """Raises `Problems` for two columns of one name."""
        super().__init__(sheet.file)
        self.line, self._sheet = sheet.line, sheet
        counts = {header: sheet.headers.count(header) for header in sheet.headers}
        if twice := [header for header, count in counts.items() if count > 1]:
            text = '{} columns are called "{}": give the runs different names'
            raise Problems(
                [Problem(text.format(counts[header], header), str(self.file), self.line) for header in twice]
            )
        self._columns: dict[tuple[str, str], str] = {}
        self._own: list[str] = []
        for header in sheet.headers:
            name, between, metric = header.rpartition(BETWEEN)
            if not between:
                self._own.append(header)
            elif not metric.endswith(BINS):
                self._columns[name, metric] = header
        self.runs = list(dict.fromkeys(name for name, _ in self._columns))
        self.headers = [RUN, *self._own, *dict.fromkeys(metric for _, metric in self._columns)]
        self._shown = f"a W&B chart of {len(self.runs)} runs: {', '.join(self.runs)}"
        self.said = ", ".join(filter(None, [sheet.said, self._shown]))
        told = [f"--total-params {shlex.quote(f'{run}=N')}" for run in self.runs]
        columns = {meant(header) for header in self.headers}
        way = "" if columns & {*AXES} else "save it with Step as its axis, "
        each = "" if "d" in columns else " --samples-per-step '*=BATCH_SIZE'"
        self.advice = (
            "a chart says no N of its runs, and D only as its axis or a metric. To add them, "
            f"{way}import it and fit the runs: fvlm import {shlex.quote(str(self.file))} {' '.join(told)}{each}"
        )
        self._rows: list[tuple[str, int]] = []

    def read(self, numbers: Sequence[str], labels: Sequence[str] = (), others: Sequence[str] = ()) -> Cells:
        """The columns under these headers, run by run. Where a run has none of these metrics, there is no row."""
        own, wanted = set(self._own), list(dict.fromkeys([*numbers, *others]))
        metrics = [header for (_, metric), header in self._columns.items() if metric in wanted]
        part = self._sheet.read(
            [*(header for header in wanted if header in own), *metrics],
            [header for header in labels if header in own],
        )
        self.said = ", ".join(filter(None, [self._sheet.said, self._shown]))
        of_run = [{header: self._column(run, header, part) for header in wanted} for run in self.runs]
        kept: list[Any] = []
        for columns in of_run:
            known = [
                ~np.isnan(values) | wrong
                for header, (values, wrong) in columns.items()
                if header in numbers and header not in own and header.lower() != STEP
            ]
            kept.append(np.flatnonzero(np.any([np.zeros(part.rows, bool), *known], axis=0)))
        runs = np.repeat(np.arange(len(self.runs)), list(map(len, kept)))
        rows = np.concatenate(kept)
        self._rows = [(self.runs[run], row) for run, row in zip(runs.tolist(), rows.tolist(), strict=True)]
        cells = Cells(len(rows))
        for header in wanted:
            values, wrong = (
                np.concatenate([columns[header][which][at] for columns, at in zip(of_run, kept, strict=True)])
                for which in (0, 1)
            )
            if header in numbers:
                cells.numbers[header], cells.wrong[header] = values, wrong
            elif not wrong.any():  # a column that nobody asked for may hold anything
                cells.others[header] = values
        name = pd.Categorical.from_codes(runs, pd.Index(self.runs, dtype=object))
        cells.labels = {header: name if header == RUN else part.labels[header][rows] for header in labels}
        return cells

    def places(self, rows: Sequence[int], header: str) -> list[tuple[Place, str]]:
        """Lines of the file, and the run."""
        out: list[tuple[Place, str]] = []
        for run, at in (self._rows[row] for row in rows):
            (((line, _), got),) = self._sheet.places([at], self._columns.get((run, header), header))
            out.append(((line, f"run {run}"), got))
        return out

    def _column(self, run: str, header: str, part: Cells) -> tuple[Any, Any]:
        there = header if header in self._own else self._columns.get((run, header))
        if there is None:  # a metric that this run has not
            return np.full(part.rows, np.nan), np.zeros(part.rows, bool)
        return part.numbers[there], part.wrong[there]

"""Charts that Weights & Biases saves as CSV: a column for each run, `NAME - METRIC`, with `__MIN` and `__MAX` of its
bins beside it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.interfaces.fit import LRCurve
from fvlm_core.scaling.points.column_names import meant
from fvlm_core.scaling.points.csv_file import CSVSheet
from fvlm_core.scaling.points.table_reader import Chunk, Place
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


class ChartSheet:
    """A chart as a table with a row for each value: its run, the chart's own columns, the metrics. See `Sheet`."""

    def __init__(self, sheet: CSVSheet) -> None:
        """Raises `Problems` for two columns of one name."""
        self.file, self.line, self._sheet = sheet.file, sheet.line, sheet
        self.kinds: Mapping[str, str] = {}
        self.curves: Mapping[str, LRCurve] = {}
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

    def chunks(
        self, numbers: Sequence[str], labels: Sequence[str], others: Sequence[str] = ()
    ) -> Iterator[Chunk]:
        """The columns under these headers, run by run. Where a run has none of these metrics, there is no row."""
        own, wanted = set(self._own), {*numbers, *others}
        metrics = [header for (_, metric), header in self._columns.items() if metric in wanted]
        shared = [header for header in dict.fromkeys([*numbers, *others]) if header in own]
        start = 0
        self._rows = []
        for part in self._sheet.chunks([*shared, *metrics], [header for header in labels if header in own]):
            for run in self.runs:
                columns = {header: self._column(run, header, part) for header in wanted - {RUN}}
                known = [
                    ~np.isnan(values) | wrong
                    for header, (values, wrong) in columns.items()
                    if header in numbers and header not in own and header.lower() != STEP
                ]
                kept = np.flatnonzero(np.any([np.zeros(part.rows, bool), *known], axis=0))
                self._rows += [(run, start + at) for at in kept.tolist()]
                chunk = Chunk(len(kept))
                for header in numbers:
                    chunk.numbers[header], chunk.wrong[header] = (of[kept] for of in columns[header])
                # A column that nobody asked for may hold anything.
                chunk.others = {
                    header: columns[header][0][kept] for header in others if not columns[header][1].any()
                }
                name = pd.Categorical.from_codes(np.zeros(len(kept), np.int8), pd.Index([run], dtype=object))
                chunk.labels = {
                    header: name if header == RUN else part.labels[header][kept] for header in labels
                }
                yield chunk
            start += part.rows
        self.said = ", ".join(filter(None, [self._sheet.said, self._shown]))

    def places(self, rows: Sequence[int], header: str) -> list[tuple[Place, str]]:
        """Lines of the file, and the run."""
        out: list[tuple[Place, str]] = []
        for run, at in (self._rows[row] for row in rows):
            (((line, _), got),) = self._sheet.places([at], self._columns.get((run, header), header))
            out.append(((line, f"run {run}"), got))
        return out

    def _column(self, run: str, header: str, part: Chunk) -> tuple[Any, Any]:
        there = header if header in self._own else self._columns.get((run, header))
        if there is None:  # a metric that this run has not
            return np.full(part.rows, np.nan), np.zeros(part.rows, bool)
        return part.numbers[there], part.wrong[there]

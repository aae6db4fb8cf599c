"""Runs from Weights & Biases: charts saved as CSV, and the history of a run (`_step`)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.interchange.exported import wrong_name
from fvlm_core.interchange.measured import MeasuredRun, Start
from fvlm_core.runs.metrics import Row
from fvlm_core.scaling.points.charts import AXES, STEP, ChartSheet, is_chart
from fvlm_core.scaling.points.column_names import meant, plainly
from fvlm_core.scaling.points.columns import ColumnChoices, find_columns
from fvlm_core.scaling.points.csv_file import CSVSheet
from fvlm_core.scaling.points.files import Columns, load
from fvlm_core.utils.errors import Problem, Problems

KIND = "W&B chart or history"
AS_SAVED = (
    'columns are found by their headers: a chart has "Step" (or tokens, or samples) as its axis and "RUN - val/loss" '
    "for each run, a history "
    '"_step" and "val/loss". Save it so, or correct the headers in the file'
)


def from_wandb(sheet: CSVSheet) -> bool:
    """Whether a table is a chart or a history."""
    return is_chart(sheet.headers) or STEP in sheet.headers


def runs_of_chart(sheet: CSVSheet, remarks: list[str]) -> list[MeasuredRun]:
    """The runs of a chart, or the run of a history: their losses by step, and what else is told.

    Raises `Problems` for a step that is no whole number, or that a run has twice with different losses.
    """
    table = ChartSheet(sheet) if is_chart(sheet.headers) else sheet
    axis = {meant(header) for header in table.headers} & {*AXES}
    needed = ("loss", *sorted(axis or {"step"}, reverse=True)[:1])
    found = find_columns(
        str(sheet.file), sheet.line, table.headers, ColumnChoices(needed=needed), instead=AS_SAVED
    )
    columns = load(table, found, remarks)
    if "step" not in columns:
        columns["step"] = _numbered(columns)
        remarks.append(
            f'{sheet.file}: the axis is "{found.headers["d"]}", which is D; it says no steps: the evaluations of each '
            "run are numbered from 1"
        )
    remarks += [f"{sheet.file}: {said}" for said in (table.said, ", ".join(found.usual)) if said]
    seen = "tokens_seen" if "tokens" in plainly(found.headers.get("d", "")) else "samples_seen"
    names = columns["run"].astype(object) if "run" in columns else [sheet.file.stem] * len(columns["loss"])
    problems: list[Problem] = []
    runs: dict[str, MeasuredRun] = {}
    rows: dict[tuple[str, int], Row] = {}
    copies = 0
    for at, name in enumerate(names):
        if name not in runs:
            runs[name] = MeasuredRun(name, _label(columns, "size", at), _label(columns, "schedule", at))
            runs[name].starts.append(Start())
            if wrong := wrong_name(name):
                problems.append(Problem(f"{wrong}, got {name!r}", str(sheet.file), sheet.line))
        step = columns["step"][at]
        if step != int(step if np.isfinite(step) else -1):
            problems.append(
                Problem(f"run {name}: expected a whole number of steps, got {step:g}", str(sheet.file))
            )
            continue
        row = _row(columns, at, seen)
        if rows.setdefault((name, int(step)), row) is row:
            runs[name].starts[0].rows.append(row)
        elif rows[name, int(step)] == row:
            copies += 1
        else:
            text = f"run {name} has step {int(step)} twice, with different values; expected one row for each step"
            problems.append(Problem(text, str(sheet.file)))
        _count(runs[name], columns, at, problems, str(sheet.file))
    if problems:
        raise Problems(list(dict.fromkeys(problems)))
    if copies:
        remarks.append(f"{sheet.file}: rows that are exact copies of earlier ones, left out: {copies}")
    for run in runs.values():
        run.starts[0].rows.sort(key=lambda row: row["step"])
    return list(runs.values())


def _numbered(columns: Columns) -> Any:
    """Of each row, which of its run's amounts of data it is at, from 1: float [n]."""
    runs = np.asarray(columns["run"]) if "run" in columns else np.zeros(len(columns["d"]))
    return pd.Series(columns["d"]).groupby(runs).rank(method="dense").to_numpy(float)


def _row(columns: Columns, at: int, seen: str) -> Row:
    names = {"step": "step", "loss": "val_loss", "lr": "lr_connector", "compute": "flops", "d": seen}
    values: dict[str, Any] = {
        name: float(columns[column][at]) for column, name in names.items() if column in columns
    }
    whole = {name: int(values[name]) for name in ("step", seen) if values.get(name, 0.5).is_integer()}
    return {"event_type": "eval", **{name: of for name, of in values.items() if of == of}, **whole}


def _label(columns: Columns, name: str, at: int) -> str:
    label = columns[name][at] if name in columns else ""
    return label if isinstance(label, str) else ""


def _count(run: MeasuredRun, columns: Columns, at: int, problems: list[Problem], file: str) -> None:
    n = columns["n"][at] if "n" in columns else np.nan
    if not np.isfinite(n):
        return
    if run.total_params not in (None, int(n)):
        problems.append(Problem(f"run {run.id} has N {run.total_params} and {int(n)}; expected one", file))
    run.total_params = int(n)

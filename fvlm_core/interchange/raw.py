"""Runs from the founding project's raw metrics: `metrics_<run_id>.csv` for every start, `run_summary_<run_id>.json`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fvlm_core.interchange.export_tables import SUMMARY_COLUMNS, TEXTS, WHOLE
from fvlm_core.interchange.exported import EXTRA, wrong_name
from fvlm_core.interchange.measured import MeasuredRun, Start
from fvlm_core.interchange.table import LOSSES, Format, ImportedTable, TableRow
from fvlm_core.runs.metrics import Row
from fvlm_core.utils.data_files import NOTES, read_data
from fvlm_core.utils.errors import Problem, Problems, UsageError
from fvlm_core.utils.listing import shorten
from fvlm_registry.nearest import did_you_mean

METRICS_FILES = "metrics_*.csv"
SUMMARY_FILES = "run_summary_*.json"

RAW_FORMAT = Format(
    "raw metrics",
    (
        "run_id",
        "step",
        "samples_seen",
        "wall_time_sec",
        "event_type",
        "train_loss",
        "loss_fine",
        "loss_coarse",
        "loss_ratio",
        "grad_norm",
        "lr_connector",
        "lr_dino",
        "lr_llm",
        "throughput_samples_sec",
        "gpu_mem_gb",
        "val_loss",
        "val_loss_fine",
        "val_loss_coarse",
        "val_loss_ratio",
        "attention_entropy",
    ),
    frozenset({"run_id", "event_type"}),
    frozenset({"step", "samples_seen"}),
    frozenset({"run_id", "step", "event_type"}),
)

_EVENTS = ("train", "eval")

_OURS = {"lr_dino": "lr_encoder"}
"""Columns that our metrics know by another name."""


def runs_of_metrics(
    tables: Sequence[ImportedTable], summaries: Sequence[Path], remarks: list[str]
) -> list[MeasuredRun]:
    """The runs of raw metrics, in the order of the files.

    tables: in the order of the starts. A file whose steps begin again holds several. Rows of earlier starts from the
    first step of a later one on are superseded: they are kept in the run's metrics, and do not count. Raises `Problems`
    for an unknown kind of row, and for a step that a start has twice with different values.
    """
    problems: list[Problem] = []
    runs: dict[str, MeasuredRun] = {}
    for table in tables:
        _add_starts(table, runs, problems, remarks)
    for file in summaries:
        _add_summary(file, runs, problems, remarks)
    if problems:
        raise Problems(problems)
    silent = [run.id for run in runs.values() if run.summary is None]
    if silent:
        remarks.append(f"no {SUMMARY_FILES}, and none is made up: {shorten(', '.join(silent))}")
    return list(runs.values())


def _add_starts(
    table: ImportedTable, runs: dict[str, MeasuredRun], problems: list[Problem], remarks: list[str]
) -> None:
    current: dict[str, Start] = {}
    seen: dict[tuple[str, str, int], TableRow] = {}
    copies = 0
    for row in table.rows:
        values = row.values
        name, event, step = values["run_id"], values["event_type"], values["step"]
        if event not in _EVENTS:
            near = did_you_mean(event, _EVENTS)
            text = f'expected "train" or "eval", got "{event}"{near}'
            problems.append(Problem(text, str(table.file), row.line, "event_type"))
            continue
        if name not in runs:
            if wrong := wrong_name(name):
                problems.append(Problem(f"{wrong}, got {name!r}", str(table.file), row.line, "run_id"))
            runs[name] = MeasuredRun(name)
        run, start = runs[name], current.get(name)
        if start is None or step < start.rows[-1]["step"]:
            start = current[name] = Start(from_step=max(0, step - 1), file=table.file.name)
            _say_overlap(run, step, table, row, remarks)
            run.starts.append(start)
            seen = {key: of for key, of in seen.items() if key[0] != name}
        other = seen.setdefault((name, event, step), row)
        if other is row:
            start.rows.append(_metrics_row(row))
        elif (other.values, other.extra) == (values, row.extra):
            copies += 1
        else:
            problems.append(
                Problem(
                    f"run {name} has the {event} row of step {step} here and in line {other.line}, with different "
                    "values; expected one: keep the right one",
                    str(table.file),
                    row.line,
                )
            )
    if copies:
        remarks.append(f"{table.file}: rows that are exact copies of earlier ones, left out: {copies}")


def _say_overlap(
    run: MeasuredRun, step: int, table: ImportedTable, row: TableRow, remarks: list[str]
) -> None:
    last = max((old["step"] for start in run.starts for old in start.rows), default=None)
    if last is not None:
        again = (
            f", so rows of earlier starts from there on are superseded (up to {last})" if last >= step else ""
        )
        remarks.append(
            f"{table.file}:{row.line}: start {len(run.starts) + 1} of {run.id}, from step {step}{again}"
        )


def _metrics_row(row: TableRow) -> Row:
    values = {
        _OURS.get(column, column): value
        for column, value in row.values.items()
        if column not in ("run_id", "event_type") and value is not None
    }
    return {"event_type": row.values["event_type"], **values, **({EXTRA: row.extra} if row.extra else {})}


def _add_summary(
    file: Path, runs: dict[str, MeasuredRun], problems: list[Problem], remarks: list[str]
) -> None:
    said = _read_summary(file, problems)
    if said is None:
        return
    name = said["run_id"]
    if name not in runs:
        remarks.append(f"{file}: run {name} has a summary and no metrics{did_you_mean(name, runs)}")
    run = runs.setdefault(name, MeasuredRun(name))
    if run.summary is not None:
        problems.append(Problem(f"run {name} has another summary; expected one", str(file), key="run_id"))
    remarks += [
        f"{file}: {column}: expected a finite, positive number, got {value!r}; kept as written"
        for column, value in said.items()
        if column in LOSSES and value is not None and value <= 0
    ]
    run.summary = said
    run.size, run.schedule, run.total_params = said["model_size"], said["lr_schedule"], said["total_params"]


def _read_summary(file: Path, problems: list[Problem]) -> dict[str, Any] | None:
    try:
        said = json.loads(read_data(file, NOTES).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{file}: not readable as JSON: {error}") from None
    if not isinstance(said, dict):
        raise UsageError(f"{file}: expected an object with {', '.join(SUMMARY_COLUMNS)}")
    if not said.keys() & set(SUMMARY_COLUMNS):
        raise UsageError(
            f"{file}: no summary of a run, which has {', '.join(SUMMARY_COLUMNS)}. Of an export, give the "
            "folder or its tables: fits are made again from the points"
        )
    before = len(problems)
    out: dict[str, Any] = {}
    for column in SUMMARY_COLUMNS:
        if column not in said:
            near = did_you_mean(column, [str(key) for key in said if key not in SUMMARY_COLUMNS])
            problems.append(
                Problem(f'no key "{column}"{near or "; expected it, or null"}', str(file), key=column)
            )
            continue
        value: Any = said[column]
        expected = _unlike(column, value)
        if expected:
            problems.append(Problem(f"expected {expected}, got {json.dumps(value)}", str(file), key=column))
        out[column] = _clean(column, value)
    if len(problems) == before and (not out["run_id"] or wrong_name(out["run_id"])):
        problems.append(Problem(f"expected a run's name, got {out['run_id']!r}", str(file), key="run_id"))
    extra = {str(key): value for key, value in said.items() if key not in SUMMARY_COLUMNS}
    if extra:
        out[EXTRA] = json.loads(json.dumps(extra), parse_constant=lambda _: None)
    return out if len(problems) == before else None


def _unlike(column: str, value: Any) -> str:
    """What was expected, if a value is not that."""
    if value is None:
        return ""
    if column in TEXTS:
        return "" if isinstance(value, str) else "text"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "a number or null"
    if column in WHOLE and math.isfinite(value) and (value < 0 or value != int(value)):
        return "a whole number, not negative, or null"
    return ""


def _clean(column: str, value: Any) -> Any:
    if column in TEXTS:
        return value or ""
    if isinstance(value, float):  # `Infinity` is what a run without an evaluation wrote
        return (int(value) if column in WHOLE else value) if math.isfinite(value) else None
    return value


def natural(path: Path) -> list[tuple[int, int, str]]:
    """A key that sorts paths with numbers by value: start_2 before start_10, a stem before what follows it."""
    parts = re.split(r"(\d+)", str(path.with_suffix("")))
    return [(1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts]

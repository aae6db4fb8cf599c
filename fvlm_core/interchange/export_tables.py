"""The two tables of the export: their columns, the rows of runs, and the text of their cells."""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fvlm_core.runs.answers import metric_columns
from fvlm_core.runs.store import IMPORTED, StoredRun
from fvlm_core.scaling.points.dialect import MISSING
from fvlm_core.scaling.points.in_fits import MARKS
from fvlm_core.scaling.points.points_from_runs import run_names
from fvlm_core.utils.csv_text import Number, csv_text
from fvlm_core.utils.parse_number import parse_count

POINTS = "all_eval_points.csv"
SUMMARIES = "run_summaries.csv"

POINT_COLUMNS = (
    "model_size",
    "run_id",
    "lr_schedule",
    "step",
    "samples_seen",
    "val_loss",
    "train_loss",
    "lr",
    "throughput_sps",
    "attention_entropy",
)
AUXILIARY = "val_loss_"
"""What the column of an auxiliary loss begins with, with the loss's name after it (`ConnectorSpec.auxiliary`): points
have one for each that some run was evaluated with."""

_LEFT_OUT = frozenset(AUXILIARY + name for name in ("fine", "coarse", "ratio", "content", "by_source"))
"""Columns of evaluations that begin so too, and are none."""

SUMMARY_COLUMNS = (
    "run_id",
    "model_size",
    "total_params",
    "lr_schedule",
    "total_samples",
    "total_steps",
    "best_val_loss",
    "best_val_step",
    "final_train_loss",
    "wall_time_hours",
)
TEXTS = frozenset({"run_id", "model_size", "lr_schedule", "in_fits"})
"""Columns of text; all others hold numbers."""

WHOLE = frozenset({"step", "samples_seen", "total_params", "total_samples", "total_steps", "best_val_step"})
"""Columns of whole numbers, not negative."""

LOGGED_AS = {"lr": "lr_connector", "throughput_sps": "throughput_samples_sec"}
"""Columns of points that the metrics know by another name."""

AS_WRITTEN = "as_written"
"""In imported rows: the texts of numbers, by column, that we would write otherwise ("1.00e-03")."""

SOURCE_ROW = "source_row"
"""In imported rows: their place in the file they are from, so that they come out in its order."""

DERIVED = "derived"
"""In the summary of an imported run that had none: ours, for people, and not exported."""

_WHOLE = re.compile(r"[+-]?\d+")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s?[kKMBT]?")
_INFINITE = ("inf", "+inf", "-inf", "infinity", "-infinity", "+infinity")


def write_tables(runs: Sequence[StoredRun], to: Path) -> list[Path]:
    """Write `all_eval_points.csv` and `run_summaries.csv` of runs into the folder `to`, in their order; and
    `in_fits.csv` where some are no fit points, which the columns of the tables have no place for."""
    files = [to / POINTS, to / SUMMARIES]
    _write(files[0], (*POINT_COLUMNS, *point_columns(runs)), point_rows(runs))
    _write(files[1], SUMMARY_COLUMNS, summary_rows(runs))
    names = run_names(runs)
    marks = to / MARKS
    marks.unlink(missing_ok=True)  # of an earlier export into this folder
    if all(run.in_fits for run in runs):
        return files
    marked = [{"run_id": names[run.folder], "in_fits": str(run.in_fits).lower()} for run in runs]
    _write(marks, ("run_id", "in_fits"), marked)
    return sorted([*files, marks])


def further_columns(columns: Sequence[str]) -> list[str]:
    """Of the columns of evaluations those that points have beside the format's: auxiliary losses (see `AUXILIARY`), and
    metrics of answers with the ends of their intervals."""
    auxiliary = (name for name in columns if name.startswith(AUXILIARY) and name not in _LEFT_OUT)
    return [*dict.fromkeys(auxiliary), *metric_columns(columns)]


def point_columns(runs: Sequence[StoredRun]) -> list[str]:
    """The columns of points beside those of the format."""
    return further_columns(sorted({name for run in runs for name in run.columns()}))


def point_rows(runs: Sequence[StoredRun]) -> list[dict[str, Any]]:
    """One row an evaluation: the columns of `all_eval_points.csv`, then `further_columns`; None where nothing is known.

    Rows of an import are in the order of its file, runs mixed or not, and hold `as_written` where it spelt otherwise.
    """
    names = run_names(runs)
    both = tuple(LOGGED_AS.values())  # of training rows and of evaluations alike
    more = point_columns(runs)
    placed: list[tuple[str, int, dict[str, Any]]] = []
    for run in runs:
        training = sorted(run.train_rows("step", "train_loss", *both), key=lambda row: row["step"])
        steps = [row["step"] for row in training]
        evaluations = run.evaluations(
            "step",
            "samples_seen",
            "val_loss",
            "train_loss",
            "attention_entropy",
            *both,
            *more,
            AS_WRITTEN,
            SOURCE_ROW,
        )
        for row in evaluations:
            at = bisect_right(steps, row["step"])
            before = training[at - 1] if at else {}
            rates = {**before, **_known(row)}
            cells = {
                "model_size": run.size,
                "run_id": names[run.folder],
                "lr_schedule": run.schedule,
                "step": row["step"],
                "samples_seen": row.get("samples_seen"),
                "val_loss": row.get("val_loss"),
                # Of a training step. Only a row from a table holds it: it came without the training rows.
                "train_loss": (row if SOURCE_ROW in row else before).get("train_loss"),
                "lr": rates.get("lr_connector"),
                "throughput_sps": rates.get("throughput_samples_sec"),
                "attention_entropy": row.get("attention_entropy"),
                **{name: row.get(name) for name in more},
            }
            if row.get(AS_WRITTEN):
                cells[AS_WRITTEN] = row[AS_WRITTEN]
            placed.append((run.recipe, row.get(SOURCE_ROW) or 0, cells))
    return _in_place(runs, placed)


def summary_rows(runs: Sequence[StoredRun]) -> list[dict[str, Any]]:
    """One row a run: the columns of `run_summaries.csv`; a run before its first evaluation has few of them.

    An imported run that came without a summary has no row.
    """
    names = run_names(runs)
    placed: list[tuple[str, float, dict[str, Any]]] = []
    for run in runs:
        summary = run.summary
        if IMPORTED in run.record and summary.get(DERIVED):
            continue
        cells = {column: summary.get(column) for column in SUMMARY_COLUMNS}
        cells |= {"run_id": names[run.folder], "model_size": run.size, "lr_schedule": run.schedule}
        cells["total_params"] = run.total_params
        if SOURCE_ROW in summary:  # what the file said, where that is not what its points said
            cells |= {column: summary.get(column) for column in ("model_size", "lr_schedule", "total_params")}
        if summary.get(AS_WRITTEN):
            cells[AS_WRITTEN] = summary[AS_WRITTEN]
        placed.append((run.recipe, summary.get(SOURCE_ROW, math.inf), cells))
    return _in_place(runs, placed)


def parse(column: str, text: str, whole: bool | None = None) -> Any:
    """The value of a cell: text, an int, a float, or None where there is none ("", "nan", "inf").

    whole: whether a whole number is expected; None asks `WHOLE`. Raises `ValueError` for what is no such number.
    """
    if column in TEXTS:
        return text
    plain = text.strip()
    if not plain or plain.lower() in (*MISSING, *_INFINITE):
        return None
    value = parse_count(plain) if _NUMBER.fullmatch(plain) else None
    if value is None:
        raise ValueError(text)
    if not (column in WHOLE if whole is None else whole):
        return value
    number = int(plain) if _WHOLE.fullmatch(plain) else int(value)
    if (number != value and not _WHOLE.fullmatch(plain)) or number < 0:
        raise ValueError(text)
    return number


def written(column: str, value: Any) -> str:
    """The text of a cell, before `csv_text` guards it: empty for what is not known."""
    if column in TEXTS:
        return "" if value is None else str(value)
    if value is None or not math.isfinite(value):
        return ""
    return Number(int(value) if column in WHOLE and value == int(value) else repr(float(value)))


def _known(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _in_place(
    runs: Sequence[StoredRun], placed: Sequence[tuple[str, float, dict[str, Any]]]
) -> list[dict[str, Any]]:
    """Rows by recipe, in the order in which the runs first name it, and by place in it."""
    rank = {recipe: at for at, recipe in enumerate(dict.fromkeys(run.recipe for run in runs))}
    return [cells for _, _, cells in sorted(placed, key=lambda row: (rank[row[0]], row[1]))]


def _write(file: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    text = csv_text(columns, [[_cell(row, column) for column in columns] for row in rows])
    temporary = file.with_name(f".{file.name}")
    temporary.write_text(text, encoding="utf-8", newline="")
    temporary.replace(file)


def _cell(row: Mapping[str, Any], column: str) -> str:
    """As the file spelt it, while the value is still that one; else as we write it."""
    value = row[column]
    text = row.get(AS_WRITTEN, {}).get(column)
    if text is None or parse(column, text) != value:
        return written(column, value)
    return text if column in TEXTS else Number(text)

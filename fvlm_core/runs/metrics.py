"""Metrics: one JSON object a line, only ever appended; the read view has each step once."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from types import TracebackType
from typing import Any

from fvlm_core.runs.record_shapes import MUST, ROW
from fvlm_core.utils.atomic_files import ends_torn, open_to_append, read_rows
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.utils.json_shape import misfit

Row = dict[str, Any]

CLOCK = ("wall_time_sec", "throughput_", "memory_gb", "gpu_mem_gb", "mfu", "attempt")
"""Columns, by the beginning of their names, that the clock, the machine or an interruption decides."""


_OF_ITS_OWN = {f"val_loss_{name}" for name in ("content", "fine", "ratio", "by_source")}


def other_losses(row: Row) -> dict[str, float]:
    """Losses of an evaluation beside its own, by name: of weights that callbacks keep, and auxiliary ones."""
    found = {
        key: value for key, value in row.items() if key.startswith("val_loss_") and key not in _OF_ITS_OWN
    }
    return {
        key.removeprefix("val_loss_"): value
        for key, value in found.items()
        if isinstance(value, int | float)  # a file may hold anything
    }


class MetricsWriter:
    """Appends rows to `metrics.jsonl`. Every start of a run is an attempt and begins with an `attempt` row.

    Rows of earlier attempts after the step that an attempt continues from are superseded: they stay in the file and
    are left out by `read_metrics`.
    """

    def __init__(self, file: Path, run_id: str, from_step: int) -> None:
        self.attempt = next_attempt(file)
        self._run_id = run_id
        self._file = file
        # A kill can tear the last line; a newline first keeps it from swallowing the next row.
        torn = ends_torn(file)
        self._out = open_to_append(file)  # one write of the system a row: nothing is ever half-flushed
        if torn:
            self._out.write(b"\n")
        self.write("attempt", step=from_step)

    def write(self, event_type: str, **values: Any) -> None:
        """Append one row and hand it to the operating system, so that it survives the death of this process.

        Non-finite numbers are stored as null: the file stays JSON. Raises `FvlmError` when there is no room.
        """
        clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
        row = {"run_id": self._run_id, "attempt": self.attempt, "event_type": event_type, **clean}
        line = (json.dumps(row, allow_nan=False) + "\n").encode()
        try:
            written = self._out.write(line)
        except OSError as error:
            raise FvlmError(f"{self._file}: no row can be written: {error}") from error
        if written != len(line):
            raise FvlmError(
                f"{self._file}: a row of {len(line)} bytes found room for {written}: the disk is full"
            )

    def sync(self) -> None:
        """Make all rows durable; done before a checkpoint is, so that no checkpoint is ahead of its metrics."""
        os.fsync(self._out.fileno())

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.close()


def next_attempt(file: Path) -> int:
    """The number that the next start of a run has, counted from 1."""
    return sum(row["event_type"] == "attempt" for row in _rows(file)) + 1


def attempt_starts(file: Path) -> list[int]:
    """The step that each attempt began or continued at."""
    return [row["step"] for row in _rows(file) if row["event_type"] == "attempt"]


def deterministic(row: Row) -> Row:
    """A row without what the clock decides: equal in two runs of one recipe."""
    return {name: value for name, value in row.items() if not name.startswith(CLOCK)}


def read_metrics(file: Path, skip: str = "") -> list[Row]:
    """The rows in force, without holes or double steps: superseded rows and torn lines are left out.

    samples_seen and flops are those of the samples that the sources gave, also where an older version took them from
    the step and a batch size that had changed (the file keeps what it wrote).

    skip: an event type that is not wanted; most lines of a long run are training rows, and need not be decoded.
    Raises `UsageError`, naming the line, for one that is whole and no row.
    """
    kept: list[Row] = []
    for row in _rows(file, skip):
        if row["event_type"] == "attempt":
            kept = [old for old in kept if old["step"] <= row["step"]]
        else:
            kept.append(row)
    return _recounted(kept)


def _recounted(rows: list[Row]) -> list[Row]:
    """Rows whose samples are not those that their sources gave, put right: later samples at the price of their row."""
    samples, flops = 0, 0.0
    for row in rows:
        seen = row.get("samples_seen")
        given = sum((row.get("samples_by_source") or {}).values()) or seen
        if not seen or not given:
            continue
        if given != seen:
            row["samples_seen"] = given
            if row.get("flops"):
                row["flops"] = flops + (given - samples) * (row["flops"] / seen)
        samples, flops = given, row.get("flops") or flops
    return rows


def _rows(file: Path, skip: str = "") -> list[Row]:
    rows: list[Row] = []
    marked = f'"event_type": "{skip}"'.encode() if skip else b""
    try:
        for number, row in read_rows(file, marked):
            if wrong := misfit(row, ROW, MUST["row"]):
                raise ValueError(f"line {number}: {wrong}")
            rows.append(row)
    except ValueError as error:
        raise UsageError(f"{file}: damaged: {error}") from None
    return rows

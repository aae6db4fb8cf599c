"""How far a run is, read from its folder while another process writes it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from attrs import frozen

from fvlm_core.runs.store import CHECKPOINTS, METRICS, RECIPE, SUMMARY
from fvlm_core.utils.atomic_files import read_json

_TAIL = 32 * 1024
"""Bytes at the end of the metrics that hold the latest rows; a row has hundreds, an evaluation's thousands."""


@frozen
class Reached:
    """step: of the latest row. steps: planned; None before the run has begun. loss: the latest training loss."""

    step: int = 0
    steps: int | None = None
    loss: float | None = None


def reached(folder: Path) -> Reached:
    """How far the run in `folder` is."""
    rows = _latest(folder / METRICS)
    step = next((row["step"] for row in rows if "step" in row), 0)
    losses = (row["train_loss"] for row in rows if row["event_type"] == "train")
    loss = next((value for value in losses if value is not None), None)
    try:
        steps = read_json(folder / RECIPE)["steps"]
    except FileNotFoundError:
        steps = None
    return Reached(step, steps, loss)


def saved_step(folder: Path) -> int:
    """The step of the run's newest checkpoint; -1 when it has none."""
    names = [path.name for path in (folder / CHECKPOINTS).glob("step-*")]
    return max((int(name.removeprefix("step-")) for name in names), default=-1)


def is_complete(folder: Path) -> bool:
    """Whether the run's summary says that it trained to its last step."""
    try:
        return bool(read_json(folder / SUMMARY).get("complete"))
    except FileNotFoundError:
        return False


def _latest(file: Path) -> list[dict[str, Any]]:
    """The last rows, newest first; torn lines left out."""
    try:
        with file.open("rb") as handle:
            handle.seek(max(0, os.fstat(handle.fileno()).st_size - _TAIL))
            lines = handle.read().splitlines()
    except FileNotFoundError:
        return []
    rows: list[dict[str, Any]] = []
    for line in reversed(lines):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and "event_type" in row:  # a piece of a line may be valid JSON, too
            rows.append(row)
    return rows

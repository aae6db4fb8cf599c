"""What the folders of runs say, read once for all sections of the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from fvlm_core.runs.attempts import read_attempts
from fvlm_core.runs.metrics import Row
from fvlm_core.runs.store import ENVIRONMENT, FAILURE, StoredRun, read_part
from fvlm_core.scaling.points.points_from_runs import run_names
from fvlm_core.utils.folder_lock import is_running

State = Literal["complete", "running", "interrupted", "failed", "imported"]

MOST_POINTS = 240
"""Points of a curve that the page holds; of more, the lowest and the highest of each stretch."""

Floats = NDArray[np.float64]


@frozen(eq=False)
class Curve:
    """A loss along training. samples, step, loss: [n], finite. last: the whole row of the last one; {} for none."""

    samples: Floats
    step: Floats
    loss: Floats
    last: Row

    def thinned(self) -> tuple[Floats, Floats, Floats]:
        """samples, loss and step of at most `MOST_POINTS` points."""
        keep = thin(self.loss, MOST_POINTS)
        return self.samples[keep], self.loss[keep], self.step[keep]


@frozen(eq=False)
class Gathered:
    """A run. label: unique on the page. environment: {} when not recorded. problem: why it failed."""

    run: StoredRun
    label: str
    state: State
    problem: str
    summary: dict[str, Any]
    environment: dict[str, Any]
    attempts: list[dict[str, Any]]
    training: Curve
    validation: Curve

    @property
    def resolved(self) -> dict[str, Any]:
        """Its resolved recipe; {} of an imported run."""
        return self.run.record.get("resolved") or {}

    @property
    def hours(self) -> float | None:
        """Of training so far, over all attempts; None when not recorded."""
        seconds = [curve.last.get("wall_time_sec") for curve in (self.training, self.validation)]
        known = [float(value) / 3600 for value in seconds if value is not None]
        summed = self.summary.get("wall_time_hours")
        return max([*known, *([] if summed is None else [float(summed)])], default=None)

    @property
    def steps(self) -> tuple[int, int | None]:
        """Steps done, as far as its metrics say, and steps planned."""
        last = [int(curve.step[-1]) for curve in (self.training, self.validation) if len(curve.step)]
        done = max([*last, int(self.summary.get("total_steps") or 0)])
        return done, self.summary.get("planned_steps") or self.run.record.get("steps")


def gather_runs(runs: Sequence[StoredRun]) -> list[Gathered]:
    """Read runs. Rows without a finite loss are left out of curves."""
    names = run_names(runs)
    return [_one(run, names[run.folder]) for run in runs]


def _one(run: StoredRun, label: str) -> Gathered:
    file = run.folder / ENVIRONMENT
    state, problem = state_of(run)
    rows = run.rows()
    return Gathered(
        run,
        label,
        state,
        problem,
        run.summary,
        read_part(file) if file.exists() else {},
        read_attempts(run.folder),
        _curve([row for row in rows if row["event_type"] == "train"], "train_loss"),
        _curve([row for row in rows if row["event_type"] == "eval"], "val_loss"),
    )


def state_of(run: StoredRun) -> tuple[State, str]:
    """What a run is doing, and why it failed if it did."""
    if is_running(run.folder):
        return "running", ""
    failure = run.folder / FAILURE
    if run.state == "interrupted" and failure.exists():
        return "failed", str(read_part(failure)["message"])
    return run.state, ""  # pyright: ignore[reportReturnType]: the store's three words are among ours


def thin(values: Floats, most: int) -> NDArray[np.intp]:
    """Places of at most `most` values: the first, the last, and of each stretch the lowest and the highest."""
    if len(values) <= most:
        return np.arange(len(values))
    keep = {0, len(values) - 1}
    for part in np.array_split(np.arange(len(values)), (most - 2) // 2):
        keep |= {int(part[values[part].argmin()]), int(part[values[part].argmax()])}
    return np.array(sorted(keep))


def _curve(rows: Sequence[Row], column: str) -> Curve:
    known = [
        row
        for row in rows
        if row.get(column) is not None and row.get("samples_seen") is not None and np.isfinite(row[column])
    ]
    samples, step, loss = (
        np.array([row[name] for row in known], dtype=float) for name in ("samples_seen", "step", column)
    )
    return Curve(samples, step, loss, rows[-1] if rows else {})

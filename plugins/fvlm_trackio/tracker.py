"""A run's numbers in Trackio's local store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import trackio  # pyright: ignore[reportMissingImports]  # raises ImportError without the extra

from fvlm_core.plugin_api import GazeMaps, Prediction, TrackedRun, Tracker, numbers, prediction_table
from fvlm_trackio.config import Trackio


class TrackioRun(Tracker):
    """Every number of a row under `train/NAME` or `eval/NAME`, at the row's step, and what the model said as the
    table `predictions`, with pictures; all attempts are one run."""

    def __init__(self, config: Trackio, run: TrackedRun) -> None:
        self._run = trackio.init(
            project=config.project or run.recipe,
            name=run.id,
            config=dict(run.resolved),
            resume="allow",
            embed=False,
        )

    def log(self, row: Mapping[str, Any]) -> None:
        """Keep one row's numbers."""
        self._run.log(numbers(row), step=row["step"])

    def predicted(self, step: int, predictions: Sequence[Prediction]) -> None:
        """Keep the table; its first column has frames and gaze of the samples that show them."""
        pictures = [
            trackio.Image(GazeMaps(each.frames, each.gaze).sheet(4)) if len(each.frames) else None
            for each in predictions
        ]
        columns = {"frames": pictures, **prediction_table(predictions)}
        table = trackio.Table(
            columns=list(columns), data=[list(row) for row in zip(*columns.values(), strict=True)]
        )
        self._run.log({"predictions": table}, step=step)

    def artefact(self, file: Path) -> None:
        """Keep a file."""
        self._run.log_artifact(file, name=f"{file.stem}-{self._run.name}", type=file.stem)

    def close(self) -> None:
        """Flush."""
        self._run.finish()


def build(config: Trackio, run: TrackedRun) -> TrackioRun:
    """Open the run of one attempt."""
    return TrackioRun(config, run)

"""A run's numbers in Trackio's local store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import trackio  # pyright: ignore[reportMissingImports]  # raises ImportError without the extra

from fvlm_core.plugin_api import TrackedRun, Tracker, numbers
from fvlm_trackio.config import Trackio


class TrackioRun(Tracker):
    """Every number of a row under `train/NAME` or `eval/NAME`, at the row's step; all attempts are one run."""

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

    def close(self) -> None:
        """Flush."""
        self._run.finish()


def build(config: Trackio, run: TrackedRun) -> TrackioRun:
    """Open the run of one attempt."""
    return TrackioRun(config, run)

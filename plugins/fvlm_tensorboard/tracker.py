"""A run's numbers as TensorBoard event files."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch.utils.tensorboard import SummaryWriter  # raises ImportError without the package `tensorboard`

from fvlm_core.plugin_api import TrackedRun, Tracker, numbers, user_path
from fvlm_tensorboard.config import TensorBoard


class EventFiles(Tracker):
    """Every number of a row under `train/NAME` or `eval/NAME`, at the row's step.

    A continued run purges the steps it makes again, so that each curve has every step once.
    """

    def __init__(self, config: TensorBoard, run: TrackedRun) -> None:
        self._writer = SummaryWriter(
            str(run.folder / user_path(config.folder)),
            purge_step=run.from_step + 1 if run.from_step else None,
            flush_secs=math.ceil(config.flush_seconds),
        )

    def log(self, row: Mapping[str, Any]) -> None:
        """Write one row's numbers."""
        for name, value in numbers(row).items():
            self._writer.add_scalar(name, value, row["step"])

    def close(self) -> None:
        """Flush."""
        self._writer.close()


def build(config: TensorBoard, run: TrackedRun) -> EventFiles:
    """Open the event file of one attempt."""
    return EventFiles(config, run)

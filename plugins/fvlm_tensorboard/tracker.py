"""A run's numbers as TensorBoard event files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.tensorboard import SummaryWriter  # raises ImportError without the package `tensorboard`

from fvlm_core.plugin_api import (
    GazeMaps,
    Prediction,
    TrackedRun,
    Tracker,
    numbers,
    prediction_table,
    user_path,
)
from fvlm_tensorboard.config import TensorBoard


class EventFiles(Tracker):
    """Every number of a row under `train/NAME` or `eval/NAME`, at the row's step; what the model said as the text
    `predictions`, a table, and the frames and gaze of the samples that show them as images.

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

    def predicted(self, step: int, predictions: Sequence[Prediction]) -> None:
        """Write the table and the pictures."""
        for each in predictions:
            if len(each.frames):
                sheet = np.asarray(GazeMaps(each.frames, each.gaze).sheet(4))
                self._writer.add_image(f"predictions/{each.id}", sheet, step, dataformats="HWC")
        table = prediction_table(predictions)
        rows = [list(table), ["---"] * len(table), *zip(*table.values(), strict=True)]
        lines = ("|" + "|".join(map(_cell, row)) + "|" for row in rows)
        self._writer.add_text("predictions", "\n".join(lines), step)

    def close(self) -> None:
        """Flush."""
        self._writer.close()


def _cell(value: object) -> str:
    """As Markdown has it in a table."""
    text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
    return " ".join(text.split()).replace("|", r"\|")


def build(config: TensorBoard, run: TrackedRun) -> EventFiles:
    """Open the event file of one attempt."""
    return EventFiles(config, run)

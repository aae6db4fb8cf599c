"""A run's numbers as a run of Weights & Biases."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import wandb

from fvlm_core.plugin_api import GazeMaps, Prediction, TrackedRun, Tracker, numbers, prediction_table
from fvlm_wandb.config import WandB


class WandBRun(Tracker):
    """Every number of a row under `train/NAME` or `eval/NAME`, drawn against `step`; what the model said as the table
    `predictions` and as `pictures`; the report as an artefact and as a panel.

    All attempts of a run have one id, so that they are one run there. Its own counter of rows is not used: rows that a
    continued run makes again would be refused by it.
    """

    def __init__(self, config: WandB, run: TrackedRun) -> None:
        name = f"{run.recipe}/{run.id}"
        self._run = wandb.init(
            project=config.project or run.recipe,
            entity=config.entity or None,
            name=run.id,
            group=run.recipe,
            id=blake2b(f"{name} {run.folder.absolute()}".encode(), digest_size=8).hexdigest(),
            resume="allow",
            dir=str(run.folder),
            config=dict(run.resolved),
            mode=config.mode,
            settings=wandb.Settings(silent=True, console="off"),
        )
        self._run.define_metric("*", step_metric="step")

    def log(self, row: Mapping[str, Any]) -> None:
        """Send one row's numbers."""
        self._run.log({"step": row["step"], **numbers(row)})

    def predicted(self, step: int, predictions: Sequence[Prediction]) -> None:
        """Send the table, and frames and gaze of the samples that show them: pictures in a table would not be in the
        run's folder."""
        columns = prediction_table(predictions)
        table = wandb.Table(columns=list(columns), data=list(zip(*columns.values(), strict=True)))
        pictures = [
            wandb.Image(
                GazeMaps(each.frames, each.gaze).sheet(4),
                caption=f"{each.id}: {each.generated}\ntruth: {each.reference}",
            )
            for each in predictions
            if len(each.frames)
        ]
        self._run.log({"step": step, "predictions": table, "pictures": pictures})

    def artefact(self, file: Path) -> None:
        """Send a page."""
        name = re.sub(r"[^\w.-]", "-", f"{file.stem}-{self._run.id}", flags=re.ASCII)
        self._run.log_artifact(str(file), name=name, type=file.stem)
        self._run.log({file.stem: wandb.Html(file.read_text(encoding="utf-8"), inject=False)})

    def close(self) -> None:
        """Flush."""
        self._run.finish()


def build(config: WandB, run: TrackedRun) -> WandBRun:
    """Open the run of one attempt."""
    return WandBRun(config, run)

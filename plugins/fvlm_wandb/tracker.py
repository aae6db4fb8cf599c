"""A run's numbers as a run of Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import wandb

from fvlm_core.plugin_api import TrackedRun, Tracker, numbers
from fvlm_wandb.config import WandB


class WandBRun(Tracker):
    """Every number of a row under `train/NAME` or `eval/NAME`, drawn against `step`.

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

    def close(self) -> None:
        """Flush."""
        self._run.finish()


def build(config: WandB, run: TrackedRun) -> WandBRun:
    """Open the run of one attempt."""
    return WandBRun(config, run)

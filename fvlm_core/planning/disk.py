"""What a run's folder takes on disk: checkpoints, and metrics."""

from __future__ import annotations

from math import ceil

from attrs import frozen

from fvlm_core.planning.compute import Parameters
from fvlm_core.recipes.schema import RunRecipe

ROW = 620
"""Bytes of a row of the metrics, measured: 136 MB for 1,000 runs of 220 rows."""

SCORED = 120
"""Bytes of a validation sample's own loss."""

ANSWER = 1000
"""Bytes of a model's answer to a validation sample with its question, a paragraph each."""


@frozen
class Disk:
    """Bytes. checkpoint: of one, weights and what the optimizer keeps. checkpoints: how many there are at most, the
    one that is being written included. metrics: rows, and the losses of every validation sample and the model's answers
    at two evaluations."""

    checkpoint: float
    checkpoints: int
    metrics: float

    @property
    def total(self) -> float:
        """The most there is at any time."""
        return self.checkpoint * self.checkpoints + self.metrics


def disk_need(config: RunRecipe, parameters: Parameters, steps: int) -> Disk:
    """What a run of `steps` steps leaves behind."""
    training, evaluations = config.training, ceil(steps / config.eval.every)
    written = ceil(steps / (config.checkpoints.every or config.eval.every))
    answered = config.eval.answering.samples if config.eval.answering else 0
    rows = ceil(steps / training.log_every) + evaluations
    return Disk(
        checkpoint=4.0 * (parameters.total + training.copies[0] * parameters.trainable)
        + sum(parameters.kept.values()),
        checkpoints=min(written, config.checkpoints.keep_last + 2),  # the best, and one that is being written
        metrics=float(ROW * rows + 2 * SCORED * config.eval.samples + 2 * ANSWER * answered),
    )

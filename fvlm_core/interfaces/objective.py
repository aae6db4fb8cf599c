"""What an objective says of itself before torch is imported; what it does: `fvlm_core.training.objective.Objective`."""

from __future__ import annotations

from typing import Any

from attrs import frozen


@frozen(kw_only=True)
class ObjectiveSpec:
    """What a run with this objective needs, checked before anything is loaded."""

    pairs: bool = False
    """Whether samples and batches are pairs of answers (`Batch.rejected`)."""
    start: bool = False
    """Whether it is made of the model as the run starts, also where the run continues: a frozen reference."""
    after: tuple[str, ...] = ()
    """Runs that are to be trained before, as "recipe/id", or their folders."""
    teacher: Any = None
    """The recipe of a second model that reads every batch, forward alone (`Checkpoint.config.model`): its FLOPs and its
    memory are planned."""


@frozen(kw_only=True)
class OwnObjective:
    """Settings of the core's own objective, the loss of the supervised tokens: it has none."""

    def spec(self) -> ObjectiveSpec:
        """It needs nothing."""
        return ObjectiveSpec()

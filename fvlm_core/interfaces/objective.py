"""What an objective says of itself before torch is imported; what it does: `fvlm_core.training.objective.Objective`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from attrs import field, frozen
from attrs.validators import and_, gt, lt


@frozen(kw_only=True)
class ObjectiveSpec:
    """What a run with this objective needs, checked before anything is loaded."""

    pairs: bool = False
    """Whether samples and batches are pairs of answers (`Batch.rejected`)."""
    start: bool = False
    """Whether it is made of the model as the run starts, also where the run continues: a frozen reference."""
    after: tuple[str, ...] = ()
    """Runs that are to be trained before, as "recipe/id", or their folders."""
    reads: tuple[Path, ...] = ()
    """Files of weights that it reads: a run that continues must find them as they were."""
    teacher: Any = None
    """The recipe of a second model that reads every batch, forward alone (`Checkpoint.config.model`): its FLOPs and its
    memory are planned."""


@frozen(kw_only=True)
class OwnObjective:
    """Settings of the core's own objective, the loss of the supervised tokens: it has none."""

    def spec(self) -> ObjectiveSpec:
        """It needs nothing."""
        return ObjectiveSpec()


@frozen(kw_only=True)
class Preference:
    """Preference training on pairs of answers (DPO). beta: how closely the model is held to the one it starts as."""

    beta: float = field(default=0.1, validator=and_(gt(0), lt(math.inf)))

    def spec(self) -> ObjectiveSpec:
        """Of pairs, beside the model as the run starts."""
        return ObjectiveSpec(pairs=True, start=True)

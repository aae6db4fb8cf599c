"""Settings of distillation."""

from __future__ import annotations

import math
from pathlib import Path

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, lt

from fvlm_core.plugin_api import MissingWeights, ObjectiveSpec, model_from_resolved, open_run


@frozen(kw_only=True)
class Distillation:
    """teacher: the folder of a run ("../runs/big/360m"), or of a language model as Hugging Face has them, which reads
    the text without what it is about. weight: of the teacher's predictions in the loss; the rest is that of the labels.
    temperature: by which both models' logits are divided before they are compared; the comparison is then multiplied by
    its square.
    """

    teacher: Path
    weight: float = field(default=0.5, validator=and_(gt(0), le(1)))
    temperature: float = field(default=1.0, validator=and_(ge(0.1), lt(math.inf)))

    @property
    def is_run(self) -> bool:
        """Whether the teacher is a run."""
        return (self.teacher / "recipe.json").is_file()

    def spec(self) -> ObjectiveSpec:
        """The teacher's model, where it is a run's. Raises `MissingWeights` where it is not there."""
        if self.is_run:
            return ObjectiveSpec(
                teacher=model_from_resolved(open_run(self.teacher).record["resolved"]["model"])
            )
        if (self.teacher / "config.json").is_file():
            return ObjectiveSpec()
        raise MissingWeights(
            f"teacher = {self.teacher}: expected the folder of a run (with its recipe.json), or of a language model as "
            "Hugging Face has them (with its config.json); train that run first, or give another path"
        )

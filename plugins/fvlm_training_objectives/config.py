"""Settings of distillation."""

from __future__ import annotations

import math
from pathlib import Path

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, lt, min_len

from fvlm_core.plugin_api import (
    MissingWeights,
    ObjectiveSpec,
    UsageError,
    find_run,
    model_from_resolved,
    runs_folder,
    user_path,
)


@frozen(kw_only=True)
class Distillation:
    """teacher: a run ("recipe/id", or its folder), or the folder of a language model as Hugging Face has them, which
    reads the text without what it is about; a path that is relative to the recipe's file begins with "./" or "../".
    weight: of the teacher's predictions in the loss; the rest is that of the labels. temperature: by which both models'
    logits are divided before they are compared; the comparison is then multiplied by its square.
    """

    teacher: str = field(validator=min_len(1))
    weight: float = field(default=0.5, validator=and_(gt(0), le(1)))
    temperature: float = field(default=1.0, validator=and_(ge(0.1), lt(math.inf)))

    @property
    def folder(self) -> Path:
        """Of the teacher. Raises `MissingWeights` where it is not there."""
        folder = user_path(self.teacher)
        if (folder / "config.json").is_file():
            return folder
        try:
            return find_run(self.teacher, runs_folder()).folder
        except UsageError as error:
            raise MissingWeights(
                f'teacher = "{self.teacher}": {error}. Expected a run, or the folder of a language model as Hugging '
                "Face has them (with its config.json)"
            ) from None

    @property
    def is_run(self) -> bool:
        """Whether the teacher is a run rather than a language model."""
        return not (user_path(self.teacher) / "config.json").is_file()

    def spec(self) -> ObjectiveSpec:
        """Trained after the teacher, whose model counts and whose weights are recorded once they are there."""
        if not self.is_run:
            return ObjectiveSpec(reads=tuple(sorted(user_path(self.teacher).glob("*.safetensors"))))
        after = (self.teacher,)
        try:
            run = find_run(self.teacher, runs_folder())
            # Imports torch: only where there is a teacher to read.
            from fvlm_core.plugin_api import best_checkpoint

            weights = best_checkpoint(run) / "model.safetensors"
        except UsageError:
            return ObjectiveSpec(after=after)
        return ObjectiveSpec(
            after=after, reads=(weights,), teacher=model_from_resolved(run.record["resolved"]["model"])
        )

"""How long a run trains, and how fast each part of it learns."""

from __future__ import annotations

from attrs import frozen

from fvlm_core.errors import FvlmError
from fvlm_core.recipes.schema import LRRule, Training
from fvlm_core.training.optimiser import GROUPS
from fvlm_core.training.schedule import RateSchedule


@frozen
class Length:
    """How long a run trains, counted in optimiser steps."""

    steps: int
    warmup: int

    @classmethod
    def of(cls, training: Training, flops_per_sample: float) -> Length:
        """From steps, samples or a budget of training FLOPs; parts of a step are not trained."""
        if training.steps is not None:
            steps = training.steps
        else:
            samples = training.samples or int((training.budget or 0) / flops_per_sample)
            steps = samples // training.batch_size
        if steps < 1:
            raise FvlmError(f"less than one step of {training.batch_size} samples; raise samples or budget")
        return cls(steps, int(steps * training.warmup))


def peak_rates(training: Training, total_params: int) -> dict[str, float]:
    """The peak learning rate of each group."""
    connector = training.lr if not isinstance(training.lr, LRRule) else training.lr.rate(total_params)
    return {
        "connector": connector,
        "encoder": connector * training.lr_ratio.encoder,
        "llm": connector * training.lr_ratio.llm,
    }


def schedules(training: Training, length: Length, rates: dict[str, float]) -> dict[str, RateSchedule]:
    """The schedule of each group; a `converging` one ends where `lr_target` is, seen from the group's own peak."""
    target = training.lr_target
    ends = {group: target / rates[group] if target and rates[group] else training.floor for group in GROUPS}
    return {
        group: RateSchedule(training.schedule, length.steps, length.warmup, ends[group]) for group in GROUPS
    }

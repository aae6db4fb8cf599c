"""Warm-up, stable, decay (Hu et al. 2024, arXiv:2404.06395, section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from math import cos, pi, sqrt

from fvlm_core.plugin_api import Schedule
from fvlm_training_schedules.config import WSD

_LEFT = {
    "linear": lambda done: 1 - done,
    "cosine": lambda done: 0.5 * (1 + cos(pi * done)),
    "sqrt": lambda done: 1 - sqrt(done),
}
"""What is left of the fall, 1 to 0, when a share of its steps is done."""


def build(config: WSD, ends: Mapping[str, float]) -> Schedule:
    """The peak rate until the last steps, in which it falls to `ends`."""

    def factor(step: float, steps: int, group: str) -> float:
        falling = config.decay * steps if config.decay_steps is None else config.decay_steps
        done = (step - (steps - falling)) / falling if falling else 0.0
        left = _LEFT[config.shape](min(1.0, max(0.0, done)))
        return ends[group] + (1 - ends[group]) * left

    return factor

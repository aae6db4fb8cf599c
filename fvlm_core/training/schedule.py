"""Learning-rate schedules as factors of the peak rate."""

from __future__ import annotations

import math
from collections.abc import Mapping

from attrs import frozen

from fvlm_core.interfaces.schedule import OwnSchedule, Schedule
from fvlm_core.utils.errors import FvlmError


@frozen
class RateSchedule:
    """The factor on a group's peak rate at every update.

    Row k (0-based) is the rate of update k + 1: k / warmup while k < warmup, so the first update of a warm-up has
    rate 0; then what `after` says of the updates since.
    """

    after: Schedule
    group: str
    steps: int
    warmup: int

    def factor(self, update: float) -> float:
        """The factor of 0-based update `update`; between two of them where an accepted drift left the run there. Raises
        `FvlmError` for a schedule that gives none."""
        if update < self.warmup:
            return update / self.warmup
        found = self.after(update - self.warmup, self.steps - self.warmup, self.group)
        if not 0 <= found < math.inf:
            raise FvlmError(
                f"training.schedule: expected a finite factor, 0 or more, {update - self.warmup:g} updates after the "
                f"warm-up "
                f"for the {self.group}, got {found}"
            )
        return found


def own(kind: str, ends: Mapping[str, float]) -> Schedule:
    """The core's own: `cosine` falls to `ends` (a share of the peak) along half a cosine, `constant` stays at 1, and
    `converging` moves to `ends`, which may lie above 1. After the last update the last value holds."""

    def moving(step: float, steps: int, group: str) -> float:
        progress = min(1.0, step / max(1, steps))
        return ends[group] + (1.0 - ends[group]) * 0.5 * (1.0 + math.cos(math.pi * progress))

    return moving if kind != "constant" else lambda step, steps, group: 1.0


def build(config: OwnSchedule, ends: Mapping[str, float]) -> Schedule:
    """One of the core's own, as a component."""
    return own(config.kind, ends)

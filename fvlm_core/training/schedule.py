"""Learning-rate schedules as factors of the peak rate."""

from __future__ import annotations

import math

from attrs import frozen

from fvlm_core.recipes.schema import Schedule


@frozen
class RateSchedule:
    """The factor on a group's peak rate at every update.

    Row k (0-based) is the rate of update k + 1: k / warmup while k < warmup, so the first update of a warm-up has
    rate 0; then `cosine` falls to `end` (a share of the peak) along half a cosine, `constant` stays at 1, and
    `converging` moves to `end`, which may lie above 1. After `steps` the last value holds.
    """

    kind: Schedule
    steps: int
    warmup: int
    end: float

    def factor(self, update: float) -> float:
        """The factor of 0-based update `update`; between two of them where an accepted drift left the run there."""
        if update < self.warmup:
            return update / self.warmup
        if self.kind == "constant":
            return 1.0
        progress = min(1.0, (update - self.warmup) / max(1, self.steps - self.warmup))
        return self.end + (1.0 - self.end) * 0.5 * (1.0 + math.cos(math.pi * progress))

"""Loss spikes: a step whose loss stands out from those before it is flagged, never dropped."""

from __future__ import annotations

import math

from attrs import define, field

WINDOW = 128
"""Steps that a loss is compared with."""

ENOUGH = 16
"""Steps before anything is flagged: the first losses of a run fall too fast to say what is usual."""

SIGMAS = 6.0


@define
class SpikeWindow:
    """The last losses a supervised token, finite ones only: a single NaN would hide every spike of the next 128 steps.

    count: spikes so far.
    """

    losses: list[float] = field(factory=list[float])
    count: int = 0

    def spike(self, loss: float) -> str | None:
        """Take note of a step's loss; what to say when it is a spike: over 6 standard deviations above the mean."""
        if not math.isfinite(loss):
            return None
        text = None
        if len(self.losses) >= ENOUGH:
            mean = sum(self.losses) / len(self.losses)
            spread = math.sqrt(sum((old - mean) ** 2 for old in self.losses) / len(self.losses))
            if loss > mean + SIGMAS * spread:
                self.count += 1
                text = f"loss {loss:.4f}; the last {len(self.losses)} steps had {mean:.4f} +- {spread:.4f}"
        self.losses = [*self.losses, loss][-WINDOW:]
        return text

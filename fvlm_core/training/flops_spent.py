"""Training FLOPs as they add up over samples that need not all have cost the same."""

from __future__ import annotations

from attrs import frozen


@frozen
class Spent:
    """`flops` for the first `samples`, and `each` for every one after them: a sum that no resume rounds differently."""

    each: float
    samples: int = 0
    flops: float = 0.0

    def at(self, samples: int) -> float:
        """FLOPs of so many samples, `samples` or more."""
        return self.flops + (samples - self.samples) * self.each

    def within(self, budget: float) -> int:
        """How many samples a budget of FLOPs pays for, those that are done included."""
        return self.samples + int((budget - self.flops) / self.each)

    def continued(self, each: float, samples: int) -> Spent:
        """The same sum where a sample costs as before; else at another price from `samples` on."""
        return self if each == self.each else Spent(each, samples, self.at(samples))

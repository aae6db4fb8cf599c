"""How long a run trains, and how fast each part of it learns."""

from __future__ import annotations

from math import ceil

from attrs import frozen

from fvlm_core.model.build import build_part
from fvlm_core.recipes.learning_rate import LRRule
from fvlm_core.recipes.schema import Training
from fvlm_core.training.optimizer import GROUPS
from fvlm_core.training.schedule import RateSchedule, own
from fvlm_core.utils.errors import FvlmError


@frozen
class Spent:
    """Training FLOPs as they add up over samples that need not all have cost the same: `flops` for the first `samples`,
    and `each` for every one after them, a sum that no resume rounds differently."""

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


@frozen
class Length:
    """How long a run trains, what is done included. steps, samples: in all. asked: samples that its goal comes to.

    batch_size, last: samples of a step from here on, and of the last one. updates, warmup: of the schedule, which a
    goal of steps counts in steps (by_steps), and one of samples or FLOPs in samples: in steps of the present
    `batch_size`.
    """

    steps: int
    samples: int
    asked: int
    batch_size: int
    last: int
    updates: int
    warmup: int
    by_steps: bool

    @classmethod
    def of(cls, training: Training, spent: Spent, step: int = 0, samples: int = 0) -> Length:
        """What is left of the goal after `step` steps and `samples` samples is counted in steps of the recipe's size.

        A goal of samples is met exactly: the last step is smaller where need be. A budget is trained in whole steps and
        never exceeded. spent: FLOPs in the accounting of the budget. Raises `FvlmError` for a budget below one step.
        """
        size = training.batch_size
        if training.steps is not None:
            steps = max(training.steps, step)
            trained = asked = samples + (steps - step) * size
            updates = steps
        else:
            asked = training.samples or spent.within(training.budget or 0.0)
            left = max(0, asked - samples)
            if training.budget is not None:
                left -= left % size
            trained = samples + left
            steps, updates = step + ceil(left / size), ceil(trained / size)
        if steps < 1:
            raise FvlmError(f"the budget is less than one step of {size} samples; raise it")
        by_steps = training.steps is not None
        last = (trained - samples) % size or size
        warmup = int(updates * training.warmup) if training.warmup_steps is None else training.warmup_steps
        return cls(steps, trained, asked, size, last, updates, warmup, by_steps)

    def update(self, step: int, samples: int) -> float:
        """Where the schedule stands after so much training: its 0-based update, a whole number but under drift."""
        return step if self.by_steps else samples / self.batch_size

    @property
    def rounded(self) -> str | None:
        """What becomes of a goal that is no number of whole steps, in words that runs of one batch size share."""
        if self.samples < self.asked:
            return f"training.budget is trained in whole steps of {self.batch_size}, rounded down"
        if self.last < self.batch_size:
            return f"the last step holds the {self.last} samples that are left, not {self.batch_size}"
        return None

    def __str__(self) -> str:
        """ "11 steps, 330 samples", and of how many where a budget pays for more."""
        of = f" of the {self.asked:,} that the budget pays for" if self.samples < self.asked else ""
        return f"{self.steps:,} steps, {self.samples:,} samples{of}"


def peak_rates(training: Training, total_params: int) -> dict[str, float]:
    """The peak learning rate of each group."""
    connector = training.lr if not isinstance(training.lr, LRRule) else training.lr.rate(total_params)
    return {
        "connector": connector,
        "encoder": connector * training.lr_ratio.encoder,
        "llm": connector * training.lr_ratio.llm,
    }


def schedules(training: Training, length: Length, rates: dict[str, float]) -> dict[str, RateSchedule]:
    """The schedule of each group; it ends at `lr_target`, seen from the group's own peak, where there is one."""
    target = training.lr_target
    ends = {group: target / rates[group] if target and rates[group] else training.floor for group in GROUPS}
    chosen = training.schedule
    after = own(chosen, ends) if isinstance(chosen, str) else build_part("schedule", chosen, ends)
    return {group: RateSchedule(after, group, length.updates, length.warmup) for group in GROUPS}

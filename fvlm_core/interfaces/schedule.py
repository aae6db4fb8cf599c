"""Learning-rate schedules: pure functions of where a run stands. Imports nothing heavy."""

from __future__ import annotations

from typing import Literal, Protocol

from attrs import frozen

OwnKind = Literal["cosine", "constant", "converging"]


class Schedule(Protocol):
    """`factor(step, steps, group)`: the factor on a group's peak rate. A function, whatever its type.

    The component's target is `build(config, ends: Mapping[str, float]) -> Schedule`. ends: where each group's rate is
    to end, as a factor of its peak: `training.floor`, or `training.lr_target` seen from the group's own peak. A
    schedule that ends elsewhere by its nature (`constant`) leaves them unread.

    The warm-up (`training.warmup`) is the core's, for every schedule, and rises to the peak.
    The factor of step 0 is 1.
    """

    def __call__(self, step: float, steps: int, group: str, /) -> float:
        """The factor, 0 or more: a pure function of these three.

        step: updates since the warm-up ended, from 0; a whole number but where an accepted drift left a run between
        two. steps: updates from the end of the warm-up to that of the run, 0 or more. After the last one the last
        value holds. group: "connector", "encoder" or "llm".
        """
        ...


@frozen(kw_only=True)
class OwnSchedule:
    """Settings of the core's own schedules: which one it is. Recipes and records have them by this word alone."""

    kind: OwnKind = "cosine"

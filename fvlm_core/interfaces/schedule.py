"""Learning-rate schedules: pure functions of where a run stands. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from attrs import frozen

OwnKind = Literal["cosine", "constant", "converging"]

Schedule = Callable[[float, int, str], float]
"""`factor(step, steps, group)`: the factor on a group's peak rate, a pure function.

step: updates since the warm-up ended, from 0; a whole number but where an accepted drift left a run between two.
steps: updates from the end of the warm-up to that of the run. group: "connector", "encoder" or "llm". At step = steps
and after it the last value holds. The warm-up is the core's (`training.warmup`), for every schedule: it rises to what
the schedule gives at its step 0, which is 1.

The component's target is `build(config, ends: Mapping[str, float]) -> Schedule`. ends: where each group's rate is to
end, as a factor of its peak: `training.floor`, or `training.lr_target` seen from the group's own peak. A schedule that
ends elsewhere by its nature (`constant`) leaves them unread.
"""


@frozen(kw_only=True)
class OwnSchedule:
    """Settings of the core's own schedules: which one it is. Recipes and records have them by this word alone."""

    kind: OwnKind = "cosine"

"""What a learning-rate schedule promises; see `Schedule`."""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

from fvlm_core.interfaces.schedule import Schedule
from fvlm_core.testing.finding import Promise, expect, promises
from fvlm_core.testing.subject import ComponentUnderTest

PROMISES: list[Promise] = []
ENDS = {"connector": 0.1, "encoder": 1.5, "llm": 0.0}
"""Of which one lies above the peak, as `lr_target` may."""

STEPS = (0, 1, 2, 40, 1000)


class Curve:
    """The schedule under test."""

    def __init__(self, subject: ComponentUnderTest) -> None:
        self.component = subject.component
        self.config = subject.config
        self.target = subject.load()

    def build(self) -> Any:
        """Another one."""
        return self.target(self.config, dict(ENDS))

    @cached_property
    def factor(self) -> Any:
        """The function."""
        return self.build()

    def curve(self, steps: int, group: str, factor: Any = None) -> list[Any]:
        """The factor of each update of a run, and of the one after the last."""
        return [(factor or self.factor)(step, steps, group) for step in range(steps + 2)]


def prepare(subject: ComponentUnderTest) -> Curve:
    """The schedule under test."""
    return Curve(subject)


@promises(PROMISES, "build(config, ends) makes a function", Schedule, "The component's target is")
def _build(curve: Curve) -> None:
    expect(callable(curve.factor), f"{curve.component.target} makes a {type(curve.factor).__name__}")


@promises(PROMISES, "factors are numbers", Schedule.__call__, "The factor, 0 or more")
def _numbers(curve: Curve) -> None:
    for group in ENDS:
        for step, found in enumerate(curve.curve(40, group)):
            good = isinstance(found, float | int) and 0 <= found < math.inf
            expect(good, f"step {step} of 40, {group}: the factor is {found!r}")


@promises(PROMISES, "runs may have any length", Schedule.__call__, "steps: updates from the end")
def _lengths(curve: Curve) -> None:
    for steps in STEPS:
        for step, found in enumerate(curve.curve(steps, "llm")):
            expect(0 <= found < math.inf, f"step {step} of {steps}: the factor is {found!r}")


@promises(PROMISES, "a step may lie between two", Schedule.__call__, "step: updates since the warm-up ended")
def _between(curve: Curve) -> None:
    for step in (0.5, 3.5, 39.5):
        found = curve.factor(step, 40, "llm")
        expect(0 <= found < math.inf, f"step {step} of 40: the factor is {found!r}")


@promises(PROMISES, "it begins at the peak", Schedule, "The factor of step 0 is 1")
def _begins(curve: Curve) -> None:
    for group in ENDS:
        found = curve.factor(0, 40, group)
        expect(math.isclose(found, 1.0), f"step 0 of 40, {group}: the factor is {found:.6g}")


@promises(PROMISES, "it is a pure function", Schedule.__call__, "a pure function of these three")
def _pure(curve: Curve) -> None:
    whole = curve.curve(40, "llm")
    backwards = [curve.factor(step, 40, "llm") for step in range(41, -1, -1)]
    expect(whole == backwards[::-1], "asked from the last step to the first it gives other factors")
    expect(
        whole == curve.curve(40, "llm", curve.build()), "another one of the same settings gives other factors"
    )


@promises(PROMISES, "the last value holds", Schedule.__call__, "After the last one")
def _holds(curve: Curve) -> None:
    for group in ENDS:
        end, after, later = (curve.factor(step, 40, group) for step in (40, 41, 400))
        expect(end == after == later, f"{group}: {end:.6g} at the end, {after:.6g} and {later:.6g} after it")

"""The learning rates of a run that was not made: of a schedule by its name, or of a table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import fields_dict, frozen

from fvlm_core.interfaces.fit import LRCurve
from fvlm_core.recipes.choose import choose
from fvlm_core.recipes.located import from_plain
from fvlm_core.recipes.schema import Training
from fvlm_core.recipes.structure import Invalid
from fvlm_core.scaling.points.files import read_columns
from fvlm_core.training.schedule import RateSchedule, own
from fvlm_core.utils.errors import Problems, UsageError
from fvlm_core.utils.parse_number import parse_count

if TYPE_CHECKING:
    import pandas as pd

    from fvlm_core.scaling.points.points import Points

GROUP = "connector"
"""Whose rate points hold."""

OWN = ("cosine", "constant")
"""Schedules of the core that a name says."""

MOST = 10_000_000
"""Steps of a run."""


@frozen
class AskedRates:
    """The learning rates that a question says: of a schedule, with the steps and the peak of the run, or of a table."""

    schedule: str | None = None
    table: Path | pd.DataFrame | None = None
    steps: float | None = None
    lr: float | None = None

    @property
    def given(self) -> bool:
        """Whether it says anything."""
        return any(one is not None for one in (self.schedule, self.table, self.steps, self.lr))

    def check(self) -> None:
        """Raise `UsageError` for what makes no curve."""
        if (self.schedule is None) == (self.table is None):
            raise UsageError(
                "say the learning rates by a schedule (with its steps and lr), or by a curve: one of them"
            )
        named = self.steps is not None and self.lr is not None
        if self.schedule is not None and not named:
            raise UsageError("a schedule takes steps and lr, the steps of the run and its peak learning rate")
        if self.table is not None and (self.steps is not None or self.lr is not None):
            raise UsageError("a curve says its steps and rates: steps and lr go with a schedule")

    def curve(self, points: Points, warmup: int | None = None) -> tuple[LRCurve, str]:
        """The rates, and what they are in words.

        warmup: steps of a linear warm-up; None: as many as most of the points' runs had. Raises `UsageError`.
        """
        before = _usual_warmup(points) if warmup is None else warmup
        usual = ", as most runs of the points" if warmup is None and before else ""
        if self.table is not None:
            return table_curve(self.table, before), ""
        assert self.schedule is not None
        assert self.steps is not None
        assert self.lr is not None
        found = named_curve(self.schedule, round(self.steps), self.lr, before)
        said = (
            f"{self.schedule}: {found.rates[0]:g} to {found.rates[-1]:g}, warm-up of {before:,} steps{usual}"
        )
        return found, said


def named_curve(schedule: str, steps: int, lr: float, warmup: int) -> LRCurve:
    """The rates of a schedule with the peak `lr`, over so many steps, warm-up included.

    schedule: a name, with settings after it where they are not the defaults: "wsd", "wsd,decay=0.1,shape=sqrt". It ends
    at a tenth of the peak, as a recipe's does, or at "floor". lr: the peak rate. warmup: its steps. Raises
    `UsageError`, with the nearest name, for a schedule or a setting that there is not.
    """
    name, *settings = (part.strip() for part in schedule.split(","))
    table: dict[str, Any] = {"name": name} | dict(_setting(one) for one in settings)
    floor = table.pop("floor", FLOOR)
    if isinstance(floor, str) or not 0 <= floor <= 1:
        raise UsageError(f"--schedule: floor: expected a share of the peak, 0 to 1, got {floor}")
    if not warmup < steps <= MOST:
        raise UsageError(
            f"--steps: expected more than the {warmup:,} steps of the warm-up and at most {MOST:,}, got {steps:,}"
        )
    if name in OWN:
        if further := [key for key in table if key != "name"]:
            raise UsageError(f'--schedule: {name} has the one setting "floor", got "{further[0]}"')
        after = own(name, {GROUP: floor})
    elif name == "converging":
        raise UsageError(
            "--schedule: converging ends at a rate of the recipe, training.lr_target: say it as a --curve"
        )
    else:
        after = _built(table, {GROUP: floor})
    rates = RateSchedule(after, GROUP, steps, warmup)
    at = np.arange(warmup, steps + 1)
    return LRCurve(at.astype(float), lr * np.array([rates.factor(float(step)) for step in at]), warmup)


FLOOR = float(fields_dict(Training)["floor"].default or 0.0)
"""Where a schedule ends, as a share of the peak, unless it is said."""


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not (key and equals and value):
        raise UsageError(f'--schedule: expected NAME,KEY=VALUE,..., such as wsd,decay=0.1, got "{text}"')
    number = parse_count(value)
    if number is None:
        return key, value
    return key, int(number) if number.is_integer() and "." not in value else number


def _built(table: Mapping[str, Any], ends: Mapping[str, float]) -> Any:
    from fvlm_core.model.build import build_part

    located = from_plain(dict(table), "--schedule")
    try:
        chosen = choose(located, "schedule")
    except Invalid as invalid:
        raise Problems([located.problem(key, text) for key, text in invalid.problems]) from None
    return build_part("schedule", chosen, ends)


def _usual_warmup(points: Points) -> int:
    """The warm-up of most runs of the points."""
    known = [curve.warmup for curve in points.curves.values()]
    return max(set(known), key=known.count) if known else 0


def table_curve(source: Path | pd.DataFrame, warmup: int = 0) -> LRCurve:
    """The rates of a table with columns step and lr, in any order: a DataFrame, or a file as `fit` takes it.

    warmup: steps of a linear warm-up before its first. Raises `UsageError` or `Problems`.
    """
    name = str(source) if isinstance(source, Path) else "the DataFrame of the schedule"
    found = read_columns(source, ("step", "lr"), name)
    order = np.argsort(found["step"], kind="stable")
    steps, rates = found["step"][order], found["lr"][order]
    if not (rates > 0).any():
        raise UsageError(f"{name}: no learning rate is above 0")
    if len(steps) < 2:
        raise UsageError(f"{name}: a curve takes two rows or more, got {len(steps)}")
    if (again := np.flatnonzero(np.diff(steps) == 0)).size:
        raise UsageError(f"{name}: step {steps[again[0]]:g} is there twice: one learning rate a step")
    return LRCurve(steps, rates, min(warmup, int(steps[0])))

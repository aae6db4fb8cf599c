"""How an estimate changes from group to group: the exponent across budgets of N*, or across sizes of the best rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import asdict, frozen

from fvlm_core.interfaces import Relation
from fvlm_core.scaling.uncertainty import UNBOUNDED, Interval, quantile

if TYPE_CHECKING:
    from fvlm_core.scaling.report import Fit


@frozen
class Group:
    """One group's estimate. at: of the column that tells the groups apart."""

    name: str
    at: float
    value: float
    interval: Interval


@frozen
class FittedRelation:
    """value = scale * at^exponent through the groups' estimates; exponent None, with the reason, when they are too few.

    interval: 95 %, from the groups' own standard errors, widened where they scatter more than those explain.
    """

    relation: Relation
    groups: tuple[Group, ...]
    scale: float | None = None
    exponent: float | None = None
    interval: Interval = UNBOUNDED
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """For the record of a fit."""
        return asdict(self)

    def __str__(self) -> str:
        """In words."""
        name, against = self.relation.parameter, self.relation.against
        if self.exponent is None:
            return f"{name} across groups: {self.reason}"
        low, high = self.interval.low, self.interval.high
        text = f"{name} ~ {against}^{self.relation.exponent}, {self.relation.exponent} = {self.exponent:.3f}"
        text += (
            f" [{low:.3f}, {high:.3f}]" if low is not None and high is not None else " (interval unbounded)"
        )
        expected = self.relation.expected
        if expected is None or low is None or high is None:
            return text
        return f"{text}; {expected:g} {'lies inside' if low <= expected <= high else 'lies outside'}"


def relate(relation: Relation, fits: Sequence[Fit]) -> FittedRelation:
    """Weighted least squares of ln(value) on ln(at), through the groups that were fitted."""
    free = {slot.parameter.name for fit in fits for slot in fit.problem.slots}
    if fits and relation.parameter not in free:
        return _without(FittedRelation(relation, ()), "it is given, not fitted")
    groups: list[Group] = []
    errors: list[float] = []
    freedom = 1_000_000
    for fit in fits:
        at = next(i for i, slot in enumerate(fit.problem.slots) if slot.parameter.name == relation.parameter)
        value = float(fit.solution.values[at])
        x = float(fit.problem.table[relation.against].median())
        groups.append(Group(fit.group, x, value, fit.drawn.intervals[at]))
        drawn = fit.drawn.values[:, at]
        with np.errstate(all="ignore"):
            errors.append(
                fit.drawn.error_of(at, np.log(value), np.log(drawn)) if len(drawn) else float("nan")
            )
        freedom = min(freedom, fit.drawn.freedom or freedom)
    found = FittedRelation(relation, tuple(groups))
    x, y = np.log([group.at for group in groups]), np.log([group.value for group in groups])
    spread = np.array(errors)
    if len(groups) < 2 or np.ptp(x) == 0:
        return _without(found, f"{len(groups)} fitted; an exponent takes two or more")
    if not np.isfinite(spread).all():
        return _without(found, "a group's value has no standard error")
    weight = 1 / np.maximum(spread, 1e-9) ** 2
    middle = float((weight * x).sum() / weight.sum())
    across = float((weight * (x - middle) ** 2).sum())
    slope = float((weight * (x - middle) * y).sum() / across)
    level = float((weight * y).sum() / weight.sum()) - slope * middle
    error = across**-0.5
    if len(groups) > 2:
        scatter = float((weight * (y - level - slope * x) ** 2).sum()) / (len(groups) - 2)
        error *= max(1.0, scatter**0.5)
        freedom = len(groups) - 2 if scatter > 1 else freedom
    reach = quantile(freedom) * error
    return FittedRelation(
        relation, tuple(groups), float(np.exp(level)), slope, Interval(slope - reach, slope + reach)
    )


def _without(found: FittedRelation, reason: str) -> FittedRelation:
    return FittedRelation(found.relation, found.groups, reason=reason)

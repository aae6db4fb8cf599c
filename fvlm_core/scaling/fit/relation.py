"""How an estimate changes from group to group: the exponent across budgets of N*, or across sizes of the best rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from attrs import asdict, evolve, frozen

from fvlm_core.interfaces.fit import Derived, Relation
from fvlm_core.scaling.fit.leverage import EXACT
from fvlm_core.scaling.fit.sweeps import ALIKE
from fvlm_core.scaling.fit.uncertainty import UNBOUNDED, Interval, quantile
from fvlm_core.scaling.points.points import MEANING, size_label
from fvlm_core.scaling.predict.cost import SAME_SIZE
from fvlm_core.utils.listing import shorten

if TYPE_CHECKING:
    from fvlm_core.scaling.fit.report import FittedLaw


@frozen
class GroupEstimate:
    """One group's estimate. at: of the column that tells the groups apart."""

    name: str
    at: float
    value: float
    interval: Interval


@frozen
class FittedRelation:
    """value = scale * at^exponent through the groups' estimates; exponent None, with the reason, when they are too few.

    beside: what else changes with the groups, in words. data_exponent: of D, where the groups differ in it and it is
    told apart from `at`: `exponent` is then the one at equal D. interval: 95 %, from the groups' own standard errors,
    widened where they scatter more than those explain; where a group has none, from their scatter alone.
    scale_interval: of the scale, likewise. centre: the value of `against` at which the power is told best; level_reach:
    how far ln of the power's 95 % interval reaches there.
    """

    relation: Relation
    groups: tuple[GroupEstimate, ...]
    scale: float | None = None
    exponent: float | None = None
    interval: Interval = UNBOUNDED
    reason: str = ""
    beside: str = ""
    data_exponent: float | None = None
    scale_interval: Interval = UNBOUNDED
    centre: float | None = None
    level_reach: float | None = None

    def to_json(self) -> dict[str, Any]:
        """For the record of a fit."""
        return asdict(self, filter=lambda of, _: of.name != "derived")

    def power(self, at: Any) -> tuple[Any, Any, Any]:
        """The power at values [m] of `against`: best, low and high end of its 95 % interval, NaN where none."""
        nothing = np.full(np.shape(at), np.nan)
        if self.exponent is None or self.scale is None:
            return nothing, nothing, nothing
        best = np.log(self.scale) + self.exponent * np.log(at)
        if self.level_reach is None or self.centre is None or self.interval.high is None:
            return np.exp(best), nothing, nothing
        away = (self.interval.high - self.exponent) * np.log(at / self.centre)
        reach = np.hypot(self.level_reach, away)
        return np.exp(best), np.exp(best - reach), np.exp(best + reach)

    def __str__(self) -> str:
        """In words. Whether a rule holds is said only of an exponent that the groups could have contradicted."""
        name, against = self.relation.parameter, self.relation.against
        if self.exponent is None:
            return f"{name} across groups: {self.reason}"
        low, high = self.interval.low, self.interval.high
        text = f"{name} ~ {against}^{self.relation.exponent}, {self.relation.exponent} = {self.exponent:.3f}"
        if low is None or high is None:
            return f"{text} (no interval: {self.interval.missing})"
        text += f" [{low:.3f}, {high:.3f}]"
        ends = self.scale_interval
        if ends.low is not None and ends.high is not None:
            text += f", scale {self.scale:.3g} [{ends.low:.3g}, {ends.high:.3g}]"
        if self.data_exponent is not None:
            text += f" at equal D (D^{self.data_exponent:.3f} beside it)"
        if self.beside:
            text += f"; {self.beside}"
        if len(self.groups) < TESTED:
            return f"{text}; two groups lie on some power whatever the truth: a third would test it"
        expected = self.relation.expected
        if expected is None:
            return text
        return f"{text}; {expected:g} {'lies inside' if low <= expected <= high else 'lies outside'}"


LARGEST = 700.0
"""ln of a scale that a float can hold."""

CONFOUNDED = 0.9
"""R2 of ln D on ln N over the groups from which the two are one variable."""

NORMAL_REACH = 2.0
"""Standard errors in the reach of a 95 % interval, about."""

LITTLE = 0.1
"""The part of the spread of ln N that ln D may have for groups to count as of one D: an optimum that goes as D^q then
moves the exponent of N by a tenth of q (of .3 for the best rate in Step Law)."""

TESTED = 3
"""Groups from which a power through them could fail."""


def relate(relation: Relation, fits: Sequence[FittedLaw]) -> list[FittedRelation]:
    """The relation of the parameter, then those of what follows from it, through the groups that were fitted."""
    free = {slot.parameter.name for fit in fits for slot in fit.problem.slots}
    if fits and relation.parameter not in free:
        return [_without(FittedRelation(relation, ()), "it is given, not fitted")]
    found = [_minimum(relation, fit) for fit in fits]
    out = [_through(relation, fits, found)]
    for derived in relation.derived:
        of = [_following(derived, fit, minimum) for fit, minimum in zip(fits, found, strict=True)]
        if of and np.isfinite([one.value for one, _ in of]).all():
            named = Relation(derived.name, relation.against, derived.exponent)
            out.append(_through(named, fits, of))
    return out


_Told = tuple[GroupEstimate, float]
"""A group's estimate, and the standard error of its logarithm, NaN where it has none."""


def _minimum(relation: Relation, fit: FittedLaw) -> _Told:
    """The parameter of one group."""
    at = next(i for i, slot in enumerate(fit.problem.slots) if slot.parameter.name == relation.parameter)
    value = float(fit.solution.values[at])
    x = float(fit.problem.table[relation.against].median())
    error = float(np.hypot(_error(fit, at, value), fit.spread / NORMAL_REACH))
    return GroupEstimate(fit.group, x, value, fit.drawn.intervals[at]), error


def _following(derived: Derived, fit: FittedLaw, minimum: _Told) -> _Told:
    """A quantity of one group that follows from its parameter: its interval is that of the parameter, carried over."""
    of, error = minimum
    table = fit.problem.table
    value = float(derived.of(np.array([of.value]), table)[0])
    ends = [
        None if end is None else float(derived.of(np.array([end]), table)[0])
        for end in (of.interval.low, of.interval.high)
    ]
    falls = derived.of(of.value * np.array([0.99, 1.01]), table)
    slope = float(np.log(falls[1] / falls[0]) / np.log(1.01 / 0.99))
    low, high = ends if slope > 0 else ends[::-1]
    interval = of.interval if of.interval.missing else Interval(low, high)
    return GroupEstimate(of.name, of.at, value, interval), error * abs(slope) or np.nan


def _through(relation: Relation, fits: Sequence[FittedLaw], told: Sequence[_Told]) -> FittedRelation:
    """Least squares of ln(value) on ln(at) through the groups, weighted where all errors are known."""
    groups, errors = [one for one, _ in told], [error for _, error in told]
    freedom = min([1_000_000, *(fit.drawn.freedom or 1_000_000 for fit in fits)])
    found = FittedRelation(relation, tuple(groups))
    x, y = np.log([group.at for group in groups]), np.log([group.value for group in groups])
    if why := _untold(relation, groups, x, y):
        return _without(found, why)
    known = bool(np.isfinite(errors).all())
    weight = np.array(errors) ** -2 if known else np.ones(len(x))
    data = _data(relation, fits)
    middle = float((weight * x).sum() / weight.sum())
    alone = x - middle
    if data is not None and (together := _together(x, data, weight)):
        found, data = evolve(found, beside=together), None
    if data is not None:
        data = data - float((weight * data).sum() / weight.sum())
        alone = alone - data * float((weight * alone * data).sum() / (weight * data**2).sum())
    across = float((weight * alone**2).sum())
    slope = float((weight * alone * y).sum() / across)
    of_data = 0.0
    if data is not None:
        of_data = float((weight * data * (y - slope * x)).sum() / (weight * data**2).sum())
        found = evolve(found, data_exponent=of_data)
    level = float((weight * y).sum() / weight.sum()) - slope * middle
    if level > LARGEST:
        return _without(found, "the power is too steep to be written as scale * at^exponent")
    found = evolve(found, scale=float(np.exp(level)), exponent=slope)
    apart = y - level - slope * x - of_data * (0.0 if data is None else data)
    spare = len(groups) - 2 - (data is not None)
    widening = 1.0
    if known and spare:
        scatter = float((weight * apart**2).sum()) / spare
        widening = max(1.0, scatter**0.5)
        freedom = spare if scatter > 1 else freedom
    elif spare and np.abs(apart).max() > EXACT:
        widening = float(apart @ apart / spare) ** 0.5
        freedom = spare
    else:
        why = "a group has none, and the groups lie on the power to the last digit" if spare else _TWO
        none = Interval(None, None, why)
        return evolve(found, interval=none, scale_interval=none)
    reach = quantile(freedom) * widening * across**-0.5
    found = evolve(found, interval=Interval(slope - reach, slope + reach), centre=float(np.exp(middle)))
    if data is not None:
        return found
    # At the weighted middle the level and the exponent are independent.
    here = quantile(freedom) * widening * float(weight.sum()) ** -0.5
    away = float(np.hypot(here, reach * middle))
    ends = (level - away, level + away)
    return evolve(
        found,
        level_reach=here,
        scale_interval=Interval(float(np.exp(ends[0])), float(np.exp(min(ends[1], LARGEST)))),
    )


def _untold(relation: Relation, groups: Sequence[GroupEstimate], x: Any, y: Any) -> str:
    """Why there is no exponent; "" where there is."""
    if unknown := [group.name for group, at in zip(groups, x, strict=True) if not np.isfinite(at)]:
        return f"{MEANING[relation.against]}, is not known of {shorten(', '.join(unknown))}"
    if len(groups) < 2 or np.ptp(x) == 0:
        return f"{len(groups)} fitted; an exponent takes two or more"
    if np.ptp(x) <= SAME_SIZE:
        return f"all groups lie at one {relation.against}; an exponent takes two or more"
    return "" if np.isfinite(y).all() else "a group's value is 0"


def _data(relation: Relation, fits: Sequence[FittedLaw]) -> Any:
    """ln D of each group, of a relation of sizes whose groups differ in it; None where they do not, or it is not
    known."""
    if relation.against != "n":
        return None
    d = np.log([float(fit.problem.table["d"].median()) for fit in fits])
    return d if np.isfinite(d).all() and np.ptp(d) > ALIKE else None


def _together(x: Any, ln_d: Any, weight: Any) -> str:
    """In words, that D hardly changes, that N and D change together over the groups, or that these are too few; ""
    where the two can be told apart."""
    x, data = (one - (weight * one).sum() / weight.sum() for one in (x, ln_d))
    with_n = float((weight * x * data).sum() / (weight * x**2).sum())
    alike = with_n * float((weight * x * data).sum() / (weight * data**2).sum())
    least, most = (size_label(float(f"{np.exp(end):.4g}")) for end in (ln_d.min(), ln_d.max()))
    if np.ptp(ln_d) <= LITTLE * np.ptp(x):
        return (
            f"D is taken for one ({least} to {most}): a power D^q of it moves the exponent by {with_n:.2f} q"
        )
    if alike < CONFOUNDED:
        few = f"D differs as well ({least} to {most}) and three groups cannot tell the two apart: add a sweep"
        return few if len(x) <= TESTED else ""
    return (
        f"N and D are confounded: over these groups D goes as N^{with_n:.2g}, so that the exponent is of both. Sweeps "
        "of one size on two amounts of data would tell them apart"
    )


_TWO = "two groups lie on some power whatever the truth, and leave no residual to judge by"


def _error(fit: FittedLaw, at: int, value: float) -> float:
    """The standard error of ln(value) of slot `at`; NaN where it has none."""
    if fit.drawn.intervals[at].missing or not len(fit.drawn.values):
        return float("nan")
    with np.errstate(all="ignore"):
        error = fit.drawn.error_of(at, np.log(value), np.log(fit.drawn.values[:, at]))
    return error if error > 0 else float("nan")


def _without(found: FittedRelation, reason: str) -> FittedRelation:
    return evolve(found, reason=reason)

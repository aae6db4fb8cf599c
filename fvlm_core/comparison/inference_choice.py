"""Which of several settings to answer with, at every budget of what an answer may cost: the one of the lowest loss, by
the seeds that all of them were trained with.

A setting is seen through its seeds' losses alone. Seed k belongs together in all settings, as data in one order do, so
that a difference of two is judged by the differences of their seeds. How often a setting is the best is counted over
draws of a bootstrap with multipliers: seed k's losses move from their means by a normal weight of its own, the same in
all settings, and all weights of a draw by one factor that makes each difference of means Student's t. Resampling seeds
would be too sure: of three seeds one draw in nine is a single one of them, without any spread.

Sources: Wu (1986), Ann. Stat. 14, 1261 (multipliers); Student's t as a normal over a chi (Gosset 1908); Berger (1982),
Technometrics 24, 295: a setting is the best of all where it beats every other one at the level, without adjustment.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from attrs import evolve, frozen

from fvlm_core.comparison.statistics import Floats, StudentInterval

DRAWS = 4000


@frozen(eq=False)
class Offer:
    """A setting that may be chosen. cost: of an answer, in any unit. values: of its seeds, [K], less is better; all
    offers have the same seeds in the same order."""

    name: str
    cost: float
    values: Floats

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(self.values.mean())


@frozen
class BudgetChoice:
    """What budgets in [low, high) are best spent on; high is inf for the last. All is said of the lowest of them.

    offered: how many settings it pays for. best: of these, the one of the lowest mean. share: of the draws in which it
    is the best. second: the next one, None where there is no other. difference: by how much the second's mean is above
    the best's, with Student's interval over pairs of seeds; None of one seed. alike: the others whose difference to the
    best includes 0, cheapest first.
    """

    low: float
    high: float
    offered: int
    best: Offer
    share: float | None
    second: Offer | None
    difference: StudentInterval | None
    alike: tuple[Offer, ...]

    @property
    def told(self) -> bool:
        """Whether the best is better than every other one, beyond what seeds explain."""
        return self.second is not None and self.difference is not None and not self.alike


def choose_by_budget(offers: Sequence[Offer], draws: int = DRAWS) -> list[BudgetChoice]:
    """The best choice of each budget, cheapest budgets first; budgets that pay for more settings, but for the same best
    and the same second with the same verdict, are one. Raises `ValueError` for offers of different numbers of seeds."""
    if len({len(one.values) for one in offers}) > 1:
        raise ValueError("expected offers of the same seeds")
    ordered = sorted(offers, key=lambda one: (one.cost, one.name))
    drawn = _drawn(np.array([one.values for one in ordered]), draws) if ordered else np.zeros((0, 0))
    found: list[BudgetChoice] = []
    for number, one in enumerate(ordered, 1):
        if number < len(ordered) and ordered[number].cost == one.cost:
            continue  # both are paid for at once
        choice = _chosen(ordered[:number], drawn[:, :number])
        before = found[-1] if found else None
        if before and _answer(before) == _answer(choice):
            continue
        if before:
            found[-1] = evolve(before, high=choice.low)
        found.append(choice)
    return found


def choose_among(offers: Sequence[Offer], draws: int = DRAWS) -> BudgetChoice:
    """The best choice where the budget pays for all offers. Raises `ValueError` for none, and for offers of different
    numbers of seeds."""
    if not offers or len({len(one.values) for one in offers}) > 1:
        raise ValueError("expected offers, of the same seeds")
    ordered = sorted(offers, key=lambda one: (one.cost, one.name))
    return _chosen(ordered, _drawn(np.array([one.values for one in ordered]), draws))


def _answer(choice: BudgetChoice) -> tuple[str, str, bool]:
    return choice.best.name, choice.second.name if choice.second else "", choice.told


def _chosen(offers: Sequence[Offer], drawn: Floats) -> BudgetChoice:
    """The last offer is the dearest."""
    best, *others = sorted(offers, key=lambda one: one.mean)
    apart = {one.name: difference(one, best) for one in others}
    alike = [one for one in offers if one.name in apart and not (apart[one.name] or _NOTHING).low > 0]
    share = float((drawn.argmin(axis=1) == offers.index(best)).mean()) if len(drawn) else None
    second = others[0] if others else None
    return BudgetChoice(
        offers[-1].cost,
        math.inf,
        len(offers),
        best,
        share,
        second,
        apart[second.name] if second else None,
        tuple(alike),
    )


_NOTHING = StudentInterval(0.0, math.inf, 1.0)


def difference(one: Offer, other: Offer) -> StudentInterval | None:
    """The first's mean less the other's, seed by seed; None of one seed."""
    apart = one.values - other.values
    if len(apart) < 2:
        return None
    return StudentInterval(
        float(apart.mean()), float(apart.std(ddof=1)) / math.sqrt(len(apart)), len(apart) - 1
    )


def _drawn(values: Floats, draws: int) -> Floats:
    """Means of all settings, [draws, M] of [M, K]; none of one seed."""
    count = values.shape[1]
    if count < 2:
        return np.zeros((0, len(values)))
    generator = np.random.default_rng(0)
    weights = generator.standard_normal((draws, count))
    chi = np.sqrt(generator.chisquare(count - 1, draws) / (count - 1))
    apart = (values - values.mean(axis=1, keepdims=True)) / math.sqrt(count * (count - 1))
    return values.mean(axis=1) + (weights @ apart.T) / chi[:, None]

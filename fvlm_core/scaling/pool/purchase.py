"""Rows of a pool one after the other: those that take most from the variance over the target for their price.

V-optimal design (Fedorov 1972) of a law and its departure, averaged in the logarithm over draws of what the law may be
(Chaloner & Verdinelli 1995) and over laws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from attrs import frozen

from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.pool.outlook import Outlook, outlook
from fvlm_core.scaling.pool.study import Pool, Study, weights_of

LOOKED_AT = 400
"""Rows of the pool that a plan weighs; of a larger pool as many, drawn at random."""

MOST = 60
"""Rows that are planned at once: before more are bought, the law is fitted again."""

ENOUGH = 1e-4
"""A row that takes less than this part from the variance is not bought."""

FIRST, GROWTH, QUARTER, MOSTLY = 4, 0.5, 0.25, 0.4
"""Rows that are bought before the law is fitted again: those of a quarter of the plan's price, cheapest first; half as
many as are measured where they cost no more than 0.4 of it; at least 4 at first, then 2."""


@frozen
class Bought:
    """A row of the table that a plan buys, and the variance over the target after it, as a part of that before any."""

    row: int
    left: float


def plan(
    pool: Pool, studies: Sequence[Study], budget: float, rng: np.random.Generator, most: int = MOST
) -> list[Bought]:
    """Rows in the order of what they take from the variance for their price, as long as the budget pays for one."""
    sale = rng.permutation(np.flatnonzero(np.isfinite(pool.price) & (pool.price <= budget)))[:LOOKED_AT]
    price = pool.price[sale]
    views = [_views(pool, study, sale) for study in studies]
    weights = weights_of(studies)
    out: list[Bought] = []
    free, spent = np.ones(len(sale), bool), 0.0
    while len(out) < most and len(fit := np.flatnonzero(free & (price <= budget - spent))):
        gain = (weights @ np.stack([_gain(view, len(sale)) for view in views]))[fit]
        if gain.max() < ENOUGH:
            break
        best = int(fit[np.argmax(gain / np.maximum(price[fit], 1e-300))])
        for view in views:
            for one, where in view:
                if where[best] >= 0:
                    one.buy(int(where[best]))
        free[best], spent = False, spent + price[best]
        out.append(Bought(int(sale[best]), float(np.exp(_left(weights, views)))))
    return out


def _views(pool: Pool, study: Study, sale: Any) -> list[tuple[Outlook, Any]]:
    """Of each part, and where each row for sale is in it: -1, or its place."""
    out: list[tuple[Outlook, Any]] = []
    for at, part in enumerate(study.parts):
        inside = np.flatnonzero(np.isin(sale, part.rows))
        where = np.full(len(sale), -1)
        where[inside] = np.arange(len(inside))
        wanted = np.flatnonzero(pool.wanted[part.rows])
        out.append((outlook(study, at, np.searchsorted(part.rows, sale[inside]), wanted), where))
    return out


def _gain(view: list[tuple[Outlook, Any]], rows: int) -> Floats:
    """How much ln of the variance over the target falls with each row: [rows], the mean over draws."""
    total = np.sum([one.total for one, _ in view], axis=0)
    out = np.zeros(rows)
    for one, where in view:
        inside = np.flatnonzero(where >= 0)
        out[inside] = -np.log(np.maximum(1 - one.taken() / total[:, None], 1e-12)).mean(0)
    return out


def _left(weights: Floats, views: Sequence[list[tuple[Outlook, Any]]]) -> float:
    """ln of the variance that is left, as a part of that at first."""
    parts = [
        np.log(sum(one.total for one, _ in view) / sum(one.at_first for one, _ in view)).mean()
        for view in views
    ]
    return float(np.dot(weights, parts))


def first_of(planned: Sequence[int], price: Floats, measured: int) -> list[int]:
    """Those of a plan's rows to measure before planning again, cheapest first. measured: how many are already."""
    order = sorted(planned, key=lambda row: price[row])
    spent = np.cumsum(price[order])
    cheap, most = (int((spent <= part * spent[-1]).sum()) for part in (QUARTER, MOSTLY))
    return order[: max(FIRST if not measured else 2, cheap, min(int(GROWTH * measured), most))]


def campaign(
    pool: Pool,
    laws: Sequence[FitModel],
    budget: float,
    measure: Callable[[Sequence[int]], Floats],
    rng: np.random.Generator,
    stages: int = 6,
) -> tuple[list[int], list[Study]]:
    """Buy and measure until the budget is spent. measure: the target at rows of the table. Returns the rows bought and
    what is believed of each law then."""
    table = pool.table.copy()
    target = laws[0].target
    studies = [Study(law, pool.parts(law), rng) for law in laws]
    bought: list[int] = []
    price = pool.price.copy()
    for stage in range(stages):
        for study in studies:
            study.learn(table, bought)
        left = budget - pool.price[bought].sum()
        planned = [one.row for one in plan(Pool(table, price, pool.wanted), studies, left, rng)]
        if not planned:
            return bought, studies
        rows = planned if stage == stages - 1 else first_of(planned, price, len(bought))
        table.loc[rows, target] = measure(rows)
        bought, price[rows] = [*bought, *rows], np.inf
    for study in studies:
        study.learn(table, bought)
    return bought, studies

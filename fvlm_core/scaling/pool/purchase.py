"""Rows of a pool one after the other: those that take most from the variance over the target for their price.

V-optimal design (Fedorov 1972) of a law and its departure, averaged in the logarithm over draws of what the law may be
(Chaloner & Verdinelli 1995) and over laws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from attrs import define, field, frozen

from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.fit.objective import PLAIN, Floats
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.pool.belief import Belief, Prior, believe, broad, unmeasured
from fvlm_core.scaling.pool.discrepancy import alike, places

LOOKED_AT = 400
"""Rows of the pool that a plan weighs; of a larger pool as many, drawn at random."""

MOST = 60
"""Rows that are planned at once: before more are bought, the law is fitted again."""

DIRECTIONS = 16
"""Of the target's covariance that are followed: more hold less than a thousandth of it."""

ENOUGH = 1e-4
"""A row that takes less than this part from the variance is not bought."""

STEEP = 1e6
"""Slopes of a law are cut there, in units of its scatter: what changes so fast is unknown, however unknown."""

FIRST, GROWTH, QUARTER = 4, 0.5, 0.25
"""Rows that are bought before the law is fitted again: those of a quarter of the plan's price, cheapest first, yet at
least 4, and half as many as are measured."""


@frozen(eq=False)
class Part:
    """The rows of a law that share its parameters: all, or those of a group. rows: their places in the table, [r].
    problem: the law there. place: where they lie, [r, k]."""

    rows: Any
    problem: FitProblem
    place: Floats
    prior: Prior

    def at(self, rows: Any) -> FitProblem:
        """The law at some of its rows, by their place among them."""
        return self.problem.at(self.problem.table.iloc[rows])


@frozen(eq=False)
class Pool:
    """Rows that are measured, for sale, or to be predicted.

    table: all of them, with the columns that laws read; of the target column, what is measured, NaN elsewhere. price:
    [n], infinite for what is not for sale. wanted: bool [n], what is to be predicted.
    """

    table: pd.DataFrame
    price: Floats
    wanted: Any

    def parts(self, law: FitModel) -> list[Part]:
        """The law's fits: one, or one for each group that has rows to predict."""
        codes = np.zeros(len(self.table), int) if law.split is None else pd.factorize(self.table[law.split])[0]
        out: list[Part] = []
        for code in np.unique(codes[self.wanted]):
            rows = np.flatnonzero(codes == code)
            table = self.table.iloc[rows].reset_index(drop=True)
            table[law.target] = table[law.target].fillna(0.0)  # derivatives are of residuals, which need a number
            problem = FitProblem(law, PLAIN, table)
            where = places(table, _read(law), _labels(law), ~self.wanted[rows])
            out.append(Part(rows, problem, where, broad(problem)))
        return out


def _read(law: FitModel) -> list[str]:
    return [*law.columns, *(name for name in law.reads if name not in law.columns)]


def _labels(law: FitModel) -> list[str]:
    return [] if law.split is not None else [name for name in law.labels]


@define(eq=False)
class Study:
    """A law, and what is believed of each of its parts after the rows bought so far."""

    law: FitModel
    parts: list[Part]
    rng: np.random.Generator
    beliefs: list[Belief] = field(factory=list)
    bought: list[Any] = field(factory=list)
    """Of each part, the places among its rows of what is measured."""

    def learn(self, table: pd.DataFrame, measured: Any) -> None:
        """Take in what is measured. table: as the pool's. measured: places in it."""
        beliefs: list[Belief] = []
        self.bought = []
        for at, part in enumerate(self.parts):
            here = np.flatnonzero(np.isin(part.rows, measured))
            before = self.beliefs[at] if self.beliefs else None
            self.bought.append(here)
            part.problem.table[self.law.target] = table[self.law.target].fillna(0.0).to_numpy()[part.rows]
            if len(here):
                beliefs.append(believe(part.at(here), part.place[here], part.prior, self.rng, before))
            else:
                beliefs.append(unmeasured(part.problem, part.prior, self.rng))
        self.beliefs = beliefs

    @property
    def evidence(self) -> float:
        """ln of how well the law explains what is measured."""
        return sum(belief.evidence for belief in self.beliefs)

    def predicted(self, wanted: Any, departure: bool = True) -> tuple[Floats, Floats]:
        """The mean and the variance over draws at some rows of the table, [n] each, NaN in no part. departure: with
        what the rows near say of the law's departure."""
        mean, variance = np.full(len(wanted), np.nan), np.full(len(wanted), np.nan)
        for part, belief, here in zip(self.parts, self.beliefs, self.bought, strict=True):
            to = np.flatnonzero(np.isin(wanted, part.rows))
            at = np.searchsorted(part.rows, np.asarray(wanted)[to])
            found, within = _drawn(part, belief, here, at, departure)
            shares = np.where(np.isfinite(found).all(1), belief.shares, 0.0)[:, None]
            shares = shares / shares.sum() if shares.any() else shares
            found = np.where(shares > 0, found, 0.0)
            mean[to] = (shares * found).sum(0) if shares.any() else np.nan
            variance[to] = (shares * (found - mean[to]) ** 2).sum(0) + within
        return mean, variance


def _drawn(part: Part, belief: Belief, here: Any, at: Any, departure: bool) -> tuple[Floats, Floats]:
    """Draws of the target at rows, [S, n], and the variance of the departure there, [n]."""
    law = part.at(at)
    found = law.predict(law.values(belief.theta))
    within = np.full(len(at), belief.scatter.size**2 * belief.scatter.smooth)
    if not departure or not len(here) or not belief.scatter.smooth:
        return found, within
    known = part.at(here)
    near = belief.scatter.shared(alike(part.place[at], part.place[here]))
    covariance = belief.scatter.covariance(alike(part.place[here], part.place[here]), belief.counts)
    pull = np.linalg.solve(covariance, near.T)
    apart = known.loss - known.predict(known.values(belief.theta))
    return found + apart @ pull, within - (near * pull.T).sum(1)


@define(eq=False)
class Outlook:
    """Covariances of rows for sale with each other and with the target, given what is measured, at each draw.

    slopes: [S, P, m] in deviations of the prior. place: [m, k]. told: [S, n, m], what measured and bought rows tell of
    them (columns of a Cholesky factor). variance: [S, m]. cross: [S, m, R] with the target's main directions. total:
    [S], the variance over the target, summed. at_first: the same before any row was bought.
    """

    rows: Any
    slopes: Floats
    place: Floats
    belief: Belief
    told: Floats
    variance: Floats
    cross: Floats
    total: Floats
    at_first: Floats = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.at_first = self.total.copy()

    def taken(self) -> Floats:
        """What each row would take from the variance over the target: [S, m]."""
        return (self.cross**2).sum(2) / (self.variance + self.belief.scatter.noise)

    def buy(self, at: int) -> None:
        """Count a row as measured."""
        scatter = self.belief.scatter
        column = np.einsum("spm,sp->sm", self.slopes, self.slopes[:, :, at])
        column = column + scatter.shared(alike(self.place, self.place[[at]]))[:, 0]
        column -= np.einsum("snm,sn->sm", self.told, self.told[:, :, at])
        size = np.sqrt(self.variance[:, at] + scatter.noise)[:, None]
        column /= size
        away = self.cross[:, at] / size
        self.cross -= column[:, :, None] * away[:, None]
        self.total = np.maximum(self.total - (away**2).sum(1), 1e-12 * self.at_first)
        self.variance = np.maximum(self.variance - column**2, 0.0)
        self.told = np.concatenate([self.told, column[:, None]], axis=1)


def outlook(part: Part, belief: Belief, here: Any, for_sale: Any, wanted: Any) -> Outlook:
    """Of a part. here, for_sale, wanted: places among its rows."""
    order = np.concatenate([here, for_sale, wanted]).astype(int)
    n, m = len(here), len(for_sale)
    scatter, place = belief.scatter, part.place[order]
    sound = np.resize(np.flatnonzero(belief.shares > 0), len(belief.theta))  # as many draws in every part
    slopes = part.at(order).jacobian(belief.theta[sound]) * part.prior.sd[:, None]
    slopes = np.clip(slopes, -STEEP * scatter.size, STEEP * scatter.size)
    known, others = slopes[:, :, :n], slopes[:, :, n:]
    inner = known.transpose(0, 2, 1) @ known + scatter.covariance(alike(place[:n], place[:n]), belief.counts)
    across = known.transpose(0, 2, 1) @ others + scatter.shared(alike(place[:n], place[n:]))
    told = np.linalg.solve(np.linalg.cholesky(inner), across) if n else np.zeros((len(slopes), 0, len(order)))
    prior = (others**2).sum(1) + scatter.shared(np.ones(1))
    variance = np.maximum(prior - (told**2).sum(1), 0.0)
    target, sale = others[:, :, m:], others[:, :, :m]
    cross = sale.transpose(0, 2, 1) @ target + scatter.shared(alike(place[n : n + m], place[n + m :]))
    cross -= told[:, :, :m].transpose(0, 2, 1) @ told[:, :, m:]
    if cross.shape[2] > DIRECTIONS:
        among = target.transpose(0, 2, 1) @ target + scatter.shared(alike(place[n + m :], place[n + m :]))
        among -= told[:, :, m:].transpose(0, 2, 1) @ told[:, :, m:]
        among /= np.maximum(np.einsum("stt->s", among), 1e-300)[:, None, None]
        cross = cross @ np.linalg.eigh(among.mean(0))[1][:, -DIRECTIONS:]
    total = np.maximum(variance[:, m:].sum(1), 1e-300)
    return Outlook(for_sale, sale, place[n : n + m], belief, told[:, :, :m], variance[:, :m], cross, total)


@frozen
class Bought:
    """A row of the table that a plan buys, and the variance over the target after it, as a part of that before any."""

    row: int
    left: float


def plan(
    pool: Pool, studies: Sequence[Study], budget: float, rng: np.random.Generator, most: int = MOST
) -> list[Bought]:
    """Rows in the order of what they take from the variance for their price, as long as the budget pays for one."""
    sale = rng.permutation(np.flatnonzero((pool.price <= budget) & ~pool.wanted))[:LOOKED_AT]
    price = pool.price[sale]
    views = [_views(pool, study, sale) for study in studies]
    weights = _weights(studies)
    out: list[Bought] = []
    free, spent = np.ones(len(sale), bool), 0.0
    while len(out) < most and len(fit := np.flatnonzero(free & (price <= budget - spent))):
        gain = sum(weight * _gain(view, len(sale)) for weight, view in zip(weights, views, strict=True))[fit]
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
    for part, belief, here in zip(study.parts, study.beliefs, study.bought, strict=True):
        inside = np.flatnonzero(np.isin(sale, part.rows))
        where = np.full(len(sale), -1)
        where[inside] = np.arange(len(inside))
        wanted = np.flatnonzero(pool.wanted[part.rows])
        out.append((outlook(part, belief, here, np.searchsorted(part.rows, sale[inside]), wanted), where))
    return out


def _gain(view: list[tuple[Outlook, Any]], rows: int) -> Floats:
    """How much ln of the variance over the target falls with each row: [rows], the mean over draws."""
    total = sum(one.total for one, _ in view)
    out = np.zeros(rows)
    for one, where in view:
        inside = np.flatnonzero(where >= 0)
        out[inside] = -np.log(np.maximum(1 - one.taken() / total[:, None], 1e-12)).mean(0)
    return out


def _left(weights: Floats, views: Sequence[list[tuple[Outlook, Any]]]) -> float:
    """ln of the variance that is left, as a part of that at first."""
    parts = [
        np.log(sum(one.total for one, _ in view) / sum(one.at_first for one, _ in view)).mean() for view in views
    ]
    return float(np.dot(weights, parts))


def _weights(studies: Sequence[Study]) -> Floats:
    """How much each law counts: by how well it explains what is measured."""
    evidence = np.array([study.evidence for study in studies])
    shares = np.exp(evidence - evidence.max())
    return shares / shares.sum()


def first_of(planned: Sequence[int], price: Floats, measured: int) -> list[int]:
    """Those of a plan's rows to measure before planning again, cheapest first. measured: how many are already."""
    order = sorted(planned, key=lambda row: price[row])
    spent = np.cumsum(price[order])
    few = max(FIRST if not measured else 2, int(GROWTH * measured))
    return order[: max(few, int((spent <= QUARTER * spent[-1]).sum()))]


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

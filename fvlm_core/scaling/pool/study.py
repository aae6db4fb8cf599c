"""Laws at the rows of a pool, and what is believed of each after the rows that are measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from attrs import define, field, frozen

from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.fit.objective import PLAIN, Floats
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.points.points import NUMBERS, TEXT
from fvlm_core.scaling.pool.belief import Belief, Prior, believe, broad, unmeasured
from fvlm_core.scaling.pool.discrepancy import alike, places


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
        codes = (
            np.zeros(len(self.table), int) if law.split is None else pd.factorize(self.table[law.split])[0]
        )
        out: list[Part] = []
        for code in np.unique(codes[self.wanted]):
            rows = np.flatnonzero(codes == code)
            table = self.table.iloc[rows].reset_index(drop=True)
            table[law.target] = table[law.target].fillna(
                0.0
            )  # derivatives are of residuals, which need a number
            problem = FitProblem(law, PLAIN, with_standard(table) if law.features else table)
            where = places(table, _read(law), _labels(law), ~self.wanted[rows])
            out.append(Part(rows, problem, where, broad(problem)))
        return out


def with_standard(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with every column that features may read, unknown where they have none."""
    absent = {name: "" for name in TEXT if name not in rows}
    return rows.assign(**absent, **{name: np.nan for name in NUMBERS if name not in rows})


def read_by(laws: Sequence[FitModel]) -> list[str]:
    """The columns that tell one row from another: all that any of the laws reads, and the labels."""
    return list(dict.fromkeys(one for law in laws for one in (*law.columns, *law.labels, *law.reads)))


def _read(law: FitModel) -> list[str]:
    return [*law.columns, *(name for name in law.reads if name not in law.columns)]


def _labels(law: FitModel) -> list[str]:
    return [] if law.split is not None else list(law.labels)


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
                beliefs.append(
                    believe(
                        part.at(here), alike(part.place[here], part.place[here]), part.prior, self.rng, before
                    )
                )
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
            found, within = self._drawn(part, belief, here, at, departure)
            shares = np.where(np.isfinite(found).all(1), belief.shares, 0.0)[:, None]
            shares = shares / shares.sum() if shares.any() else shares
            found = np.where(shares > 0, found, 0.0)
            mean[to] = (shares * found).sum(0) if shares.any() else np.nan
            variance[to] = (shares * (found - mean[to]) ** 2).sum(0) + within
        return mean, variance

    def _drawn(
        self, part: Part, belief: Belief, here: Any, at: Any, departure: bool
    ) -> tuple[Floats, Floats]:
        """Draws of the target at rows, [S, n], and the variance of the departure there, [n]."""
        law = part.at(at)
        found = np.array(law.predict(law.values(belief.theta)))
        within = np.zeros(len(at))
        known = part.at(here)
        apart = (
            known.loss - known.predict(known.values(belief.theta)) if len(here) else np.zeros((len(found), 0))
        )
        near, among = alike(part.place[at], part.place[here]), alike(part.place[here], part.place[here])
        for scatter in dict.fromkeys(belief.scatters):
            of = [place for place, one in enumerate(belief.scatters) if one == scatter]
            variance = np.full(len(at), scatter.size**2 * scatter.smooth)
            if departure and len(here) and scatter.smooth:
                shared = scatter.shared(near)
                pull = np.linalg.solve(scatter.covariance(among, belief.counts), shared.T)
                found[of] += apart[of] @ pull
                variance -= (shared * pull.T).sum(1)
            within += belief.shares[of].sum() * variance
        return found, within


def weights_of(studies: Sequence[Study]) -> Floats:
    """How much each law counts: by how well it explains what is measured."""
    evidence = np.array([study.evidence for study in studies])
    shares = np.exp(evidence - evidence.max())
    return shares / shares.sum()


def predicted(studies: Sequence[Study], wanted: Any, departure: bool = True) -> tuple[Floats, Floats]:
    """The mean and the variance at rows of the table, over draws and laws: [n] each."""
    shares = weights_of(studies)[:, None]
    each = [study.predicted(wanted, departure) for study in studies]
    means, variances = (np.stack(side) for side in zip(*each, strict=True))
    mean = (shares * means).sum(0)
    return mean, (shares * (variances + (means - mean) ** 2)).sum(0)

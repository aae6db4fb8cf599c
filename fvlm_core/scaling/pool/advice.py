"""What to buy next of a pool, what it is expected to tell, and what would where nothing does."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from attrs import field, frozen

from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.pool.purchase import LOOKED_AT, MOST, Bought, first_of, plan
from fvlm_core.scaling.pool.study import Pool, Study, predicted, read_by, weights_of

HELPS = 0.8
"""A plan that leaves more of the expected error than this helps little."""


@frozen(eq=False)
class PoolAdvice:
    """laws: their names. shares: how much each counts, by what is measured. measured, offered: rows. budget, spent: in
    the unit of the costs.

    rows: what to buy, in order: run (its name, where rows have one), the columns that laws read, cost, spent (so far),
    error (expected after it), now (whether to measure it before asking again). target: what is to be predicted: the
    columns, predicted, error (its standard error). before, after: the expected error, the root of the mean variance
    over the target. target_name: what is predicted. remarks: what to know.
    """

    laws: tuple[str, ...]
    shares: Floats
    measured: int
    offered: int
    budget: float
    spent: float
    rows: pd.DataFrame
    target: pd.DataFrame
    before: float
    after: float
    target_name: str
    remarks: tuple[str, ...] = field(converter=tuple)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "laws": dict(zip(self.laws, self.shares.tolist(), strict=True)),
            "measured": self.measured,
            "offered": self.offered,
            "budget": self.budget,
            "spent": self.spent,
            "error_before": self.before,
            "error_after": self.after,
            "rows": self.rows.to_dict("records"),
            "target": self.target.to_dict("records"),
            "remarks": list(self.remarks),
        }


def advise_pool(
    pool: Pool, laws: Sequence[FitModel], budget: float, most: int = MOST, seed: int = 0
) -> PoolAdvice:
    """Which rows to buy next, at most so many. Deterministic for a seed.

    Measured rows are those of the pool whose target has a value. Before any is, the law's own bounds say what it may
    be, and the expected error is no more than a scale.
    """
    target = laws[0].target
    known = (
        np.flatnonzero(pool.table[target].notna() & ~pool.wanted)
        if target in pool.table
        else np.zeros(0, int)
    )
    studies = _studies(pool, laws, known, seed)
    wanted = np.flatnonzero(pool.wanted)
    mean, variance = predicted(studies, wanted)
    before = float(np.sqrt(variance.mean()))
    chosen = plan(pool, studies, budget, np.random.default_rng(seed), most)
    left = np.sqrt(chosen[-1].left) if chosen else 1.0
    columns = read_by(laws)
    rows = _bought(pool, chosen, [*(["run"] if "run" in pool.table else []), *columns], before, len(known))
    goal = pool.table.iloc[wanted][columns].reset_index(drop=True)
    goal = goal.assign(predicted=mean if len(known) else np.nan, error=np.sqrt(variance))
    remarks = _shortage(pool, laws, studies, budget, before, left, known, columns, seed)
    if (offered := int(np.isfinite(pool.price).sum())) > LOOKED_AT:
        remarks.append(f"of {offered:,} rows that may be bought, {LOOKED_AT} drawn at random are weighed")
    if not len(known):
        remarks.insert(
            0,
            "nothing is measured yet: the laws' bounds say what may be; measure the first rows, then ask again",
        )
    return PoolAdvice(
        tuple(law.name for law in laws),
        weights_of(studies),
        len(known),
        offered,
        budget,
        float(rows["cost"].sum()),
        rows,
        goal,
        before,
        before * float(left),
        target,
        tuple(remarks),
    )  # fmt: skip


def _studies(pool: Pool, laws: Sequence[FitModel], known: Any, seed: int) -> list[Study]:
    studies = [Study(law, pool.parts(law), np.random.default_rng([seed, at])) for at, law in enumerate(laws)]
    for study in studies:
        study.learn(pool.table, known)
    return studies


def _bought(
    pool: Pool, chosen: list[Bought], columns: list[str], before: float, measured: int
) -> pd.DataFrame:
    at = [one.row for one in chosen]
    price = pool.price[at]
    first = set(first_of(at, pool.price, measured)) if at else set()
    return (
        pool.table.iloc[at][columns]
        .reset_index(drop=True)
        .assign(
            cost=price,
            spent=np.cumsum(price),
            error=[before * one.left**0.5 for one in chosen],
            now=[row in first for row in at],
        )
    )


def _shortage(
    pool: Pool,
    laws: Sequence[FitModel],
    studies: list[Study],
    budget: float,
    before: float,
    left: float,
    known: Any,
    columns: list[str],
    seed: int,
) -> list[str]:
    """Where the plan leaves most of the error: whether the budget or the pool is short, and what would help."""
    if left <= HELPS:
        return []
    whole = plan(pool, studies, np.inf, np.random.default_rng(seed))
    all_left = np.sqrt(whole[-1].left) if whole else 1.0
    if all_left <= HELPS:
        helping = next(one for one in whole if one.left**0.5 <= HELPS)
        spent = pool.price[[one.row for one in whole[: whole.index(helping) + 1]]].sum()
        return [
            f"what {budget:g} pays for takes the expected error from {before:.3g} to {before * left:.3g} only; "
            f"{spent:.3g} would take it to {before * helping.left**0.5:.3g}"
        ]
    said = (
        "nothing in the pool helps: more of it takes the expected error from "
        f"{before:.3g} to {before * all_left:.3g} only"
    )
    other = _elsewhere(pool, laws, known, columns, seed)
    return [f"{said}; {other}" if other else said]


def _elsewhere(pool: Pool, laws: Sequence[FitModel], known: Any, columns: list[str], seed: int) -> str:
    """The row outside the pool that tells most, of those that lie in it but for one column."""
    numbers = [column for column in columns if column in laws[0].columns]
    goal = pool.table.iloc[[int(np.flatnonzero(pool.wanted)[0])]]
    near = pool.table[~pool.wanted]
    moved: list[tuple[str, float]] = []
    rows: list[pd.DataFrame] = []
    for column in numbers:
        held = np.unique(near[column])
        ends = [held[0] / 4, held[0] / 2, held[-1] * 2, held[-1] * 4, float(goal[column].iloc[0])]
        between = [float(np.sqrt(a * b)) for a, b in pairwise(held) if a > 0]
        for value in dict.fromkeys([*ends, *between]):
            if value not in held:
                for _, row in near.sample(min(len(near), 4), random_state=seed).iterrows():
                    rows.append(row.to_frame().T.assign(**{column: value}))
                    moved.append((column, value))
    if not rows:
        return ""
    measured, target = pool.table.iloc[known], pool.table[pool.wanted]
    offered = pd.concat(rows).assign(**{laws[0].target: np.nan})
    table = pd.concat([measured, offered, target], ignore_index=True).infer_objects()
    price = np.full(len(table), np.inf)
    price[len(measured) : len(measured) + len(offered)] = 1.0
    other = Pool(table, price, np.arange(len(table)) >= len(table) - len(target))
    found = plan(
        other, _studies(other, laws, np.arange(len(measured)), seed), 1.0, np.random.default_rng(seed)
    )
    if not found or found[0].left ** 0.5 > HELPS:
        return ""
    column, value = moved[found[0].row - len(measured)]
    held = near[column].nunique()
    few = f"another {column} than the pool's {held}: " if held <= 2 else ""
    return f"what would: {few}a row at {column} = {value:.4g}, which leaves {found[0].left ** 0.5:.0%} of it"

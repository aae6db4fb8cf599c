"""ScaleBench's tasks (Li et al. 2026, arXiv 2604.22753): rows of a pool bought one after the other, and a dearer target
predicted from them, by `fvlm suggest`'s planner and by what one would do without it.

    python tests/bench/scalebench.py                          # the table of docs/measurements/scalebench.md
    python tests/bench/scalebench.py --only moe -n 2          # a look
    python tests/bench/scalebench.py --planner                # the two lines of fvlm alone, a third of the time

Laws x repeats, at most 30 minutes on 2 cores. Nothing is chosen by a target's losses: they are read in `score` alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from attrs import frozen
from scalebench_laws import LAWS

from fvlm_core.plugin_api import FitModel
from fvlm_core.scaling.pool.belief import settle
from fvlm_core.scaling.pool.purchase import campaign, first_of
from fvlm_core.scaling.pool.study import Part, Pool, Study

DATA = Path(__file__).resolve().parents[3] / "shared/data/scalebench"

SHARES = (0.01, 0.05, 0.1)

REACHED = {
    "vocab": (0.97, 0.98, 0.985),
    "moe": (0.70, 0.81, 0.85),
    "data_constrained": (0.75, 0.86, 0.88),
    "farseer": (0.70, 0.89, 0.94),
}
"""What the mean R2 is to be at least, at each share."""

PRICES: dict[str, Callable[[pd.DataFrame], Any]] = {
    "vocab": lambda rows: rows["non_vocab_parameters"] * rows["num_characters"],
    "moe": lambda rows: rows["dense_parameter_count"] * rows["num_experts"],
    "data_constrained": lambda rows: 6 * rows["params"] * rows["tokens"],
    "farseer": lambda rows: 6 * rows["N"] * rows["D"],
}

HEADERS = {
    "params": "n",
    "N": "n",
    "dense_parameter_count": "n",
    "tokens": "d",
    "D": "d",
    "num_characters": "d",
    "unique_tokens": "u",
    "non_vocab_parameters": "p",
    "vocab_size": "v",
    "num_experts": "x",
    "loss_validation": "loss",
    "unigram_normalized_loss": "loss",
}

FITTED = 400
"""Rows that least squares fits at most, drawn at random from those bought."""

STARTS = 16
"""Of least squares, the first at the law's guess."""

ASSUMED = 0.05
"""Scatter that D- and V-optimal designs assume, in the target's unit: it sets what the law's bounds are worth."""


@frozen(eq=False)
class Task:
    """pool: all rows, their losses unknown, prices as parts of the pool's. loss: of all rows, [n]."""

    name: str
    pool: Pool
    loss: Any

    def score(self, predicted: Any) -> float:
        """R2 over the target rows of all groups, in [-1, 1]; -1 where there is no prediction."""
        true = self.loss[self.pool.wanted]
        if not np.isfinite(predicted).all():
            return -1.0
        return float(np.clip(1 - ((true - predicted) ** 2).sum() / ((true - true.mean()) ** 2).sum(), -1, 1))


@cache
def load(name: str) -> Task:
    """A task of the data set."""
    bought, wanted = (pd.read_parquet(DATA / f"{name}_{part}.parquet") for part in ("train", "test"))
    price = PRICES[name](bought).to_numpy(float)
    table = pd.concat([bought, wanted], ignore_index=True).rename(columns=HEADERS)
    loss = table["loss"].to_numpy(float)
    table["loss"] = np.nan
    prices = np.concatenate([price / price.sum(), np.full(len(wanted), np.inf)])
    return Task(name, Pool(table, prices, np.arange(len(table)) >= len(bought)), loss)


def least_squares(task: Task, law: FitModel, rows: Sequence[int], rng: np.random.Generator) -> Any:
    """The target by the law alone, fitted to the rows from many starts; all rows count the same."""
    wanted = np.flatnonzero(task.pool.wanted)
    out = np.full(len(wanted), np.nan)
    table = task.pool.table.assign(loss=task.loss)
    for part in Pool(table, task.pool.price, task.pool.wanted).parts(law):
        here = np.flatnonzero(np.isin(part.rows, rng.permutation(rows)[:FITTED]))
        if not len(here):
            continue
        best = _best(part, here, rng)
        to = np.flatnonzero(np.isin(wanted, part.rows))
        there = part.at(np.searchsorted(part.rows, wanted[to]))
        out[to] = there.predict(there.values(best))[0]
    return out


def _best(part: Part, here: Any, rng: np.random.Generator) -> Any:
    """The law's best parameters of several starts, [1, P], with its author's bounds as weak prior."""
    starts = np.concatenate([part.prior.mean[None], part.prior.drawn(rng, STARTS - 1)])
    problem = part.at(here)
    theta, cost = settle(problem, starts, np.eye(len(here)) / ASSUMED, part.prior, steps=60)
    return theta[[np.argmin(cost)]]


def at_random(task: Task, law: FitModel, share: float, rng: np.random.Generator) -> list[int]:
    """Rows in random order, as long as one is paid for."""
    return _afforded(task, rng.permutation(np.flatnonzero(~task.pool.wanted)), share)


def cheapest(task: Task, law: FitModel, share: float, rng: np.random.Generator) -> list[int]:
    """The cheapest rows, those of one price in random order."""
    order = rng.permutation(np.flatnonzero(~task.pool.wanted))
    return _afforded(task, order[np.argsort(task.pool.price[order], kind="stable")], share)


def _afforded(task: Task, order: Any, share: float) -> list[int]:
    bought, left = [], share
    for row in order:
        if task.pool.price[row] <= left:
            bought.append(int(row))
            left -= task.pool.price[row]
    return bought


def everything(task: Task, law: FitModel, share: float, rng: np.random.Generator) -> list[int]:
    """The whole pool."""
    return np.flatnonzero(~task.pool.wanted).tolist()


def optimal(task: Task, law: FitModel, share: float, rng: np.random.Generator, *, target: bool) -> list[int]:
    """A classical sequential design: the row that gains most for its price at the best parameters so far.

    target: V-optimal, the variance over the target; else D-optimal, ln det of the information (Fedorov 1972).
    """
    pool = task.pool
    table = pool.table.assign(loss=task.loss)
    parts = Pool(table, pool.price, pool.wanted).parts(law)
    bought: list[int] = []
    left, price = share, pool.price.copy()
    for stage in range(6):
        planned = _designed(parts, bought, price, pool.wanted, left, rng, target)
        if not planned:
            break
        rows = planned if stage == 5 else first_of(planned, price, len(bought))
        bought += rows
        left -= price[rows].sum()
        price[rows] = np.inf
    return bought


def _designed(
    parts: list[Part], bought: list[int], price: Any, wanted: Any, left: float, rng: Any, target: bool
) -> list[int]:
    """Rows in the order in which a linearised law wants them."""
    out: list[int] = []
    for part in parts:
        here = np.flatnonzero(np.isin(part.rows, bought))
        theta = _best(part, here, rng) if len(here) else part.prior.mean[None]
        slopes = np.clip(part.problem.jacobian(theta)[0].T / ASSUMED, -1e6, 1e6)
        inverse = np.linalg.inv(np.diag(1 / part.prior.sd**2) + slopes[here].T @ slopes[here])
        goal = slopes[wanted[part.rows]]
        cost, spare = price[part.rows], left / len(parts)
        while len(fit := np.flatnonzero(cost <= spare)) and len(out) < 60:
            moved = slopes[fit] @ inverse
            size = 1 + (moved * slopes[fit]).sum(1)
            gain = ((moved @ goal.T) ** 2).sum(1) / size if target else np.log(size)
            best = np.argmax(gain / cost[fit])
            inverse -= np.outer(moved[best], moved[best]) / size[best]
            spare, row = spare - cost[fit[best]], int(fit[best])
            cost[row] = np.inf
            out.append(int(part.rows[row]))
    return out


CLASSICAL: dict[str, Callable[..., list[int]]] = {
    "random": at_random,
    "cheapest": cheapest,
    "D-optimal": partial(optimal, target=False),
    "V-optimal": partial(optimal, target=True),
}


def ways(task: Task, law: FitModel, share: float, seed: int, classical: bool) -> dict[str, float]:
    """Scores of every way, of one law and repeat."""
    out: dict[str, float] = {}
    for at, (name, way) in enumerate(CLASSICAL.items() if classical else ()):
        rng = np.random.default_rng([seed, at])
        bought = way(task, law, share, rng)
        assert task.pool.price[bought].sum() <= share * (1 + 1e-9)
        out[name] = task.score(least_squares(task, law, bought, rng))
        if name == "V-optimal":
            out["V-optimal, our fit"] = task.score(_believed(task, law, bought, rng))
    bought, studies = campaign(
        task.pool, [law], share, lambda rows: task.loss[rows], np.random.default_rng([seed, 9])
    )
    assert task.pool.price[bought].sum() <= share * (1 + 1e-9)
    wanted = np.flatnonzero(task.pool.wanted)
    out["fvlm, the law alone"] = task.score(studies[0].predicted(wanted, departure=False)[0])
    out["fvlm"] = task.score(studies[0].predicted(wanted)[0])
    return out


def _believed(task: Task, law: FitModel, bought: list[int], rng: np.random.Generator) -> Any:
    """The target by the law and its departure, after rows that were chosen otherwise."""
    study = Study(law, task.pool.parts(law), rng)
    study.learn(task.pool.table.assign(loss=task.loss), bought)
    return study.predicted(np.flatnonzero(task.pool.wanted))[0]


def job(work: tuple[str, int, float, int, bool]) -> dict[str, Any]:
    """One law and repeat of a task, with a budget; a budget of 1 is everything, by least squares."""
    name, at, share, seed, classical = work
    task, law = load(name), LAWS[name][at]
    if share == 1:
        rng = np.random.default_rng([seed, at])
        scores = {"everything": task.score(least_squares(task, law, everything(task, law, 1, rng), rng))}
    else:
        scores = ways(task, law, share, seed * 100 + at, classical)
    return {"task": name, "law": law.name, "share": share, "repeat": seed, **scores}


def table(found: pd.DataFrame) -> str:
    """Mean R2 and spread over laws and repeats, of each way at each share."""
    tasks = list(dict.fromkeys(found["task"]))
    lines = [f"| share | way | {' | '.join(tasks)} |", f"|---|---|{'---:|' * len(tasks)}"]
    for share, of in found.groupby("share"):
        for name in [column for column in of.columns[4:] if of[column].notna().any()]:
            cells = [of[of["task"] == task][name] for task in tasks]
            told = [f"{one.mean():.3f} ± {one.std(ddof=0):.2f}" for one in cells]
            lines.append(f"| {share:.0%} | {name} | {' | '.join(told)} |")
    return "\n".join(lines)


def verdict(found: pd.DataFrame) -> list[str]:
    """What is short of what is to be reached."""
    out: list[str] = []
    for task, wanted in REACHED.items():
        for share, least in zip(SHARES, wanted, strict=True):
            of = found[(found["task"] == task) & (found["share"] == share)]
            if len(of) and of["fvlm"].mean() < least:
                out.append(f"{task} at {share:.0%}: {of['fvlm'].mean():.3f}, to be reached {least}")
    return out


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("-n", type=int, default=10, help="repeats")
    options.add_argument("--only", action="append", choices=list(REACHED))
    options.add_argument("--planner", action="store_true", help="fvlm's lines alone")
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--csv", type=Path, help="write every score there")
    chosen = options.parse_args()
    began = time.perf_counter()
    work = [
        (name, at, share, seed, not chosen.planner)
        for name in chosen.only or REACHED
        for seed in range(chosen.n)
        for share in (SHARES if chosen.planner else (*SHARES, 1.0))
        for at in range(len(LAWS[name]))
    ]
    with ProcessPoolExecutor(chosen.processes, mp_context=get_context("spawn")) as pool:
        found = pd.DataFrame(list(pool.map(job, work, chunksize=4)))
    if chosen.csv:
        found.to_csv(chosen.csv, index=False)
    print(table(found))
    print("\n".join(verdict(found)) or "everything reached")
    print(f"{len(work)} campaigns in {time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

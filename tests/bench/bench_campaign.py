"""Campaigns of `fvlm campaign` against truths that are known: how near the target, how honest, how cheap.

    python tests/bench/bench_campaign.py [-n 100] [--processes 2] [--within 0.02] [--write]

Each campaign has a truth of its own, drawn around published laws, of which a third are not of the form that is fitted,
and a scatter of .2 to 1 %. It is played as `fvlm campaign --simulate` plays it. The even grid has the same sizes, four
lengths that span a factor of 8 and as many seeds, and costs what the campaign spent; its prediction is that of
`fvlm fit` and `fvlm predict`, and beside it the one of the campaign's own estimate. `--write` puts the table into
docs/measurements/campaign.md, between its markers.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.scaling.campaign.belief import Question
from fvlm_core.scaling.campaign.estimate import estimate
from fvlm_core.scaling.campaign.loop import play
from fvlm_core.scaling.campaign.offers import Offer, offers
from fvlm_core.scaling.campaign.record import Journal
from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.scaling.predict.cost import Size

SEED = 20_261_201
"""Of the truths that the documentation reports; nothing was tuned on them."""

LAW = load_model("joint-chinchilla")
SIZES = tuple(np.geomspace(1e5, 3.2e6, 6))
"""Six sizes, each twice the one before."""

ENCODER, TOKENS = 2e5, 20
"""Parameters whose cost a sample has at every size, and tokens of a sample."""

LADDER = tuple(1280 * 2**at for at in range(9))
SEEDS = 3
TARGET = (6.4e6, 330_000)
"""N and D of the target: twice the largest size."""

SHARE = 2.0
"""The target's compute, in budgets: eight of the dearest run that may be bought."""


@frozen
class Law:
    """A truth. bent: the power that the sum of both terms is raised to, which the fitted law does not know."""

    floor: float
    a: float
    b: float
    alpha: float
    beta: float
    bent: float
    noise: float

    def __call__(self, n: Any, d: Any) -> Any:
        """The loss, of losses in nats; a at N = 500k, b at D = 20k."""
        return (
            self.floor + (self.a * (n / 5e5) ** -self.alpha + self.b * (d / 2e4) ** -self.beta) ** self.bent
        )


def truth(rng: np.random.Generator) -> Law:
    """Exponents of .25 to .55 (Hoffmann 2022, Besiroglu 2024, Gadre 2024: .28 to .53), E of .4 to 2 nats, terms of .3
    to 1.2 and .4 to 1.5; a third of the laws bend by 3 % to either side; noise .2 to 1 %."""
    alpha, beta = rng.uniform(0.25, 0.55, 2)
    bent = float(rng.choice([1.0, 1.0, 1.0, 1.0, 0.97, 1.03]))
    return Law(
        rng.uniform(0.4, 2.0), rng.uniform(0.3, 1.2), rng.uniform(0.4, 1.5), alpha, beta, bent, rng.uniform(0.002, 0.01)
    )  # fmt: skip


def cost(n: float) -> float:
    """FLOPs of a sample."""
    return 6 * (n + ENCODER) * TOKENS


def even_grid(law: Law, spent: float, seeds: int, rng: np.random.Generator) -> tuple[float, float]:
    """The target's loss as the even grid predicts it by the law's fit, and by the estimate that the campaign makes; NaN
    where the law is refused."""
    shape = np.geomspace(1.0, 8.0, 4)
    first = spent / seeds / sum(cost(n) * each for n in SIZES for each in shape)
    rows = [
        (Offer(f"{n:.3g}-{each:.1f}-{seed}", f"{n:.3g}", float(n), round(first * each), seed, cost(n)),
         float(law(n, round(first * each)) * np.exp(law.noise * rng.standard_normal())))
        for n in SIZES for each in shape for seed in range(seeds)
    ]  # fmt: skip
    question = Question(LAW, *TARGET, budget=spent, within=0.01, offers=tuple(run for run, _ in rows))
    found = estimate(question, rows, spent)
    return found.fit_loss or np.nan, found.loss or np.nan


def campaign(seed: int, within: float) -> dict[str, Any]:
    """One campaign, and what an even grid makes of the same FLOPs."""
    rng = np.random.default_rng([SEED, seed])
    law = truth(rng)
    budget = cost(TARGET[0]) * TARGET[1] / SHARE
    sizes = [Size(f"{n:.3g}", float(n), cost(n)) for n in SIZES]
    question = Question(
        LAW, *TARGET, budget=budget, within=within, offers=tuple(offers(sizes, LADDER, SEEDS, budget))
    )
    journal = Journal()
    verdict = play(
        question,
        journal,
        lambda one: {
            run.run: float(law(run.n, run.d) * np.exp(law.noise * rng.standard_normal())) for run in one.runs
        },
        lambda _: None,
    )
    found = journal.finding
    assert found is not None
    right = float(law(*TARGET))
    measured = right * float(np.exp(law.noise * rng.standard_normal()))
    grids = [
        even_grid(law, journal.spent, count, np.random.default_rng([SEED, seed, 1])) for count in (SEEDS, 1)
    ]
    low, high = found.low or 0.0, found.high or 0.0
    return {
        "seed": seed, "bent": law.bent, "noise": law.noise, "outcome": verdict.outcome, "rounds": len(journal.rounds),
        "runs": found.runs, "spent": journal.spent / budget,
        "dearest": max(run.flops for run, _ in journal.measured) / budget,
        "error": abs(np.log(found.loss / right)) if found.loss is not None else np.nan,
        "half": found.half_width if found.half_width else np.nan,
        "fit_error": abs(np.log(found.fit_loss / right)) if found.fit_loss is not None else np.nan,
        "inside": float(low <= measured <= high) if found.half_width else np.nan,
        **{f"grid{count}{kind}": abs(np.log(value / right))
           for count, both in zip((SEEDS, 1), grids, strict=True)
           for kind, value in zip(("", " believed"), both, strict=True)},
    }  # fmt: skip


GRIDS = {
    "even grid, 3 seeds": "grid3",
    "the same, estimated as the campaign": "grid3 believed",
    "even grid, 1 seed": "grid1",
    "the same, estimated as the campaign ": "grid1 believed",
}
"""Columns of the table."""


def lines(found: pd.DataFrame, within: float) -> list[str]:
    """The table."""
    parts = {
        "all": found,
        "of the law's form": found[found["bent"] == 1],
        "bent": found[found["bent"] != 1],
    }
    head = ["", *(f"{name} ({len(part)})" for name, part in parts.items())]
    rows: list[list[str]] = [["median error of the campaign"], ["its law alone, by `fvlm predict`"]]
    rows += [[name.strip()] for name in GRIDS]
    rows += [["mean error of the campaign"], ["mean error of the even grid, 3 seeds, and 1"]]
    rows += [
        ["interval holds a run of the target"],
        ["half-width of it, median"],
        ["spent, median"],
        ["runs, median"],
    ]
    for part in parts.values():
        ours = part["error"].median()
        cells = [f"{ours:.2%}", f"{part['fit_error'].median():.2%}"]
        for column in GRIDS.values():
            middle = part[column].median()
            cells.append(f"{middle:.2%} (campaign {ours / middle - 1:+.0%})")
        cells += [f"{part['error'].mean():.2%}", f"{part['grid3'].mean():.2%}, {part['grid1'].mean():.2%}"]
        cells += [f"{part['inside'].mean():.0%}", f"{part['half'].median():.2%}"]
        cells += [f"{part['spent'].median():.0%}", f"{part['runs'].median():.0f}"]
        for row, cell in zip(rows, cells, strict=True):
            row.append(cell)
    ends = ", ".join(f"{name} {count}" for name, count in found["outcome"].value_counts().items())
    return [
        f"{len(found)} campaigns, `--within {within:.0%}`. Errors are |ln L - ln L_true| at the target.",
        "",
        "| " + " | ".join(head) + " |",
        "|---|" + "--:|" * len(parts),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
        f"Ended: {ends}. Rounds: {found['rounds'].median():.0f} (median). The dearest run took "
        f"{found['dearest'].median():.0%} of the budget (median). Without a prediction, campaign and even grid of 3 "
        f"seeds: {found['error'].isna().sum()} and {found['grid3'].isna().sum()}.",
    ]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-n", type=int, default=100)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--within", type=float, default=0.03)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--csv", type=Path)
    asked = parser.parse_args()
    seeds = range(asked.first, asked.first + asked.n)
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(asked.processes) as pool:
        for row in pool.map(partial(campaign, within=asked.within), seeds):
            rows.append(row)
            if asked.csv:
                pd.DataFrame(rows).to_csv(asked.csv, index=False)
            print(".", end="", file=sys.stderr, flush=True)
    table = lines(pd.DataFrame(rows), asked.within)
    print("\n".join(table))
    if asked.write:
        file = Path(__file__).parents[2] / "docs/measurements/campaign.md"
        head, _, rest = file.read_text().partition("<!-- table -->\n")
        tail = rest.partition("<!-- end -->\n")[2]
        file.write_text(f"{head}<!-- table -->\n" + "\n".join(table) + f"\n<!-- end -->\n{tail}")


if __name__ == "__main__":
    main()

"""`recipes/laptop_law.toml` three times, and the same FLOPs spent on even grids, on real runs that were made once.

    python tests/bench/bench_laptop.py train RUNS    # all runs that may be bought, nine of each, and the target
    python tests/bench/bench_laptop.py keep RUNS     # their losses, to docs/measurements/laptop_law
    python tests/bench/bench_laptop.py [--write]     # play it; the table of docs/measurements/laptop_law.md

Each repetition has three seeds of its own. A campaign decides as `fvlm campaign` does and is given the losses of the
runs that it buys; runs 0 to 2 of each size and length are those that `fvlm campaign laptop_law` trains, to the bit. An
even grid is every size on every length, once or twice, or on the three shorter lengths, twice.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from attrs import evolve

import fvlm
from fvlm_core.api.campaigning import Prepared, prepare_campaign
from fvlm_core.execution.campaign import seed_of
from fvlm_core.recipes.read import read_recipe
from fvlm_core.scaling.campaign.belief import Question
from fvlm_core.scaling.campaign.estimate import estimate
from fvlm_core.scaling.campaign.loop import play
from fvlm_core.scaling.campaign.offers import Offer
from fvlm_core.scaling.campaign.record import Finding, Journal

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "measurements" / "laptop_law"
PAGE = KEPT.with_suffix(".md")
TABLE = "<!-- made by tests/bench/bench_laptop.py -->"
REPETITIONS = 3
BUDGETS = (4.1e11, 6.1e11, 8.2e11)
"""FLOPs: a third, a half and two thirds of what all runs for sale of a repetition take."""

TARGETS = 3
"""Seeds of the target."""


def prepared(repetitions: int = 1) -> Prepared:
    """The recipe's campaign, with so many times its seeds for sale."""
    recipe = read_recipe("laptop_law")
    settings = recipe.runs[0].config.campaign
    assert settings is not None
    return prepare_campaign(recipe, evolve(settings, seeds=repetitions * settings.seeds), None)


def train(root: Path) -> None:
    """Every run for sale, and the target."""
    found = prepared(REPETITIONS)
    lines = [f'extends = "{ROOT / "recipes" / "laptop_law.toml"}"\nname = "pool"\nslots = 2\n']
    lines += [
        f'[[runs]]\nid = "target-{seed}"\ntraining.seed = {seed}\n' + _keys(found, "64", 65_536)
        for seed in range(TARGETS)
    ]
    for one in reversed(found.question.offers):
        seed = seed_of(found.runs[one.size], one)
        lines.append(f'[[runs]]\nid = "{one.run}"\ntraining.seed = {seed}\n' + _keys(found, one.size, one.d))
    root.mkdir(parents=True, exist_ok=True)
    (root / "pool.toml").write_text("\n".join(lines))
    subprocess.run(
        [sys.executable, "-m", "fvlm_core", "run", str(root / "pool.toml"), "--runs", str(root)], check=True
    )


def _keys(found: Prepared, size: str, samples: int) -> str:
    own = {run.id: run for run in read_recipe("laptop_law").runs}[size].config
    width = own.model.llm.config.width
    return (
        f"model.encoder.width = {width}\nmodel.connector.query_dim = {width}\nmodel.llm.width = {width}\n"
        f"model.llm.mlp = {3 * width}\ntraining.lr = {own.training.lr}\ntraining.samples = {samples}\n"
    )


def keep(root: Path) -> None:
    """The loss of every run, which is evaluated at its end alone."""
    runs = fvlm.runs("recipe = pool", root=root).query("state == 'complete'")
    KEPT.mkdir(exist_ok=True)
    table = runs[["id", "best_loss"]].set_axis(["run", "loss"], axis=1).sort_values("run")
    table.to_csv(KEPT / "pool.csv", index=False)


def played(question: Question, pool: dict[str, float], repetition: int) -> tuple[Journal, str]:
    """One campaign on its own seeds of the pool."""
    journal = Journal()
    verdict = play(
        question,
        journal,
        lambda wanted: {run.run: pool[_of(run, repetition)] for run in wanted.runs},
        lambda _: None,
    )
    return journal, verdict.outcome


def _of(run: Offer, repetition: int) -> str:
    return f"{run.size}-{run.d}-{run.repeat + 3 * repetition}"


def even(
    question: Question, pool: dict[str, float], repetition: int, lengths: int, seeds: int, first: int
) -> Finding:
    """What the same estimate makes of an even grid."""
    ladder = sorted({run.d for run in question.offers})[:lengths]
    chosen = [run for run in question.offers if run.d in ladder and first <= run.repeat < first + seeds]
    rows = [(run, pool[_of(run, repetition)]) for run in chosen]
    return estimate(question, rows, sum(run.flops for run in chosen))


def main(write: bool) -> None:
    pool: dict[str, float] = pd.read_csv(KEPT / "pool.csv").set_index("run")["loss"].to_dict()
    question = prepared().question
    targets = np.array([pool[f"target-{seed}"] for seed in range(TARGETS)])
    right = float(targets.mean())
    rows: list[dict[str, Any]] = []

    def add(name: str, found: Finding, runs: int, more: str = "") -> None:
        """A row of the table."""
        low, high = found.low or np.nan, found.high or np.nan
        held = sum(low <= one <= high for one in targets)
        fit = found.fit_loss
        rows.append(
            {
                "": name, "runs": runs, "spent": f"{found.spent:.2g}" + (f" of {question.budget:.2g}" if more else ""),
                "foreseen": f"{found.loss:.3f} [{low:.3f}, {high:.3f}]" if found.loss else "-",
                "error": f"{found.loss / right - 1:+.2%}" if found.loss else "-",
                "targets inside": f"{held} of {TARGETS}",
                "the law's fit alone": f"{fit / right - 1:+.2%}" if fit else "refused", "ended": more,
            }
        )  # fmt: skip

    for budget in BUDGETS:
        question = evolve(question, budget=budget)
        for repetition in range(REPETITIONS):
            journal, outcome = played(question, pool, repetition)
            assert journal.finding is not None
            add(f"campaign {repetition + 1}", journal.finding, len(journal.measured), outcome)
    for lengths, seeds in ((4, 1), (3, 2), (4, 2)):
        for repetition in range(REPETITIONS):
            found = even(question, pool, repetition, lengths, seeds, 0)
            name = f"even grid {repetition + 1}, 5 sizes x {lengths} lengths x {seeds}"
            add(name, found, 5 * lengths * seeds)
    table = pd.DataFrame(rows)
    lines = ["| " + " | ".join(table.columns) + " |", "|---" * len(table.columns) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    lines += [
        "",
        f"The target, three seeds: {', '.join(f'{one:.4f}' for one in targets)}; their mean {right:.4f}.",
    ]
    print("\n".join(lines))
    if write:
        before, _, rest = PAGE.read_text().partition(TABLE)
        _, _, after = rest.partition(TABLE)
        PAGE.write_text(f"{before}{TABLE}\n\n" + "\n".join(lines) + f"\n\n{TABLE}{after}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", nargs="?", choices=("train", "keep"))
    parser.add_argument("runs", nargs="?", type=Path)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    if given.what:
        {"train": train, "keep": keep}[given.what](given.runs)
    else:
        main(given.write)

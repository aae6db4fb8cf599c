"""Do 95 % intervals hold the truth 95 % of the time, and how often is a sound campaign refused?

    python tests/bench/bench_coverage.py [--repetitions 500] [--draws 200] [--processes 2] [--write]

Campaigns with a known truth (L = 1.7 + 480/N^.35 + 2100/D^.37), fitted as `fvlm fit --model joint-chinchilla` does,
gate included. `--write` puts the table into docs/measurements/coverage.md, between its markers.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.points.points import tidy

TRUTH = {"E": 1.7, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
FAR = (2e10, 4e11)
"""N and D of the prediction: four times the largest of every campaign."""

SCENARIOS: dict[str, dict[str, Any]] = {
    "many runs": {"sizes": 6, "data": 10, "noise": 0.005},
    "few runs": {"sizes": 4, "data": 3, "noise": 0.003},
    "autocorrelated checkpoints": {"sizes": 6, "data": 2, "points": 20, "noise": 0.005, "lag1": 0.8},
    "outliers": {"sizes": 6, "data": 10, "noise": 0.005, "outliers": 0.05},
    "run-level shift": {"sizes": 5, "data": 2, "seeds": 2, "points": 15, "noise": 0.003, "shift": 0.005},
}
"""sizes: of models, 5e7 to 5e9 parameters. data: amounts of data, 1e9 (4e9 with checkpoints) to 1e11 tokens. seeds:
runs of each. points: evaluations of a run, evenly spaced. noise, lag1: standard deviation in ln L and autocorrelation.
outliers: share of points that are 3 to 15 % too high. shift: standard deviation of a whole run in ln L."""


def law(n: Any, d: Any) -> Any:
    """The truth."""
    return TRUTH["E"] + TRUTH["A"] / n ** TRUTH["alpha"] + TRUTH["B"] / d ** TRUTH["beta"]


def campaign(scenario: dict[str, Any], seed: int) -> pd.DataFrame:
    """Measured points of one simulated campaign."""
    rng = np.random.default_rng([seed, 2])  # the weights' spread was chosen on other campaigns
    points = scenario.get("points", 1)
    lag1, noise = scenario.get("lag1", 0.0), scenario["noise"]
    rows: list[pd.DataFrame] = []
    for n in np.geomspace(5e7, 5e9, scenario["sizes"]):
        for end in np.geomspace(1e9 if points == 1 else 4e9, 1e11, scenario["data"]):
            for copy in range(scenario.get("seeds", 1)):
                d = end * np.arange(1, points + 1) / points
                off = np.zeros(points)
                for at in range(points):
                    fresh = rng.standard_normal()
                    off[at] = fresh if at == 0 else lag1 * off[at - 1] + np.sqrt(1 - lag1**2) * fresh
                off *= noise
                off += scenario.get("shift", 0.0) * rng.standard_normal()
                high = rng.random(points) < scenario.get("outliers", 0.0)
                off = np.where(high, off + rng.uniform(0.03, 0.15, points), off)
                run = f"{n:.3g}-{end:.3g}-{copy}"
                rows.append(pd.DataFrame({"run": run, "n": n, "d": d, "loss": law(n, d) * np.exp(off)}))
    return pd.concat(rows, ignore_index=True)


def once(name: str, draws: int, seed: int) -> dict[str, Any]:
    """One campaign fitted: its status, and whether each interval holds the truth."""
    report = fit_points(
        tidy(campaign(SCENARIOS[name], seed), name), load_model("joint-chinchilla"), draws=draws
    )
    codes = [reason.split(":")[0][:60] for reason in report.reasons]
    if report.status != "ok":
        return {"status": report.status, "reasons": codes}
    (fit,) = report.fits
    held = {
        found.name: (found.interval.low or -np.inf) <= TRUTH[found.name] <= (found.interval.high or np.inf)
        for found in fit.estimates
    }
    _, low, high = fit.predict(pd.DataFrame({"n": [FAR[0]], "d": [FAR[1]], "size": ["far"], "run": [""]}))
    held["prediction"] = bool(low[0] <= law(*FAR) <= high[0])
    return {"status": "ok", "held": held}


def study(name: str, repetitions: int, draws: int, pool: Any) -> tuple[list[str], Counter[str]]:
    """A row of the table, and why campaigns were refused."""
    outcomes = list(pool.map(partial(once, name, draws), range(repetitions), chunksize=10))
    accepted = [outcome["held"] for outcome in outcomes if outcome["status"] == "ok"]
    reasons = Counter(reason for outcome in outcomes for reason in set(outcome.get("reasons", ())))
    coverage = [f"{100 * np.mean([held[key] for held in accepted]):.1f}" for key in (*TRUTH, "prediction")]
    refused = 100 * (1 - len(accepted) / repetitions)
    one = campaign(SCENARIOS[name], 0)
    return [name, str(one["run"].nunique()), str(len(one)), f"{refused:.1f}", *coverage], reasons


def main() -> None:
    """Print the table; write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=500)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", action="append", choices=list(SCENARIOS))
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    header = ["campaign", "runs", "points", "refused %", *(f"{name} %" for name in TRUTH), "prediction %"]
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    print("\n".join(lines), flush=True)
    with ProcessPoolExecutor(chosen.processes) as pool:
        for name in chosen.only or SCENARIOS:
            row, reasons = study(name, chosen.repetitions, chosen.draws, pool)
            lines.append(f"| {' | '.join(row)} |")
            print(lines[-1], flush=True)
            for reason, count in reasons.most_common(5):
                print(f"  refused {count}: {reason}", file=sys.stderr, flush=True)
    if chosen.write:
        page = Path(__file__).parents[2] / "docs" / "measurements" / "coverage.md"
        start, end = "<!-- table -->\n", "<!-- end -->"
        text = page.read_text()
        before, rest = text.split(start)
        page.write_text(before + start + "\n".join(lines) + "\n" + end + rest.split(end)[1])


if __name__ == "__main__":
    main()

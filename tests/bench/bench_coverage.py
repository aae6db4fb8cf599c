"""Do 95 % intervals hold the truth 95 % of the time, and how often is a sound campaign refused?

    python tests/bench/bench_coverage.py [--repetitions 500] [--draws 200] [--processes 2] [--write]

Campaigns with a known truth (L = 1.7 + 480/N^.35 + 2100/D^.37), fitted as `fvlm fit --model joint-chinchilla` does,
gate included; and of laws that read more, have parameters of groups, weigh their points, or are wrong. `--write` puts
the
table into docs/measurements/coverage.md, between its markers.
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
from attrs import evolve

from fvlm_core.interfaces.fit import FitModel, Parameter
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.points.points import tidy
from fvlm_core.scaling.predict.prediction import Predictor

TRUTH = {"E": 1.7, "A": 480.0, "B": 2100.0, "alpha": 0.35, "beta": 0.37}
FAR = (2e10, 4e11)
"""N and D of the prediction: four times the largest of every campaign."""

SCENARIOS: dict[str, dict[str, Any]] = {
    "many runs": {"sizes": 6, "data": 10, "noise": 0.005},
    "few runs": {"sizes": 4, "data": 3, "noise": 0.003},
    "autocorrelated checkpoints": {"sizes": 6, "data": 2, "points": 20, "noise": 0.005, "lag1": 0.8},
    "outliers": {"sizes": 6, "data": 10, "noise": 0.005, "outliers": 0.05},
    "run-level shift": {"sizes": 5, "data": 2, "seeds": 2, "points": 15, "noise": 0.003, "shift": 0.005},
    "three variables": {"sizes": 5, "data": 4, "noise": 0.004, "tokens": (1, 8, 64)},
    "two groups": {"sizes": 5, "data": 6, "noise": 0.004, "domains": {"code": 1.1, "web": 1.7}},
    "standard errors": {"sizes": 6, "data": 8, "noise": 0.002, "apart": 8.0},
    "a law that is wrong": {"sizes": 6, "data": 6, "noise": 0.003, "bent": 0.9},
}
"""sizes: of models, 5e7 to 5e9 parameters. data: amounts of data, 1e9 (4e9 with checkpoints) to 1e11 tokens. seeds:
runs of each. points: evaluations of a run, evenly spaced. noise, lag1: standard deviation in ln L and autocorrelation.
outliers: share of points that are 3 to 15 % too high. shift: standard deviation of a whole run in ln L. tokens: values
of a third variable V, whose term is 0.4/V^.5. domains: floors of two groups that share all else. apart: by how much the
noise of points differs, each with its standard error. bent: the power that the sum of both terms is raised to, which
the
law does not know."""

V_TERM = {"C": 0.4, "gamma": 0.5}


def with_tokens(
    n: Any, d: Any, V: Any, *, E: Any, A: Any, B: Any, C: Any, alpha: Any, beta: Any, gamma: Any
) -> Any:
    """L = E + A/N^alpha + B/D^beta + C/V^gamma"""
    return E + A / n**alpha + B / d**beta + C / V**gamma


def model(scenario: dict[str, Any]) -> FitModel:
    """The law that a scenario fits."""
    joint = load_model("joint-chinchilla")
    if "tokens" in scenario:
        more = (
            Parameter("C", 1.0, min=0.0, log=True, linear=True),
            Parameter("gamma", 0.3, min=0.01, max=5.0),
        )
        return FitModel("with-tokens", with_tokens, (*joint.parameters, *more), variables=("V",))
    if "domains" in scenario:
        first, *rest = joint.parameters
        return evolve(joint, parameters=(evolve(first, per="domain"), *rest), reduced=None)
    return joint


def truth(scenario: dict[str, Any]) -> dict[str, float]:
    """The parameters, as a fit names them."""
    if "tokens" in scenario:
        return {**TRUTH, **V_TERM}
    if "domains" in scenario:
        rest = {name: value for name, value in TRUTH.items() if name != "E"}
        return {f"E[{name}]": floor for name, floor in scenario["domains"].items()} | rest
    return {} if "bent" in scenario else TRUTH


def law(n: Any, d: Any, floor: float = TRUTH["E"], bent: float = 1.0, tokens: Any = None) -> Any:
    """The truth."""
    third = 0.0 if tokens is None else V_TERM["C"] / tokens ** V_TERM["gamma"]
    return floor + (TRUTH["A"] / n ** TRUTH["alpha"] + TRUTH["B"] / d ** TRUTH["beta"]) ** bent + third


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


def more(scenario: dict[str, Any], seed: int) -> pd.DataFrame:
    """Final points of the scenarios beyond joint-chinchilla."""
    rng = np.random.default_rng([seed, 3])
    rows = [
        {"n": n, "d": d, "V": V, "domain": domain, "floor": floor}
        for n in np.geomspace(5e7, 5e9, scenario["sizes"])
        for d in np.geomspace(1e9, 1e11, scenario["data"])
        for V in scenario.get("tokens", (np.nan,))
        for domain, floor in scenario.get("domains", {"": TRUTH["E"]}).items()
    ]
    table = pd.DataFrame(rows)
    tokens = table["V"] if "tokens" in scenario else None
    loss = law(table["n"], table["d"], table["floor"], scenario.get("bent", 1.0), tokens)
    noise = scenario["noise"] * scenario.get("apart", 1.0) ** rng.uniform(0, 1, len(table))
    table["loss"] = loss * np.exp(noise * rng.standard_normal(len(table)))
    if "apart" in scenario:
        table["sigma"] = noise * table["loss"]
    unused = [name for name, key in (("V", "tokens"), ("domain", "domains")) if key not in scenario]
    return table.assign(run=[f"r{at}" for at in range(len(table))]).drop(columns=["floor", *unused])


def once(name: str, draws: int, seed: int) -> dict[str, Any]:
    """One campaign fitted: its status, and whether each interval holds the truth."""
    scenario = SCENARIOS[name]
    points = tidy((campaign if scenario.keys() <= _FIRST else more)(scenario, seed), name)
    report = fit_points(points, model(scenario), draws=draws)
    codes = [reason.split(":")[0][:60] for reason in report.reasons]
    if report.status != "ok":
        return {"status": report.status, "reasons": codes}
    (fit,) = report.fits
    known = truth(scenario)
    held = {
        found.name: (found.interval.low or -np.inf) <= known[found.name] <= (found.interval.high or np.inf)
        for found in fit.estimates
        if found.name in known
    }
    floor = next(iter(scenario.get("domains", {"": TRUTH["E"]}).values()))
    there = {
        "n": FAR[0],
        "d": FAR[1],
        "V": 64.0,
        "domain": next(iter(scenario.get("domains", {"": ""}))),
        "run": "",
    }
    table = pd.DataFrame([{**there, "size": "far"}])
    right = law(*FAR, floor, scenario.get("bent", 1.0), 64.0 if "tokens" in scenario else None)
    # Where the law is wrong, what it is asked for is a new run, and how wrong it is is told by refits.
    _, low, high = Predictor(fit, None).over(table) if "bent" in scenario else fit.predict(table)
    held["prediction"] = bool(low[0] <= right <= high[0])
    return {"status": "ok", "held": held}


def study(name: str, repetitions: int, draws: int, pool: Any) -> tuple[list[str], Counter[str]]:
    """A row of the table, and why campaigns were refused."""
    outcomes = list(pool.map(partial(once, name, draws), range(repetitions), chunksize=10))
    accepted = [outcome["held"] for outcome in outcomes if outcome["status"] == "ok"]
    reasons = Counter(reason for outcome in outcomes for reason in set(outcome.get("reasons", ())))
    share = lambda key: f"{100 * np.mean([held[key] for held in accepted]):.1f}"
    shown = [key if key in accepted[0] else "" for key in TRUTH]
    coverage = [share(key) if key else "-" for key in (*shown, "prediction")]
    rest = [f"{key} {share(key)}" for key in accepted[0] if key not in (*shown, "prediction")]
    refused = 100 * (1 - len(accepted) / repetitions)
    one = campaign(SCENARIOS[name], 0) if SCENARIOS[name].keys() <= _FIRST else more(SCENARIOS[name], 0)
    return [
        name,
        str(one["run"].nunique()),
        str(len(one)),
        f"{refused:.1f}",
        *coverage,
        ", ".join(rest),
    ], reasons


_FIRST = {"sizes", "data", "seeds", "points", "noise", "lag1", "outliers", "shift"}


def main() -> None:
    """Print the table; write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=500)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", action="append", choices=list(SCENARIOS))
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    header = [
        "campaign",
        "runs",
        "points",
        "refused %",
        *(f"{name} %" for name in TRUTH),
        "prediction %",
        "others %",
    ]
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

"""Does the widened interval of a roll-out hold a ten times larger run 95 % of the time, when the law is slightly wrong?

    python tests/bench/bench_roll_out.py [--repetitions 200] [--draws 200] [--processes 2]

Campaigns of a truth that is not the law fitted (joint-chinchilla), each by a little; the run predicted takes ten times
the training FLOPs of the largest. The table of docs/measurements/coverage.md.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.points.points import tidy
from fvlm_core.scaling.predict.prediction import Predictor
from fvlm_core.scaling.predict.roll_out import roll_out

N0, D0 = 3e8, 1e10
TRUTHS: dict[str, Any] = {
    "the law itself": lambda n, d: 1.7 + 480 / n**0.35 + 2100 / d**0.37,
    "exponents fall": lambda n, d: (
        1.7 + 480 / n ** (0.35 - 0.01 * np.log(n / N0)) + 2100 / d ** (0.37 - 0.01 * np.log(d / D0))
    ),
    "exponents rise": lambda n, d: (
        1.7 + 480 / n ** (0.35 + 0.01 * np.log(n / N0)) + 2100 / d ** (0.37 + 0.01 * np.log(d / D0))
    ),
    "terms interact": lambda n, d: 1.7 + (480 / n**0.35 + 2100 / d**0.37) ** 0.7,
    "no floor": lambda n, d: 12 / n**0.09 + 7 / d**0.08,
    "tuned for small runs": lambda n, d: (
        (1.7 + 480 / n**0.35 + 2100 / d**0.37) * (1 + 0.004 * np.log(n / 5e7) ** 1.5 / 3)
    ),
}


def campaign(truth: Any, noise: float, seed: int) -> tuple[pd.DataFrame, float, float, float]:
    """Final points of runs, and N, D and the loss of the larger run."""
    rng = np.random.default_rng([seed, 5])
    sizes = np.geomspace(5e7, 2e9, 6)
    rows = [(n, n * ratio) for n in sizes for ratio in (5, 20, 60)]
    n, d = np.array(rows).T
    loss = truth(n, d) * np.exp(noise * rng.standard_normal(len(n)))
    table = pd.DataFrame(
        {"run": [f"r{at}" for at in range(len(n))], "n": n, "d": d, "loss": loss, "compute": 6 * n * d}
    )
    budget = 10 * table["compute"].max()
    big = np.sqrt(budget / 6 / 20)
    there = truth(big, 20 * big) * np.exp(noise * rng.standard_normal())
    return table, big, 20 * big, float(there)


def once(name: str, noise: float, draws: int, seed: int) -> dict[str, Any]:
    """One campaign: whether each interval holds the larger run."""
    table, n, d, loss = campaign(TRUTHS[name], noise, seed)
    report = fit_points(tidy(table, name), load_model("joint-chinchilla"), draws=draws)
    if report.status != "ok":
        return {"status": report.status}
    (fit,) = report.fits
    predictor = Predictor(fit, None)
    one = predictor.at(n, d)
    rolled = roll_out(fit, predictor.noise.total)
    if rolled is None:
        return {"status": "no roll-out"}
    low, high = np.log(one.loss.interval) - np.log(one.loss.value)
    more = rolled.reach(predictor.factor(n, d))
    error = np.log(loss / one.loss.value)
    return {
        "status": "ok",
        "plain": low <= error <= high,
        "widened": -np.hypot(low, more) <= error <= np.hypot(high, more),
        "width": np.hypot(high, more) + np.hypot(low, more),
        "plain width": high - low,
        "error": error,
        "growth": rolled.growth,
    }


def _mean(found: list[dict[str, Any]], key: str) -> float:
    return float(np.mean([one[key] for one in found])) if found else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.002, 0.005])
    parser.add_argument("--truth", nargs="+", default=list(TRUTHS))
    chosen = parser.parse_args()
    for name in chosen.truth:
        for noise in chosen.noise:
            with ProcessPoolExecutor(chosen.processes) as pool:
                found = list(pool.map(partial(once, name, noise, chosen.draws), range(chosen.repetitions)))
            ok = [one for one in found if one["status"] == "ok"]
            mean = partial(_mean, ok)
            print(
                f"{name:28s} noise {noise:.3f}  {len(ok)}/{len(found)}  plain {mean('plain'):.3f} "
                f"(width {mean('plain width'):.4f})  widened {mean('widened'):.3f} (width {mean('width'):.4f})  "
                f"rms error {np.sqrt(np.mean([one['error'] ** 2 for one in ok])):.4f}  growth {mean('growth'):.5f}",
                flush=True,
            )


if __name__ == "__main__":
    sys.exit(main())

"""How fast laws are fitted, beside the published way, in one process.

    python docs/bench_fit.py published --data svg_extracted_data.csv   # 240 points: our fit, and 4,500 starts of L-BFGS
    python docs/bench_fit.py million                                   # 1,000,000 points: fit and block bootstrap
    python docs/bench_fit.py export --data all_eval_points.csv         # the command, start-up and picture included

`published`: the points of Hoffmann et al. as Epoch AI digitised them (columns Model Size, Training FLOP, loss), and a
plain implementation of the published procedure (Hoffmann et al. 2022, section 3.3): every start of the grid of 4,500
is followed by L-BFGS with numeric gradients, and the best kept.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize
from scipy.special import logsumexp

from fvlm_core.scaling.fitting import fit_points, load_model
from fvlm_core.scaling.objective import HUBER_DELTA, Floats, Objective
from fvlm_core.scaling.options import Options
from fvlm_core.scaling.points import Points, tidy
from fvlm_core.scaling.problem import Problem
from fvlm_core.scaling.solver import solve

HALVES = np.arange(0, 2.5, 0.5)
GRID = product(range(0, 30, 5), range(0, 30, 5), HALVES - 1, HALVES, HALVES)
"""Starts of ln A, ln B, ln E, alpha and beta: 6 x 6 x 5 x 5 x 5."""


def chinchilla(file: Path) -> Points:
    """The 240 points: D = C/(6N), the five largest losses left out."""
    raw = pd.read_csv(file)
    raw = raw[raw["loss"] < raw["loss"].nlargest(5).min()]
    n = raw["Model Size"]
    return tidy(pd.DataFrame({"n": n, "d": raw["Training FLOP"] / (6 * n), "loss": raw["loss"]}), str(file))


def grid(points: Points) -> tuple[float, float, int]:
    """Seconds, the best objective, and how many of the starts came within 1e-8 of it."""
    n, d, loss = (np.log(points.table[name].to_numpy(float)) for name in ("n", "d", "loss"))

    def objective(x: Floats) -> float:
        a, b, e, alpha, beta = x
        apart = np.abs(logsumexp([a - alpha * n, b - beta * d, np.full_like(n, e)], axis=0) - loss)
        huber = np.where(apart <= HUBER_DELTA, 0.5 * apart**2, HUBER_DELTA * (apart - 0.5 * HUBER_DELTA))
        return float(huber.sum())

    begun = time.perf_counter()
    with np.errstate(all="ignore"):
        ends = [minimize(objective, np.array(start, dtype=float), method="L-BFGS-B").fun for start in GRID]
    best = min(ends)
    return time.perf_counter() - begun, best, sum(end <= best + 1e-8 for end in ends)


def published(file: Path) -> None:
    """Our point fit and bootstrap, then the published grid."""
    points = chinchilla(file)
    problem = Problem(load_model("joint-chinchilla"), Objective(), points.table)
    solve(problem)
    times: list[float] = []
    for _ in range(7):
        begun = time.perf_counter()
        found = solve(problem)
        times.append(time.perf_counter() - begun)
    ours = float(np.median(times))
    print(
        f"point fit: {ours:.3f} s (median of 7, {min(times):.3f} to {max(times):.3f}), objective {found.total:.10f}"
    )
    begun = time.perf_counter()
    asked = Options(bootstrap="cluster", cluster="size", sensitivity=False)
    report = fit_points(points, load_model("joint-chinchilla"), draws=4_000, options=asked)
    took = time.perf_counter() - begun
    print(
        f"4,000 draws of whole model sizes, fit included: {took:.2f} s ({len(report.fits[0].drawn.values)} kept)"
    )
    seconds, best, reached = grid(points)
    print(f"4,500 starts of L-BFGS: {seconds:.1f} s, objective {best:.10f}, reached by {reached}")
    print(f"ratio: {seconds / ours:.0f}")


def million() -> None:
    """A million evaluations of a thousand runs of ten sizes, with autocorrelated noise."""
    rng = np.random.default_rng(0)
    runs, each = 1_000, 1_000
    n = np.repeat(np.geomspace(1e7, 1e10, 10)[np.arange(runs) % 10], each)
    d = np.tile(np.geomspace(1e8, 1e11, each), runs)
    noise = rng.standard_normal((runs, each))
    for at in range(1, each):
        noise[:, at] = 0.7 * noise[:, at - 1] + 0.71 * noise[:, at]
    loss = (1.7 + 480 / n**0.35 + 2100 / d**0.37) * np.exp(0.01 * noise.ravel())
    run = np.repeat([f"run-{at}" for at in range(runs)], each)
    begun = time.perf_counter()
    points = tidy(pd.DataFrame({"n": n, "d": d, "loss": loss, "run": run}), "a million points")
    tidied = time.perf_counter()
    report = fit_points(points, load_model("joint-chinchilla"), draws=100, options=Options(bootstrap="block"))
    done = time.perf_counter()
    for found in report.fits[0].estimates:
        print(f"{found.name}: {found.value:.6g} [{found.interval.low}, {found.interval.high}]")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    took = f"point fit and 100 block draws: {done - tidied:.1f} s"
    print(f"tidied in {tidied - begun:.1f} s; {took}; peak {peak:.2f} GiB")


def export(file: Path) -> None:
    """The command on a small file, seven times."""
    times: list[float] = []
    with tempfile.TemporaryDirectory() as place:
        for _ in range(7):
            begun = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "fvlm_core", "fit", "--data", str(file.resolve())],
                cwd=place, check=True, stdout=subprocess.DEVNULL,
            )  # fmt: skip
            times.append(time.perf_counter() - begun)
    print(f"fvlm fit: {np.median(times):.2f} s (median of 7, {min(times):.2f} to {max(times):.2f})")


def main() -> None:
    """One of the three."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["published", "million", "export"])
    parser.add_argument("--data", type=Path)
    chosen = parser.parse_args()
    if chosen.what == "million":
        million()
    elif chosen.data is None:
        parser.error("--data FILE is needed")
    else:
        (published if chosen.what == "published" else export)(chosen.data)


if __name__ == "__main__":
    main()

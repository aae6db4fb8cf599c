"""How long a fit of a million points takes, and how much memory: the law of Chinchilla, and a block bootstrap.

    python tests/bench/bench_million.py

A thousand runs of ten sizes, a thousand evaluations each, with autocorrelated noise about a known truth.
"""

from __future__ import annotations

import resource
import time

import numpy as np
import pandas as pd

from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.points.points import tidy

RUNS, EACH = 1_000, 1_000


def main() -> None:
    """Print estimates, times and the peak."""
    rng = np.random.default_rng(0)
    n = np.repeat(np.geomspace(1e7, 1e10, 10)[np.arange(RUNS) % 10], EACH)
    d = np.tile(np.geomspace(1e8, 1e11, EACH), RUNS)
    noise = rng.standard_normal((RUNS, EACH))
    for at in range(1, EACH):
        noise[:, at] = 0.7 * noise[:, at - 1] + 0.71 * noise[:, at]
    loss = (1.7 + 480 / n**0.35 + 2100 / d**0.37) * np.exp(0.01 * noise.ravel())
    run = np.repeat([f"run-{at}" for at in range(RUNS)], EACH)
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


if __name__ == "__main__":
    main()

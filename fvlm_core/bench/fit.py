"""Fitting the joint law, beside the published way; its draws, beside one refit after the other; and the whole command.

Each side of a pair is a process of its own with one thread, and times what it does after its imports: on a busy
machine, OpenBLAS's threads make L-BFGS several times slower, waiting for each other over small matrices. The command is
timed whole, with the threads that it takes. The law that fvlm fits has bounds (exponents from .01 to 5), the published
way has none: where the points ask for what lies beyond them, it ends lower.

    python -m fvlm_core.bench.fit fvlm|published FILE STARTS SEED      # one process, as JSON
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from attrs import asdict, frozen

from fvlm_core.bench.pairs import Pair, in_pairs, paired
from fvlm_core.bench.processes import ONE_THREAD, run
from fvlm_core.bench.published import GRID, LogPoints, follow, refit
from fvlm_core.interchange.export import JOINT
from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.scaling.fit.identifiability import design_rank
from fvlm_core.scaling.fit.objective import FitObjective, Floats
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.resampling import resample
from fvlm_core.scaling.fit.solver import Solution, solve
from fvlm_core.scaling.fit.uncertainty import DRAWS, SEED, bootstrap
from fvlm_core.scaling.points.files import read_points
from fvlm_core.scaling.points.points import Points
from fvlm_core.utils.errors import UsageError

STARTS = 150
"""Starts of the published grid that are followed in each round, by default."""

FITS = 5
"""Fits timed in each process, after one that is not."""

REFITS = 100
"""Draws refitted one after the other: the first of fvlm's."""

SLACK = 1e-9
"""By how much fvlm's objective may lie above the best published one."""

REACHED = 1e-8
"""A start that ends so close to the best has reached it."""

SIZES, EACH = 20, 12
TRUTH = {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
"""Hoffmann et al. (2022), equation 10."""

NOISE = 0.01

FVLM = (sys.executable, "-c", "from fvlm_core.cli.main import program; program()")
BARE = (sys.executable, "-c", "import numpy, scipy.optimize, pandas")


@frozen
class Ends:
    """What both sides arrived at.

    objective, published: the sum of Huber losses of fvlm's fit, and of the best of the published starts. reached: how
    many of the `followed` starts came within 1e-8 of their best. draws, refits: the mean objective of the same draws;
    draws None: some of fvlm's gave no fit.
    """

    objective: float
    published: float
    reached: int
    followed: int
    draws: float | None
    refits: float

    @property
    def holds(self) -> bool:
        """Whether fvlm's fit is as good as the best published one."""
        return self.objective <= self.published + SLACK


@frozen
class FitBench:
    """pairs: the point fit, a draw, the command. points: how many. starts: followed in each round, of the whole grid.
    per_start: seconds, a median."""

    pairs: tuple[Pair, ...]
    points: int
    starts: int
    per_start: float
    ends: Ends

    def to_json(self) -> dict[str, Any]:
        """All but the pairs."""
        grid = {"starts": self.starts, "of": len(GRID), "scaled": self.starts < len(GRID)}
        return {
            "points": self.points,
            "grid": {**grid, "seconds_per_start": self.per_start},
            "objectives": {**asdict(self.ends), "holds": self.ends.holds},
        }


@frozen
class FitTimes:
    """One process. fit: seconds of a point fit: of fvlm's, or of the whole grid as its starts tell. draw: seconds of a
    draw. ends: objectives that were reached. drawn: the mean objective of the first draws."""

    fit: float
    draw: float
    ends: Sequence[float]
    drawn: float | None


def bench_fit(
    scratch: Path, data: Path | None, starts: int, rounds: int, progress: Callable[[str, int, int], None]
) -> FitBench:
    """The point fit, its draws and the command, each in pairs.

    data: any table that `fvlm fit --data` reads; None: 240 points of a known truth. starts: of the published grid,
    followed in each round, other ones in each. Raises `UsageError` for points that do not tell the law, and `FvlmError`
    when a process fails.
    """
    made = scratch / "made.csv"
    if data is None:
        made_points().to_csv(made, index=False)
    file = (data or made).resolve()
    points = read_points([file])
    _check(points)
    seeds = count()
    sides: dict[str, list[FitTimes]] = {"fvlm": [], "published": []}

    def measured(side: str) -> float:
        command = [sys.executable, "-m", __name__, side, str(file), str(starts), str(next(seeds))]
        sides[side].append(FitTimes(**json.loads(run(command, None, ONE_THREAD)[1].splitlines()[-1])))
        return sides[side][-1].fit

    whole = f"{len(GRID):,} starts of L-BFGS" + ("" if starts == len(GRID) else f", scaled from {starts}")
    fitted = in_pairs(
        f"point fit of {len(points.table):,} points, against {whole}",
        "s",
        lambda: measured("fvlm"),
        lambda: measured("published"),
        rounds,
        progress,
    )
    ours, theirs = sides["fvlm"], sides["published"]
    drawn = paired(
        f"one of {DRAWS:,} draws, against least_squares from the optimum, draw after draw",
        "s",
        [one.draw for one in ours],
        [one.draw for one in theirs],
    )
    command = in_pairs(
        "fvlm fit --data, against python -c 'import numpy, scipy.optimize, pandas'",
        "s",
        lambda: run((*FVLM, "fit", "--data", str(file)), scratch)[0],
        lambda: run(BARE)[0],
        rounds,
        progress,
    )
    ends = [end for one in theirs for end in one.ends]
    best = min(ends)
    refits = theirs[0].drawn
    assert refits is not None
    return FitBench(
        (fitted, drawn, command),
        len(points.table),
        starts,
        fitted.bare / len(GRID),
        Ends(
            max(one.ends[0] for one in ours),
            best,
            sum(end <= best + REACHED for end in ends),
            len(ends),
            ours[0].drawn,
            refits,
        ),
    )


def made_points() -> pd.DataFrame:
    """240 points of a known truth, 1 % of noise: columns N, D, loss."""
    rng = np.random.default_rng(0)
    n = np.repeat(np.geomspace(5e7, 1e10, SIZES), EACH)
    d = np.exp(rng.uniform(np.log(1e9), np.log(5e11), SIZES * EACH))
    law = TRUTH["E"] + TRUTH["A"] / n ** TRUTH["alpha"] + TRUTH["B"] / d ** TRUTH["beta"]
    return pd.DataFrame({"N": n, "D": d, "loss": law * np.exp(NOISE * rng.standard_normal(len(n)))})


def bound(points: Points) -> FitProblem:
    """The joint law, with the Huber loss of ln L."""
    return FitProblem(load_model(JOINT), FitObjective(), points.table)


def plain(points: Points) -> LogPoints:
    """The same points for the published way."""
    return LogPoints(*(np.log(points.table[name].to_numpy(float)) for name in ("n", "d", "loss")))


def _check(points: Points) -> None:
    law = load_model(JOINT)
    points.require(["n"], law.name)
    if not design_rank(bound(points)).full:
        raise UsageError(f"{points.source}: these points do not tell the joint law; it needs {law.needs}")


def measure(side: str, points: Points, starts: int, seed: int) -> FitTimes:
    """One side in this process. starts: of the grid, drawn by `seed`, for the published side."""
    problem = bound(points)
    solution = solve(problem)
    counts = resample(points.table, "iid", "run", 0.0, len(problem.slots), DRAWS, SEED).of_points(
        slice(REFITS)
    )
    if side == "fvlm":
        return _ours(problem, solution, counts)
    return _published(plain(points), logarithms(problem, solution), counts, starts, seed)


def _ours(problem: FitProblem, solution: Solution, counts: Floats) -> FitTimes:
    times: list[float] = []
    for _ in range(FITS):
        begun = time.perf_counter()
        solution = solve(problem)
        times.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    found = bootstrap(problem, solution, (), 0.0, DRAWS, "iid")
    draw = (time.perf_counter() - begun) / DRAWS
    drawn: float | None = None
    if not found.lost:
        theta = problem.search(found.values[: len(counts)])
        drawn = float(problem.total(problem.residuals(theta), counts).mean())
    return FitTimes(statistics.median(times), draw, [solution.total], drawn)


def _published(points: LogPoints, best: Floats, counts: Floats, starts: int, seed: int) -> FitTimes:
    chosen = GRID[np.random.default_rng(seed).choice(len(GRID), starts, replace=False)]
    begun = time.perf_counter()
    ends = follow(points, chosen)
    per_start = (time.perf_counter() - begun) / starts
    begun = time.perf_counter()
    drawn = [refit(points.drawn(one), best) for one in counts.astype(int)]
    draw = (time.perf_counter() - begun) / len(counts)
    return FitTimes(per_start * len(GRID), draw, ends, statistics.mean(drawn))


def logarithms(problem: FitProblem, solution: Solution) -> Floats:
    """A fit as the published way writes it: ln A, ln B, ln E, alpha, beta; a scale of 0 as one that does not count."""
    found = {
        slot.parameter.name: float(value) for slot, value in zip(problem.slots, solution.values, strict=True)
    }
    scales = [np.log(max(found[name], 1e-12)) for name in ("A", "B", "E")]
    return np.array([*scales, found["alpha"], found["beta"]])


def main(arguments: Sequence[str]) -> None:
    """One process's measurement, printed."""
    side, file, starts, seed = arguments
    print(json.dumps(asdict(measure(side, read_points([Path(file)]), int(starts), int(seed)))))


if __name__ == "__main__":
    main(sys.argv[1:])

"""What to run next: runs that make the prediction of a target surest, and what the obvious alternatives would give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from attrs import asdict, evolve, frozen

from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.fit.identifiability import ENOUGH
from fvlm_core.scaling.fit.noise import ASSUMED, Noise
from fvlm_core.scaling.fit.objective import FitObjective, Floats
from fvlm_core.scaling.fit.problem import FitProblem, thinned
from fvlm_core.scaling.fit.shortage import shortage
from fvlm_core.scaling.points.points import Points, size_label
from fvlm_core.scaling.predict.cost import Cost, Size
from fvlm_core.scaling.predict.design import SPARED, Candidate, choose, estimable, even_grid, stakes
from fvlm_core.scaling.predict.optimum import bound, optimum
from fvlm_core.scaling.predict.prior import Beliefs, learn, logarithmic, prior
from fvlm_core.utils.errors import UsageError

DRAWS = 32
"""Of the beliefs that a design is averaged over; 200 choose the same runs within the noise of the study in the docs."""

LEVELS = 20
"""Lengths of a run that are tried for each size, evenly in ln D."""

LARGEST = 0.9
"""Of the budget that a single run may take at most, unless less is asked for."""


@frozen
class PredictionTarget:
    """What is to be predicted: the loss at N and D, or the best loss that a budget of FLOPs can reach."""

    n: float | None = None
    d: float | None = None
    budget: float | None = None


@frozen(eq=False)
class Choices:
    """What may be run. sizes: candidates. price: of a run of a size with some FLOPs, in the budget's unit. shortest,
    longest: D of a run. batch: D must be a multiple of it. every: D between evaluations, all of which count; None: only
    the end of a run counts.  most: runs. largest: the part of the budget that a single run may take."""

    sizes: tuple[Size, ...]
    price: Callable[[Size, float], float]
    shortest: float
    longest: float = np.inf
    batch: int = 1
    every: float | None = None
    most: int = 12
    largest: float = LARGEST

    def run(self, size: Size, d: float) -> Candidate | None:
        """A run of a size on about D; None when there is no such run."""
        d = max(1, round(d / self.batch)) * self.batch
        if not self.shortest * (1 - 1e-9) <= d <= self.longest * (1 + 1e-9):
            return None
        flops = size.flops * d
        count = 1 if self.every is None else max(1, int(d / self.every))
        return Candidate(size.label, size.n, float(d), flops, self.price(size, flops), count)

    def affordable(self, size: Size, price: float) -> float:
        """The D that a price pays for: prices are proportional to D."""
        return price / self.price(size, size.flops)

    def candidates(self, budget: float) -> list[Candidate]:
        """Every size at every length."""
        out: list[Candidate] = []
        for size in self.sizes:
            longest = min(self.longest, self.affordable(size, self.largest * budget))
            if longest < self.shortest:
                continue
            for d in np.geomspace(self.shortest, longest, LEVELS):
                one = self.run(size, float(d))
                if one is not None and one not in out:
                    out.append(one)
        return out


@frozen(eq=False)
class Design:
    """A set of runs, and the standard error of ln L at the target after them."""

    name: str
    runs: tuple[Candidate, ...]
    error: float

    @property
    def price(self) -> float:
        """Of all runs."""
        return sum(run.price for run in self.runs)

    @property
    def flops(self) -> float:
        """Of all runs."""
        return sum(run.flops for run in self.runs)


@frozen(eq=False)
class Advice:
    """before: the standard error of ln L at the target now. suggested: the runs to make. alternatives: what else the
    budget pays for. n, d, loss: the target as believed now, medians. points: how many are known already. missing: why
    no such runs can tell the loss at the target, "" where they can."""

    law: str
    target: PredictionTarget
    n: float
    d: float
    loss: float
    before: float
    suggested: Design
    alternatives: tuple[Design, ...]
    noise: Noise
    points: int
    missing: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""

        def one(design: Design) -> dict[str, Any]:
            runs = [asdict(run) for run in design.runs]
            return {"name": design.name, "error": design.error, "flops": design.flops, "runs": runs}

        return {
            "law": self.law,
            "target": {"N": self.n, "D": self.d, "C": self.target.budget, "loss": self.loss},
            "error_before": self.before,
            "suggested": one(self.suggested),
            "alternatives": [one(design) for design in self.alternatives],
            "noise": {
                "run": self.noise.run,
                "point": self.noise.point,
                "lag1": self.noise.lag1,
                "run_source": self.noise.run_source,
                "point_source": self.noise.point_source,
            },
            "points": self.points,
            "missing": self.missing,
        }


def advise(
    model: FitModel,
    choices: Choices,
    budget: float,
    target: PredictionTarget,
    *,
    cost: Cost | None = None,
    points: Points | None = None,
    noise: Noise = ASSUMED,
    draws: int = DRAWS,
    seed: int = 0,
) -> Advice:
    """The runs within the budget after which the target is predicted best.

    budget: in the unit of `choices.price`. cost: for targets that are budgets. noise: of the runs. points: measured
    already. Raises `UsageError` when the budget pays for no run, or for none that makes the prediction
    surer, and when the law is not of N and D alone.
    """
    check_law(model)
    candidates = choices.candidates(budget)
    if not candidates:
        cheapest = min(choices.price(size, size.flops * choices.shortest) for size in choices.sizes)
        raise UsageError(
            f"the budget, {budget:.3g}, pays for no run: the shortest of the smallest size (D = {choices.shortest:g}) "
            f"takes {cheapest / choices.largest:.3g}"
        )
    problem = problem_at(model, candidates)
    beliefs = prior(problem, draws, seed)
    if points is not None:
        measured = logarithmic(FitProblem(model, FitObjective("log-mse"), points.table))
        beliefs = learn(beliefs, measured, noise, seed)
    n, d = _target(problem, beliefs, target, cost)
    known = problem.table if points is None else pd.concat([problem.table, points.table], ignore_index=True)
    places = known.drop_duplicates(["n", "d"]).reset_index(drop=True)
    missing = _untold(thinned(evolve(problem, table=places), ENOUGH), beliefs, (n, d), choices)
    search = _Search(problem, beliefs, choices, candidates, budget, (n, d), noise)
    chosen, alternatives, before = search.designs()
    if not chosen:
        raise UsageError(
            f"no run within the budget makes the loss at the target surer: its standard error, "
            f"{before:.2%}, would fall by less than {SPARED:.0%} of that. "
            + (f"And {missing}" if missing else "Other sizes (--sizes, recipes) or a larger budget may")
        )
    there = np.einsum("ss->s", bound(problem, n, d).predict(problem.values(beliefs.theta)))
    return Advice(
        law=model.name,
        target=target,
        n=float(np.median(n)),
        d=float(np.median(d)),
        loss=float(np.median(there)),
        before=before,
        suggested=chosen,
        alternatives=alternatives,
        noise=noise,
        points=0 if points is None else len(points.table),
        missing=missing,
    )


@frozen(eq=False)
class _Search:
    """For the runs after which the loss at `at` (N and D of each belief) is surest."""

    problem: FitProblem
    beliefs: Beliefs
    choices: Choices
    candidates: list[Candidate]
    budget: float
    at: tuple[Floats, Floats]
    noise: Noise

    def designs(self) -> tuple[Design | None, tuple[Design, ...], float]:
        """What is suggested, None where no run makes the target surer; the obvious alternatives; the error before."""
        sizes, most = self.choices.sizes, self.choices.most
        grid = even_grid([(size.label, size.n) for size in sizes], self._for_price, self.budget, most)
        largest = [
            self._for_price(size.label, size.n, self.choices.largest * self.budget) for size in sizes[-1:]
        ]
        single = [one for one in largest if one is not None]
        everything = [*self.candidates, *grid, *single]
        known = stakes(self.problem, self.beliefs, everything, self.noise, self.at)

        def design(name: str, which: Sequence[int]) -> Design:
            runs = sorted((everything[place] for place in which), key=lambda run: (run.n, run.d))
            return Design(name, tuple(runs), known.error(list(which)))

        of_grid = range(len(self.candidates), len(self.candidates) + len(grid))
        others = [design("even grid in (log N, log C)", of_grid)]
        if single:
            others.append(design("one run of the largest size", range(of_grid.stop, len(everything))))
        prices = np.array([one.price for one in everything])
        chosen = choose(known, prices, self.budget, most, [list(of_grid)])
        return design("suggested", chosen) if chosen else None, tuple(others), known.error([])

    def _for_price(self, label: str, n: float, price: float) -> Candidate | None:
        size = next(size for size in self.choices.sizes if size.label == label)
        d = self.choices.affordable(size, price)
        return self.choices.run(size, np.floor(d / self.choices.batch) * self.choices.batch)


def _untold(problem: FitProblem, beliefs: Beliefs, at: tuple[Floats, Floats], choices: Choices) -> str:
    """What is missing where no such runs, however many, tell the loss at the target; "" where they do."""
    if estimable(problem, beliefs, at):
        return ""
    sizes = ", ".join(size.label for size in choices.sizes)
    return (
        f"no runs of these sizes ({sizes}) tell the loss at N = {size_label(float(np.median(at[0])))}, D = "
        f"{size_label(float(np.median(at[1])))}, however much they take. {shortage(problem)} Name more sizes (--sizes, "
        "or recipes that have them), or let runs differ more (--shortest, --longest)"
    )


def problem_at(model: FitModel, candidates: Sequence[Candidate]) -> FitProblem:
    """The law at candidate runs, with residuals of ln L."""
    table = pd.DataFrame(
        {
            "n": [one.n for one in candidates],
            "d": [one.d for one in candidates],
            "loss": 1.0,
            "size": "",
            "run": "",
        }
    )
    return FitProblem(model, FitObjective("log-mse"), table)


def of_sizes_and_data(model: FitModel) -> bool:
    """Whether a law predicts the loss, from N and D or from N alone."""
    return model.target == "loss" and set(model.inputs) <= {"n", "d"} and "n" in model.inputs


def check_law(model: FitModel) -> None:
    """Raise `UsageError` unless the law predicts the loss from N and D with parameters of all sizes."""
    if not of_sizes_and_data(model):
        reads = ", ".join(one.upper() if one in ("n", "d") else one for one in model.inputs)
        columns = " ".join(
            f"--grid {one.upper() if one in ('n', 'd') else one}=VALUE,VALUE" for one in model.columns
        )
        raise UsageError(
            f"{model.name} reads {reads}: say which values may be run ({columns}), or which rows (--pool FILE); sizes "
            "and a budget alone are enough for a law of the loss on N and D, such as joint-chinchilla"
        )
    if any(parameter.per is not None for parameter in model.parameters):
        raise UsageError(
            f"{model.name} has parameters of each size: it says nothing of a size that was not run"
        )


def _target(
    problem: FitProblem, beliefs: Beliefs, target: PredictionTarget, cost: Cost | None
) -> tuple[Floats, Floats]:
    sets = len(beliefs.theta)
    if target.n is not None and target.d is not None:
        return np.full(sets, target.n), np.full(sets, target.d)
    assert target.budget is not None
    assert cost is not None
    low, high = cost.reach
    if not np.isfinite(high):
        n = [size.n for size in cost.sizes] or list(problem.table["n"])
        low, high = min(n) / 2, max(n) * 30
    found = optimum(problem, problem.values(beliefs.theta), cost, target.budget, low, high)
    return found.n, found.d


def flops_price(size: Size, flops: float) -> float:
    """A budget in FLOPs."""
    return flops

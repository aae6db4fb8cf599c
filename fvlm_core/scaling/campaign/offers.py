"""The runs that a campaign may buy: its sizes, each on a ladder of samples, as often as there are seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.fit.identifiability import design_rank
from fvlm_core.scaling.fit.objective import FitObjective
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.shortage import not_identifiable
from fvlm_core.scaling.predict.cost import Size

FACTOR = 2.0
"""From one number of samples to the next, where the recipe names none."""

FEWEST_STEPS = 100
"""Of the shortest run, where the recipe names no samples: warm-up and the first drop say nothing of scaling."""

DEAREST = 0.25
"""Of the budget, what one run may take at most: what is left can then still answer it."""

LONGEST_LADDER = 16
"""Numbers of samples at most, where the recipe names none."""


@frozen
class Offer:
    """A run that may be bought: it trains on d samples of its own, with a schedule of its own, and its last evaluation
    is its point.

    run: its id. size: its label, the id of the recipe's run. n: parameters. repeat: which of the runs of this size on
    so many samples it is, from 0. flops: by the ledger.
    """

    run: str
    size: str
    n: float
    d: int
    repeat: int
    flops: float


def ladder(batch: int, budget: float, cheapest: float) -> list[int]:
    """Numbers of samples, where the recipe names none: 100 steps and doublings of it, as far as a run of the cheapest
    size may go. cheapest: its FLOPs a sample."""
    first = FEWEST_STEPS * batch
    found = [int(first * FACTOR**at) for at in range(LONGEST_LADDER)]
    return [d for d in found if d * cheapest <= DEAREST * budget] or [first]


def offers(sizes: Sequence[Size], samples: Sequence[int], seeds: int, budget: float) -> list[Offer]:
    """All runs for sale, cheapest first: none that takes more than a quarter of the budget."""
    found = [
        Offer(f"{size.label}-{d}-{repeat}", size.label, size.n, d, repeat, size.flops * d)
        for size in sizes
        for d in samples
        for repeat in range(seeds)
        if size.flops * d <= DEAREST * budget
    ]
    return sorted(found, key=lambda one: (one.flops, one.n, one.repeat))


def missing(law: FitModel, places: Sequence[tuple[float, float]]) -> str:
    """Why runs of these N and D cannot tell a law's parameters, however often they are made; "" where they can."""
    if not places:
        return f"there is no run that the budget pays for; {law.name} takes {law.needs}"
    n, d = np.array(sorted(set(places)), float).T
    table = pd.DataFrame({"n": n, "d": d, "loss": 1.0, "size": "", "run": ""})
    problem = FitProblem(law, FitObjective("log-mse"), table)
    rank = design_rank(problem)
    return "" if rank.full else not_identifiable(problem, rank)

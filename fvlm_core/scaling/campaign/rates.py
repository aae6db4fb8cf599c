"""The learning rates of a campaign that sweeps them first: the best of each swept size, followed as a power of N."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from fvlm_core.scaling.campaign.offers import Offer
from fvlm_core.scaling.campaign.record import Round
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.points.points import tidy
from fvlm_core.scaling.predict.cost import Size

LAW = "lr-optimum"
"""The fit that finds them."""


def sweep(sizes: Sequence[Size], rates: Sequence[float], samples: int) -> Round:
    """The runs of a sweep: each size at each rate, on as many samples."""
    offered = {
        Offer(
            f"{size.label}-{samples}-lr{rate:g}", size.label, size.n, samples, 0, size.flops * samples
        ): rate
        for size in sizes
        for rate in rates
    }
    return Round(
        why="sweep of learning rates",
        runs=tuple(offered),
        rates={run.run: rate for run, rate in offered.items()},
    )


def best_rate(done: Round, batch: int) -> tuple[float, float] | list[str]:
    """c and k of the best rate c N^k; or why it is not told. k is 0 where one size was swept.

    done: a sweep with its losses. batch: samples of a step.
    """
    assert done.losses is not None
    rows = [
        (run.size, run.run, run.n, float(run.d), done.losses[run.run], done.rates[run.run], float(batch))
        for run in done.runs
    ]
    table = pd.DataFrame(rows, columns=["size", "run", "n", "d", "loss", "lr", "batch"])
    report = fit_points(tidy(table, "the sweep of learning rates", curves={}), load_model(LAW), draws=100)
    if report.status != "ok":
        return list(report.reasons)
    sizes = table["n"].nunique()
    if sizes == 1:
        return float(report.fits[0].values["best"]), 0.0
    relation = report.relation
    if relation is None or relation.exponent is None or relation.scale is None:
        return [f"the best rates of {sizes} sizes tell no power of N: {relation and relation.reason}"]
    return float(relation.scale), float(relation.exponent)

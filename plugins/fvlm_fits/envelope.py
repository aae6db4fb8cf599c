"""Approach 1 of Hoffmann et al. (2022), section 3.1: the best run at each amount of compute, over all runs' curves."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from fvlm_core.plugin_api import FitModel, Parameter, UsageError
from fvlm_fits.config import Envelope

BUDGETS = 1_500
"""Amounts of compute at which the best run is looked for, as in the paper."""


def power(compute: Any, *, G: Any, a: Any) -> Any:
    """best = G*C^a

    C: training FLOPs. best: parameters N (or samples D) of the run with the lowest loss at that compute.
    """
    return G * np.exp(a * np.log(compute))


def gradient(compute: Any, *, G: Any, a: Any) -> dict[str, Any]:
    """dbest/dG = C^a, dbest/da = G C^a ln C."""
    ln_c = np.log(compute)
    raised = np.exp(a * ln_c)
    return {"G": raised, "a": G * raised * ln_c}


def lower_envelope(table: pd.DataFrame) -> pd.DataFrame:
    """One point for each run on the envelope: where, in ln C, the middle of its stretch lies. Same columns.

    Losses, and ln D, of each run are interpolated in ln C between its points. Budgets are evenly spaced in ln C
    between the least and the most compute at which two runs can be compared. Neighbouring budgets with one best run
    say the same thing once, so that a run counts once and not by the width of its stretch. Raises `UsageError` when
    runs do not overlap, or one is best throughout.
    """
    runs: list[pd.DataFrame] = [
        run.sort_values("compute") for _, run in table.groupby(["size", "run"], sort=False, observed=True)
    ]
    if len(runs) < 2:
        raise UsageError(f"an envelope takes several runs, and there is {len(runs)}")
    first = np.sort([run["compute"].min() for run in runs])[1]
    last = np.sort([run["compute"].max() for run in runs])[-2]
    if not first < last:
        raise UsageError("an envelope takes runs whose curves overlap in training FLOPs, and these do not")
    budgets = np.geomspace(first, last, BUDGETS)
    losses = np.array([_at(run, "loss", budgets) for run in runs])
    best = np.nanargmin(np.where(np.isnan(losses), np.inf, losses), axis=0)
    if len(np.unique(best)) == 1:
        name = runs[best[0]]["run"].iloc[0]
        raise UsageError(
            f"run {name} is the whole envelope: no other is better at any compute, which shows no trade-off"
        )
    edges = np.flatnonzero(np.diff(best)) + 1
    rows: list[pd.DataFrame] = []
    for stretch in np.split(np.arange(BUDGETS), edges):
        run = runs[best[stretch[0]]]
        budget = np.sqrt(budgets[stretch[0]] * budgets[stretch[-1]])
        nearest = int(np.abs(np.log(run["compute"].to_numpy(float) / budget)).argmin())
        d = np.exp(_at(run.assign(d=np.log(run["d"])), "d", np.array([budget]))[0])
        rows.append(
            run.iloc[[nearest]].assign(compute=budget, loss=losses[best[stretch[0]], stretch].mean(), d=d)
        )
    return pd.concat(rows, ignore_index=True)


def build(config: Envelope) -> FitModel:
    """The best size, or the best amount of data, as a power of compute."""
    of: Literal["n", "d"] = config.of
    return FitModel(
        "envelope",
        power,
        (
            Parameter("G", 1.0, min=0.0, log=True, linear=True),
            Parameter("a", 0.5, min=-1.0, max=3.0),
        ),
        needs="curves of at least two sizes that cross in training FLOPs",
        gradient=gradient,
        target=of,
        derive=lower_envelope,
    )


def _at(run: pd.DataFrame, column: str, budgets: Any) -> Any:
    """A column at amounts of compute, linear in ln C; NaN outside of what the run has seen."""
    ln_c = np.log(run["compute"].to_numpy(float))
    return np.interp(np.log(budgets), ln_c, run[column].to_numpy(float), left=np.nan, right=np.nan)

"""The learning rate that a run was given, for laws of the best rate: not what its schedule has left at the end."""

from __future__ import annotations

import numpy as np
import pandas as pd
from attrs import evolve

from fvlm_core.scaling.points.points import Points


def with_chosen_rates(points: Points) -> Points:
    """The points with the highest learning rate of their run as `lr`; where that differs, a remark says so.

    From the run's curve where it is known, which holds the steps between evaluations, else from its points. A point
    that names no run keeps its own.
    """
    table = points.table
    named = (table["run"] != "").to_numpy()
    own = table["lr"].to_numpy(float)
    of_run = table.groupby(["size", "run"], observed=True)["lr"].transform("max").to_numpy(float)
    curves = pd.Series({run: curve.rates.max() for run, curve in points.curves.items()}, dtype=float)
    of_curve = curves.reindex(table["run"].astype(str)).to_numpy(float)
    highest = np.where(named, np.fmax(of_run, of_curve), own)
    runs = table.loc[highest > own * (1 + 1e-9), "run"].nunique()
    if not runs:
        return points
    remark = f"lr is the highest rate of each run, which schedules had lowered at points of {runs} runs"
    return evolve(points, table=table.assign(lr=highest), remarks=(*points.remarks, remark))

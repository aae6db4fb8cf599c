"""Points of equal compute: the groups of iso-FLOP laws."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fvlm_core.scaling.points.points import NO_COMPUTE
from fvlm_core.utils.errors import UsageError

ALIKE = 0.1
"""Points whose training FLOPs lie within this share of the smallest of a budget are of that budget."""


def with_budgets(table: pd.DataFrame, source: str) -> pd.DataFrame:
    """The table with the label of each point's compute budget, `1.6e+16`, in a column `budget`.

    Sorted by compute, a new budget begins where compute is more than `ALIKE` above the budget's first; its label is the
    median. Raises `UsageError` when points have no compute, or less than parameters.
    """
    if table["compute"].isna().any():
        raise UsageError(
            f"{source}: iso-FLOP groups need C, the training FLOPs, of every point. {NO_COMPUTE}"
        )
    if few := int((table["compute"] < table["n"]).sum()):
        raise UsageError(
            f"{source}: C of {few} of {len(table)} points is below N, and training takes many FLOPs a parameter: it is "
            "in another unit, or a logarithm.\nSay the unit (--columns C=HEADER*1e18), or write C, not its logarithm."
        )
    ordered = table.sort_values("compute", kind="stable")
    compute = ordered["compute"].to_numpy(float)
    group = np.zeros(len(compute), dtype=int)
    at = 0
    while at < len(compute):
        end = int(np.searchsorted(compute, compute[at] * (1 + ALIKE), side="right"))
        group[at:end] = at
        at = end
    label = pd.Series(compute).groupby(group).transform("median").map("{:.3g}".format).to_numpy()
    return table.assign(budget=pd.Series(label, index=ordered.index))

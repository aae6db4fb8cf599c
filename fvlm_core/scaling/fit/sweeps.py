"""Points of one sweep: those of a size that were trained on as much data in batches of one size."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.scaling.points.points import size_label

ALIKE = 0.05
"""Amounts of data, and batch sizes, within this share of the smallest of a group are one."""

BATCH = "batch"


def with_sweeps(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the label of each point's sweep in a column `sweep`: the size, and where its points differ in D or
    in a column `batch` as well, these: `135M, D = 1B, batch = 256`. What is not known does not tell sweeps apart."""
    label = table["size"].astype(str).to_numpy(object)
    for column, name in (("d", "D"), (BATCH, "batch")):
        if column not in table:
            continue
        values = table[column].to_numpy(float)
        for size in table["size"].unique():
            rows = np.flatnonzero((table["size"] == size).to_numpy() & np.isfinite(values))
            grouped = _grouped(values[rows])
            if len(np.unique(grouped)) > 1:
                label[rows] = [
                    f"{label[row]}, {name} = {size_label(at)}" for row, at in zip(rows, grouped, strict=True)
                ]
    return table.assign(sweep=label)


def _grouped(values: Any) -> Any:
    """Each value's group, by the group's smallest."""
    out = np.array(values, float)
    first = -np.inf
    for at in np.argsort(values, kind="stable"):
        if values[at] > first * (1 + ALIKE) or first == -np.inf:
            first = values[at]
        out[at] = first
    return out

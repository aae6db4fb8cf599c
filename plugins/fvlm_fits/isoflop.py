"""Approach 2 of Hoffmann et al. (2022), section 3.2: at each budget the best size, and how it grows with compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fvlm_core.plugin_api import Derived, FitModel, Parameter, Relation
from fvlm_fits.config import NoSettings
from fvlm_fits.parabola import checks, valley, valley_slopes
from fvlm_fits.windows import windows

if TYPE_CHECKING:
    import pandas as pd


def isoflop(n: Any, *, L: Any, N: Any, k: Any) -> Any:
    """L = L*(C) + k*(ln N - ln N*(C))^2

    N: parameters. For each budget of training FLOPs C, the lowest loss L* and the size N* at which it is reached.
    """
    return valley(n, L, N, k)


def gradient(n: Any, *, L: Any, N: Any, k: Any) -> dict[str, Any]:
    """dL/dL* = 1, dL/dN* = -2 k (ln N - ln N*)/N*, dL/dk = (ln N - ln N*)^2."""
    return valley_slopes(n, N, k, ("L", "N", "k"))


def believed(values: Mapping[str, float], table: pd.DataFrame) -> Sequence[str]:
    """The minimum needs a size on either side of it."""
    x, loss = (table[column].to_numpy(float) for column in ("n", "loss"))
    return checks(values, x, loss, ("N", "k"), "sizes", "n")


def data_at(n: Any, table: pd.DataFrame) -> Any:
    """D of a model of N parameters [S] under the budget of these points: C over what one unit of D costs at N, which is
    log-log linear between their sizes, and continued beyond them. NaN where the points hold no D."""
    x, cost = np.log(table["n"].to_numpy(float)), np.log((table["compute"] / table["d"]).to_numpy(float))
    known = np.isfinite(cost)
    sizes, place = np.unique(x[known], return_inverse=True)
    if len(sizes) < 2:
        return np.full(np.shape(n), np.nan)
    level = np.bincount(place, cost[known]) / np.bincount(place)
    at = np.log(n)
    left = np.clip(np.searchsorted(sizes, at) - 1, 0, len(sizes) - 2)
    slope = (level[left + 1] - level[left]) / (sizes[left + 1] - sizes[left])
    return float(table["compute"].median()) / np.exp(level[left] + slope * (at - sizes[left]))


def build(config: NoSettings) -> FitModel:
    """A parabola a budget, and N* as a power of compute over the budgets."""
    return FitModel(
        "isoflop",
        isoflop,
        (
            Parameter("L", 2.0, min=0.0, linear=True, per="budget"),
            Parameter("N", 1e8, min=0.0, log=True, per="budget"),
            Parameter("k", 0.1, min=0.0, linear=True, per="budget"),
        ),
        needs="final losses of at least three sizes at each budget of training FLOPs",
        gradient=gradient,
        points="final",
        relation=Relation(
            "N",
            "compute",
            "a",
            derived=(
                Derived("D", "b", data_at),
                Derived("D/N", "r", lambda n, table: data_at(n, table) / n),
            ),
        ),
        windows=lambda tables: windows(tables, "n"),
        checks=believed,
    )

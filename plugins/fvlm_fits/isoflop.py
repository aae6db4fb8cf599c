"""Approach 2 of Hoffmann et al. (2022), section 3.2: at each budget the best size, and how it grows with compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fvlm_core.plugin_api import FitModel, Parameter, Relation
from fvlm_fits.config import NoSettings
from fvlm_fits.parabola import checks, valley, valley_slopes

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
        relation=Relation("N", "compute", "a"),
        checks=believed,
    )

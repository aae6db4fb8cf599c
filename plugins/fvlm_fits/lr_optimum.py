"""The best learning rate of a sweep at each size, and how it falls with size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fvlm_core.plugin_api import FitModel, Parameter, Relation
from fvlm_fits.config import NoSettings
from fvlm_fits.lr_batch import BATCH, rated
from fvlm_fits.parabola import checks, valley, valley_slopes
from fvlm_fits.windows import windows

if TYPE_CHECKING:
    import pandas as pd


def optimum(lr: Any, *, L: Any, best: Any, k: Any) -> Any:
    """L = L* + k*(ln lr - ln best)^2

    lr: the learning rate of a run. For each sweep (a size on one D in one batch size), the lowest final loss L* and
    the rate at which it is reached.
    """
    return valley(lr, L, best, k)


def gradient(lr: Any, *, L: Any, best: Any, k: Any) -> dict[str, Any]:
    """dL/dL* = 1, dL/dbest = -2 k (ln lr - ln best)/best, dL/dk = (ln lr - ln best)^2."""
    return valley_slopes(lr, best, k, ("L", "best", "k"))


def believed(values: Mapping[str, float], table: pd.DataFrame) -> Sequence[str]:
    """The best rate needs one on either side of it."""
    x, loss = (table[column].to_numpy(float) for column in ("lr", "loss"))
    return checks(values, x, loss, ("best", "k"), "learning rates", "lr")


def build(config: NoSettings) -> FitModel:
    """A parabola a sweep, and the best rate as a power of N over the sizes; the rule of thumb is 1/sqrt(N)."""
    return FitModel(
        "lr-optimum",
        optimum,
        (
            Parameter("L", 2.0, min=0.0, linear=True, per="sweep"),
            Parameter("best", 1e-3, min=0.0, log=True, per="sweep"),
            Parameter("k", 0.1, min=0.0, linear=True, per="sweep"),
        ),
        needs="final losses at three or more learning rates of each size, on either side of the best",
        gradient=gradient,
        points="final",
        variables=(BATCH,),
        valid=rated,
        relation=Relation("best", "n", "exponent", expected=-0.5),
        windows=lambda tables: windows(tables, "lr"),
        checks=believed,
    )

"""The law of learning-rate annealing of Tissue, Wang and Wang (2024), "Scaling Law with Learning Rate Annealing",
arXiv 2408.11029, equation 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from scipy.signal import lfilter

from fvlm_core.plugin_api import FitModel, LRCurve, Parameter
from fvlm_fits.config import Tissue
from fvlm_fits.rates import run_rates


def annealed(s1: Any, s2: Any, *, L0: Any, A: Any, C: Any, alpha: Any) -> Any:
    """L = L0 + A*S1^-alpha - C*S2

    S1: the learning rates of all steps so far, summed. S2: how much the rate has been annealed, with a memory that
    decays by lambda a step: the sum over steps i of m_i = lambda*m_(i-1) + (rate_(i-1) - rate_i).
    """
    return L0 + A * s1**-alpha - C * s2


def slopes(s1: Any, s2: Any, *, L0: Any, A: Any, C: Any, alpha: Any) -> dict[str, Any]:
    """Derivatives of the law."""
    power = s1**-alpha
    return {"L0": np.ones_like(power), "A": power, "C": -s2, "alpha": -A * power * np.log(s1)}


def forward(table: pd.DataFrame, curves: Mapping[str, LRCurve]) -> Any:
    """S1 at each point: [n]. A warm-up counts as if it had been at its peak, as in the paper."""
    out = np.empty(len(table))
    for rows, at, rates, curve in run_rates(table, curves):
        out[rows] = np.cumsum(_without_warmup(rates, curve))[at]
    return out


def annealing(table: pd.DataFrame, curves: Mapping[str, LRCurve], decay: float) -> Any:
    """S2 at each point: [n]."""
    out = np.empty(len(table))
    for rows, at, rates, curve in run_rates(table, curves):
        rates = _without_warmup(rates, curve)
        momentum: Any = lfilter([1.0], [1.0, -decay], -np.diff(rates, prepend=rates[0]))
        out[rows] = np.cumsum(momentum)[at]
    return out


def build(config: Tissue) -> FitModel:
    """The law, fitted to each size on its own."""
    return FitModel(
        "tissue",
        annealed,
        (
            Parameter("L0", 2.0, min=0.0, linear=True, per="size"),
            Parameter("A", 0.5, min=0.0, log=True, linear=True, per="size"),
            Parameter("C", 0.5, min=0.0, log=True, linear=True, per="size"),
            Parameter("alpha", 0.5, min=0.01, max=5.0, per="size"),
        ),
        needs="runs with different learning-rate schedules, of which at least one anneals",
        gradient=slopes,
        features={"s1": forward, "s2": partial(annealing, decay=config.decay)},
    )


def _without_warmup(rates: Any, curve: LRCurve) -> Any:
    return np.where(np.arange(len(rates)) < curve.warmup, curve.rates[0], rates)

"""The multi-power law of Luo et al. (2025), "A Multi-Power Law for Loss Curve Prediction Across Learning Rate
Schedules", arXiv 2503.12811, equations 1 and 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fvlm_core.plugin_api import FitModel, Parameter
from fvlm_fits.annealing import Annealing, annealing
from fvlm_fits.config import NoSettings
from fvlm_fits.rates import summed


def multi_power(
    s1: Any, falls: Annealing, *, L0: Any, A: Any, B: Any, C: Any, alpha: Any, beta: Any, gamma: Any
) -> Any:
    """L = L0 + A*S1^-alpha - B*sum_k (eta_(k-1) - eta_k)*(1 - (1 + C*eta_k^-gamma*S_k)^-beta)

    eta_k: the learning rate at step k. S1: the rates of all steps so far, summed, warm-up included. S_k: those from
    step k on. The warm-up's rises belong to the sum.
    """
    return L0 + A * s1**-alpha - falls.drop(B, C, beta, gamma)


def slopes(
    s1: Any, falls: Annealing, *, L0: Any, A: Any, B: Any, C: Any, alpha: Any, beta: Any, gamma: Any
) -> dict[str, Any]:
    """Derivatives of the law."""
    power = s1**-alpha
    drop = {name: -slope for name, slope in falls.slopes(B, C, beta, gamma).items()}
    return {"L0": np.ones_like(power), "A": power, "alpha": -A * power * np.log(s1), **drop}


def build(config: NoSettings) -> FitModel:
    """The law, fitted to each size on its own."""
    return FitModel(
        "multi-power",
        multi_power,
        (
            Parameter("L0", 2.0, min=0.0, linear=True, per="size"),
            Parameter("A", 0.5, min=0.0, log=True, linear=True, per="size"),
            Parameter("B", 300.0, min=0.0, log=True, linear=True, per="size"),
            Parameter("C", 2.0, min=0.0, log=True, per="size"),
            Parameter("alpha", 0.5, min=0.01, max=5.0, per="size"),
            Parameter("beta", 0.5, min=0.01, max=5.0, per="size"),
            Parameter("gamma", 0.5, min=0.0, max=2.0, per="size"),
        ),
        needs="runs with different learning-rate schedules that anneal to different rates",
        gradient=slopes,
        features={"s1": summed, "falls": annealing},
    )

"""The parametric law of Hoffmann et al. (2022), "Training Compute-Optimal Large Language Models", equation 2."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvlm_core.plugin_api import FitModel, Parameter
from fvlm_fits.config import NoSettings


def chinchilla(n: Any, d: Any, *, E: Any, A: Any, B: Any, alpha: Any, beta: Any) -> Any:
    """L = E + A/N^alpha + B/D^beta

    N: parameters of the whole model. D: training samples seen. E is the loss of an infinite model with infinite data.
    """
    return E + A * np.exp(-alpha * np.log(n)) + B * np.exp(-beta * np.log(d))


def gradient(n: Any, d: Any, *, E: Any, A: Any, B: Any, alpha: Any, beta: Any) -> dict[str, Any]:
    """dL/dE = 1, dL/dA = N^-alpha, dL/dalpha = -A N^-alpha ln N, and the same of B, D and beta."""
    ln_n, ln_d = np.log(n), np.log(d)
    size, data = np.exp(-alpha * ln_n), np.exp(-beta * ln_d)
    return {"E": np.ones_like(E), "A": size, "B": data, "alpha": -A * size * ln_n, "beta": -B * data * ln_d}


def floors(d: Any, *, floor: Any, B: Any, beta: Any) -> Any:
    """L = floor(size) + B/D^beta

    The same law with E + A/N^alpha as one free number a size: what the points tell when they have too few sizes.
    """
    return floor + B * np.exp(-beta * np.log(d))


def floors_gradient(d: Any, *, floor: Any, B: Any, beta: Any) -> dict[str, Any]:
    """dL/dfloor = 1, dL/dB = D^-beta, dL/dbeta = -B D^-beta ln D."""
    ln_d = np.log(d)
    data = np.exp(-beta * ln_d)
    return {"floor": np.ones_like(floor), "B": data, "beta": -B * data * ln_d}


def build(config: NoSettings) -> FitModel:
    """The joint law; with too few sizes for it, one floor a size and a shared B and beta."""
    B = Parameter("B", 400.0, min=0.0, log=True, linear=True)
    beta = Parameter("beta", 0.3, min=0.01, max=5.0)
    return FitModel(
        "joint-chinchilla",
        chinchilla,
        (
            Parameter("E", 1.0, min=0.0, linear=True),
            Parameter("A", 400.0, min=0.0, log=True, linear=True),
            B,
            Parameter("alpha", 0.3, min=0.01, max=5.0),
            beta,
        ),
        needs="points of at least three model sizes",
        reduced=FitModel(
            "floor-per-size",
            floors,
            (Parameter("floor", 1.0, min=0.0, linear=True, per="size"), B, beta),
            needs="points at three or more amounts of data",
            gradient=floors_gradient,
        ),
        gradient=gradient,
    )

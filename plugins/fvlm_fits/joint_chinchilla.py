"""The parametric law of Hoffmann et al. (2022), "Training Compute-Optimal Large Language Models", equation 2."""

from __future__ import annotations

from typing import Any

from fvlm_core.interfaces import FitModel, Parameter
from fvlm_fits.config import JointChinchilla


def chinchilla(n: Any, d: Any, *, E: Any, A: Any, B: Any, alpha: Any, beta: Any) -> Any:
    """L = E + A/N^alpha + B/D^beta

    N: parameters of the whole model. D: training samples seen. E is the loss of an infinite model with infinite data.
    """
    return E + A / n**alpha + B / d**beta


def floors(d: Any, *, floor: Any, B: Any, beta: Any) -> Any:
    """L = floor(size) + B/D^beta

    The same law with E + A/N^alpha as one free number a size: what the points tell when they have too few sizes.
    """
    return floor + B / d**beta


def build(config: JointChinchilla) -> FitModel:
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
        ),
    )

"""The law of Kaplan et al. (2020), "Scaling Laws for Neural Language Models", arXiv 2001.08361, equation 1.5."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvlm_core.plugin_api import FitModel, Parameter
from fvlm_fits.config import NoSettings


def kaplan(n: Any, d: Any, *, Nc: Any, Dc: Any, aN: Any, aD: Any) -> Any:
    """L = ((Nc/N)^(aN/aD) + Dc/D)^aD

    N: parameters (non-embedding in the paper). D: training samples seen (tokens in the paper). It has no floor: the
    loss of an infinite model with infinite data is 0.
    """
    return (np.exp(aN / aD * np.log(Nc / n)) + Dc / d) ** aD


def gradient(n: Any, d: Any, *, Nc: Any, Dc: Any, aN: Any, aD: Any) -> dict[str, Any]:
    """With x = (Nc/N)^(aN/aD), y = Dc/D: dL/dx = dL/dy = aD (x + y)^(aD - 1)."""
    reach = np.log(Nc / n)
    x, y = np.exp(aN / aD * reach), Dc / d
    loss = (x + y) ** aD
    inner = aD * loss / (x + y)
    return {
        "Nc": inner * x * aN / aD / Nc,
        "Dc": inner / d,
        "aN": inner * x * reach / aD,
        "aD": loss * np.log(x + y) - inner * x * reach * aN / aD**2,
    }


def build(config: NoSettings) -> FitModel:
    """The law; guesses are the paper's exponents (.076 and .095), scales of small models."""
    return FitModel(
        "kaplan",
        kaplan,
        (
            Parameter("Nc", 1e13, min=0.0, log=True),
            Parameter("Dc", 1e12, min=0.0, log=True),
            Parameter("aN", 0.076, min=0.001, max=2.0),
            Parameter("aD", 0.095, min=0.001, max=2.0),
        ),
        needs="points of at least two model sizes, each at two or more amounts of data",
        gradient=gradient,
    )

"""The law of over-training of Gadre et al. (2024), "Language models scale reliably with over-training and on downstream
tasks", arXiv 2403.08540, equation 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fvlm_core.plugin_api import FitModel, Parameter
from fvlm_fits.config import NoSettings


def overtrained(n: Any, d: Any, *, E: Any, a: Any, b: Any, c: Any) -> Any:
    """L = E + a*N^-c + b*6^(-c/2)*D^-c

    N: parameters. D: training samples (tokens in the paper) = M*N with M the over-training multiplier. The paper
    writes it in C = 6ND and M with the exponent eta = c/2 of both: E + (a' M^eta + b' M^-eta) C^-eta.
    """
    return E + a * np.exp(-c * np.log(n)) + b * np.exp(-c * np.log(d * np.sqrt(6.0)))


def gradient(n: Any, d: Any, *, E: Any, a: Any, b: Any, c: Any) -> dict[str, Any]:
    """dL/dE = 1, dL/da = N^-c, dL/db = (sqrt(6) D)^-c, dL/dc = -a N^-c ln N - b (sqrt(6) D)^-c ln(sqrt(6) D)."""
    ln_n, ln_d = np.log(n), np.log(d * np.sqrt(6.0))
    size, data = np.exp(-c * ln_n), np.exp(-c * ln_d)
    return {"E": np.ones_like(E), "a": size, "b": data, "c": -a * size * ln_n - b * data * ln_d}


def build(config: NoSettings) -> FitModel:
    """The law with four parameters."""
    return FitModel(
        "gadre",
        overtrained,
        (
            Parameter("E", 1.5, min=0.0, linear=True),
            Parameter("a", 150.0, min=0.0, log=True, linear=True),
            Parameter("b", 350.0, min=0.0, log=True, linear=True),
            Parameter("c", 0.25, min=0.01, max=5.0),
        ),
        needs="points of at least three model sizes, of which one at another D/N than the rest",
        gradient=gradient,
        points="final",
    )

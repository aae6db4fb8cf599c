"""The joint law with one exponent for size and data: what few sizes can tell of Hoffmann et al. (2022), equation 2."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvlm_core.plugin_api import FitModel, Parameter
from fvlm_fits.config import NoSettings


def tied(n: Any, d: Any, *, E: Any, A: Any, B: Any, alpha: Any) -> Any:
    """L = E + A/N^alpha + B/D^alpha

    N: parameters. D: training samples seen. The optimum then keeps D/N constant: N* and D* grow as C^(1/2).
    """
    return E + A * np.exp(-alpha * np.log(n)) + B * np.exp(-alpha * np.log(d))


def gradient(n: Any, d: Any, *, E: Any, A: Any, B: Any, alpha: Any) -> dict[str, Any]:
    """dL/dE = 1, dL/dA = N^-alpha, dL/dB = D^-alpha, dL/dalpha = -A N^-alpha ln N - B D^-alpha ln D."""
    ln_n, ln_d = np.log(n), np.log(d)
    size, data = np.exp(-alpha * ln_n), np.exp(-alpha * ln_d)
    return {"E": np.ones_like(E), "A": size, "B": data, "alpha": -A * size * ln_n - B * data * ln_d}


def build(config: NoSettings) -> FitModel:
    """The law with four parameters."""
    return FitModel(
        "joint-tied",
        tied,
        (
            Parameter("E", 1.0, min=0.0, linear=True),
            Parameter("A", 400.0, min=0.0, log=True, linear=True),
            Parameter("B", 400.0, min=0.0, log=True, linear=True),
            Parameter("alpha", 0.3, min=0.01, max=5.0),
        ),
        needs="points of at least three model sizes",
        gradient=gradient,
    )

"""A power of the data with a floor, fitted for each model size on its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from fvlm_core.plugin_api import FitModel, Parameter
from fvlm_fits.config import NoSettings


def power_law(d: Any, *, a: Any, b: Any, E: Any) -> Any:
    """L = a*D^-b + E

    D: training samples seen. E is the loss that no amount of data removes at this size.
    """
    return a * np.exp(-b * np.log(d)) + E


def gradient(d: Any, *, a: Any, b: Any, E: Any) -> dict[str, Any]:
    """dL/da = D^-b, dL/db = -a D^-b ln D, dL/dE = 1."""
    ln_d = np.log(d)
    power = np.exp(-b * ln_d)
    return {"a": power, "b": -a * power * ln_d, "E": np.ones_like(E)}


def build(config: NoSettings) -> FitModel:
    """The law with one a, b and E a size."""
    return FitModel(
        "per-size",
        power_law,
        (
            Parameter("a", 100.0, min=0.0, log=True, linear=True, per="size"),
            Parameter("b", 0.5, min=0.01, max=5.0, per="size"),
            Parameter("E", 1.0, min=0.0, linear=True, per="size"),
        ),
        needs="points at three or more amounts of data, far enough apart for the loss to bend",
        gradient=gradient,
    )

"""The law of Li et al. (2025), "Predictable Scale: Part II, Farseer", arXiv 2506.10972: each term of the joint law
changes with size as the exponential of a power.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fvlm_core.plugin_api import FitModel, Parameter
from fvlm_fits.config import NoSettings


def farseer(n: Any, d: Any, *, s: Any, q: Any, S: Any, B: Any, b: Any, Q: Any, A: Any, a: Any, E: Any) -> Any:
    """L = exp(s*N^q + S) + exp(B*N^b + Q)*D^-exp(A*N^a + E)

    N: parameters. D: training samples (tokens in the paper). The first term is the loss of a size with endless data;
    the others are how far data bring it there, and how fast.
    """
    ln_n = np.log(n)
    floor = np.exp(s * np.exp(q * ln_n) + S)
    fall = np.exp(A * np.exp(a * ln_n) + E)
    return floor + np.exp(B * np.exp(b * ln_n) + Q - fall * np.log(d))


def gradient(
    n: Any, d: Any, *, s: Any, q: Any, S: Any, B: Any, b: Any, Q: Any, A: Any, a: Any, E: Any
) -> dict[str, Any]:
    """With f the first term, g the second and h = exp(A*N^a + E): df/dS = f, dg/dQ = g, dg/dE = -g h ln D, each times
    N^q (or N^q s ln N for the exponent) for the parameters inside.
    """
    ln_n, ln_d = np.log(n), np.log(d)
    of_floor, of_scale, of_fall = np.exp(q * ln_n), np.exp(b * ln_n), np.exp(a * ln_n)
    floor, fall = np.exp(s * of_floor + S), np.exp(A * of_fall + E)
    data = np.exp(B * of_scale + Q - fall * ln_d)
    slower = -data * fall * ln_d
    return {
        "s": floor * of_floor,
        "q": floor * s * of_floor * ln_n,
        "S": floor,
        "B": data * of_scale,
        "b": data * B * of_scale * ln_n,
        "Q": data,
        "A": slower * of_fall,
        "a": slower * A * of_fall * ln_n,
        "E": slower,
    }


def build(config: NoSettings) -> FitModel:
    """The law with nine parameters. Bounds hold each term to its part: the first two fall with N, the last rises."""
    return FitModel(
        "farseer",
        farseer,
        (
            Parameter("s", -0.5, min=-3.0, max=0.0),
            Parameter("q", 0.07, min=0.02, max=0.4),
            Parameter("S", 0.5, min=-3.0, max=5.0),
            Parameter("B", 80.0, min=1.0, max=2000.0, log=True),
            Parameter("b", -0.1, min=-0.4, max=-0.02),
            Parameter("Q", -3.0, min=-10.0, max=5.0),
            Parameter("A", -0.5, min=-50.0, max=0.0),
            Parameter("a", 0.08, min=0.001, max=0.4),
            Parameter("E", 1.0, min=-3.0, max=60.0),
        ),
        needs="points of many sizes, each at four or more amounts of data",
        gradient=gradient,
    )

"""The best learning rate and batch of a size and its data, and what it costs to miss them: Li et al. (2025),
"Predictable Scale: Part I, Step Law", arXiv 2503.04715, equation 1, in a basin that is a parabola of both logarithms.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.plugin_api import FitModel, Parameter, UsageError, Variable
from fvlm_fits.config import NoSettings

BATCH = Variable(
    "batch",
    "",
    "batch size, in the unit of D",
    headers=("batch_size", "global_batch_size", "batch_tokens", "bs", "training.batch_size"),
    of_d=True,
)


def rated(table: pd.DataFrame) -> None:
    """Raise `UsageError` for runs whose learning rate is 0: it has no logarithm. A column of last rates, which cosine
    schedules end at 0, is no column of peaks."""
    if none := int((table["lr"] == 0).sum()):
        raise UsageError(
            f"the learning rate of {none} of {len(table)} points is 0, which has no logarithm: the law reads the rate "
            'that a run was given. Leave them out (--where "lr > 0"), or say which column it is: --columns lr=HEADER'
        )


def basin(
    n: Any,
    d: Any,
    lr: Any,
    batch: Any,
    *,
    E: Any,
    A: Any,
    alpha: Any,
    B: Any,
    beta: Any,
    k: Any,
    m: Any,
    c: Any,
    p: Any,
    q: Any,
    g: Any,
    r: Any,
) -> Any:
    """L = E + A/N^alpha + B/D^beta + k*ln^2(lr/(c*N^p*D^q)) + m*ln^2(batch/(g*D^r))

    N: parameters (non-embedding in the paper). D: training samples (tokens). The best rate is c*N^p*D^q and the best
    batch g*D^r; 1.79, -.713, .307 and .58, .571 in the paper.
    """
    ln_n, ln_d = np.log(n), np.log(d)
    rate = np.log(lr) - np.log(c) - p * ln_n - q * ln_d
    size = np.log(batch) - np.log(g) - r * ln_d
    return E + A * np.exp(-alpha * ln_n) + B * np.exp(-beta * ln_d) + k * rate**2 + m * size**2


def gradient(
    n: Any,
    d: Any,
    lr: Any,
    batch: Any,
    *,
    E: Any,
    A: Any,
    alpha: Any,
    B: Any,
    beta: Any,
    k: Any,
    m: Any,
    c: Any,
    p: Any,
    q: Any,
    g: Any,
    r: Any,
) -> dict[str, Any]:
    """As of the joint law; with x the logarithm that k multiplies, dL/dk = x^2, dL/dc = -2 k x/c, dL/dp = -2 k x ln
    N."""
    ln_n, ln_d = np.log(n), np.log(d)
    rate = np.log(lr) - np.log(c) - p * ln_n - q * ln_d
    size = np.log(batch) - np.log(g) - r * ln_d
    of_n, of_d = np.exp(-alpha * ln_n), np.exp(-beta * ln_d)
    return {
        "E": np.ones_like(rate + size), "A": of_n, "alpha": -A * of_n * ln_n, "B": of_d, "beta": -B * of_d * ln_d,
        "k": rate**2, "m": size**2,
        "c": -2 * k * rate / c, "p": -2 * k * rate * ln_n, "q": -2 * k * rate * ln_d,
        "g": -2 * m * size / g, "r": -2 * m * size * ln_d,
    }  # fmt: skip


def build(config: NoSettings) -> FitModel:
    """The law with twelve parameters; guesses of the optimum are the paper's."""
    return FitModel(
        "lr-batch",
        basin,
        (
            Parameter("E", 1.0, min=0.0, linear=True),
            Parameter("A", 400.0, min=0.0, log=True, linear=True),
            Parameter("alpha", 0.3, min=0.01, max=5.0),
            Parameter("B", 400.0, min=0.0, log=True, linear=True),
            Parameter("beta", 0.3, min=0.01, max=5.0),
            Parameter("k", 0.02, min=0.0, log=True, linear=True),
            Parameter("m", 0.02, min=0.0, log=True, linear=True),
            Parameter("c", 1.79, min=0.0, log=True),
            Parameter("p", -0.713, min=-2.0, max=1.0),
            Parameter("q", 0.307, min=-1.0, max=2.0),
            Parameter("g", 0.58, min=0.0, log=True),
            Parameter("r", 0.571, min=-1.0, max=2.0),
        ),
        needs="final losses at three or more rates and batches of three or more sizes and amounts of data that do "
        "not go together",
        gradient=gradient,
        points="final",
        variables=(BATCH,),
        valid=rated,
    )

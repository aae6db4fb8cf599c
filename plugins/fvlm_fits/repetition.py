"""The data-constrained law of Muennighoff et al. (2023), "Scaling Data-Constrained Language Models", arXiv 2305.16264,
equations 5 and 6 of its section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.plugin_api import FitModel, LRCurve, Parameter, UsageError
from fvlm_fits.config import Repetition

COLUMN = "unique"


def repeated(n: Any, d: Any, unique: Any, *, E: Any, A: Any, B: Any, alpha: Any, beta: Any, R: Any) -> Any:
    """L = E + A/N^alpha + B/D'^beta, D' = U + U*R*(1 - exp(-(D/U - 1)/R))

    N: parameters. D: training samples seen. U: different samples among them (D where none was repeated). R: how many
    repetitions are worth about as much as new data; afterwards they are worth little.
    """
    return E + A * np.exp(-alpha * np.log(n)) + B * np.exp(-beta * np.log(effective(d, unique, R)))


def oversized(
    n: Any, d: Any, unique: Any, *, E: Any, A: Any, B: Any, alpha: Any, beta: Any, R: Any, RN: Any
) -> Any:
    """L = E + A/N'^alpha + B/D'^beta, N' = UN + UN*RN*(1 - exp(-(N/UN - 1)/RN)), D' the same of D and U

    As above, and parameters beyond UN, the compute-optimal size for U samples without repetition (N where that is
    less), count less as well: RN is how many times as many are worth about as much. 5.31 in the paper.
    """
    best = np.maximum(best_size(unique, A, B, alpha, beta), 1.0)  # far from the points it can underflow
    worth = effective(n, np.minimum(n, best), RN)
    return E + A * np.exp(-alpha * np.log(worth)) + B * np.exp(-beta * np.log(effective(d, unique, R)))


def best_size(d: Any, A: Any, B: Any, alpha: Any, beta: Any) -> Any:
    """N at which the joint law makes the best of training on D with C = 6ND: G (G D)^(beta/alpha), with
    G = (alpha A/(beta B))^(1/(alpha + beta)) (Hoffmann et al. 2022, equation 4)."""
    ln_g = np.log(alpha * A / (beta * B)) / (alpha + beta)
    return np.exp(ln_g + beta / alpha * (ln_g + np.log(d)))


def effective(d: Any, unique: Any, R: Any) -> Any:
    """D': the amount of new data that D samples with repetitions are worth."""
    return unique - unique * R * np.expm1(-(d / unique - 1) / R)


def gradient(
    n: Any, d: Any, unique: Any, *, E: Any, A: Any, B: Any, alpha: Any, beta: Any, R: Any
) -> dict[str, Any]:
    """As of the joint law with D' for D; dL/dR = -beta B D'^(-beta-1) dD'/dR."""
    worth = effective(d, unique, R)
    ln_n, ln_d = np.log(n), np.log(worth)
    size, data = np.exp(-alpha * ln_n), np.exp(-beta * ln_d)
    again = (d / unique - 1) / R
    by_r = unique * (-np.expm1(-again) - again * np.exp(-again))
    return {
        "E": np.ones_like(E),
        "A": size,
        "B": data,
        "alpha": -A * size * ln_n,
        "beta": -B * data * ln_d,
        "R": -beta * B * data / worth * by_r,
    }


def unique_samples(table: pd.DataFrame, _: Mapping[str, LRCurve], number: float) -> Any:
    """U of each point: [n]. From the column `unique`, or `number` for all; never more than D."""
    d = table["d"].to_numpy(float)
    if number:
        return np.minimum(number, d)
    if COLUMN not in table:
        raise UsageError(
            f"the law needs the number of different samples of every run.\nAdd a column {COLUMN}, say which "
            f"it is (--columns {COLUMN}=HEADER), or set unique_samples in the recipe's fit."
        )
    found = table[COLUMN].to_numpy(float)
    if np.isnan(found).any() or (found <= 0).any():
        raise UsageError(f"column {COLUMN}: expected a positive number of different samples for every point")
    return np.minimum(found, d)


def build(config: Repetition) -> FitModel:
    """The law with a value R of repetitions; the paper's value for text is 15.4."""
    # Starts lie evenly in the logarithm: A and B are no longer found for each by least squares.
    bounds: dict[str, Any] = {"max": 2.0, "log": True} if config.excess else {"max": 5.0}
    exponent = partial(Parameter, guess=0.3, min=0.01, **bounds)
    affine = not config.excess  # N' goes with A and B through UN.
    excess = (Parameter("RN", 5.0, min=0.01, max=1e4, log=True),) if config.excess else ()
    return FitModel(
        "repetition",
        oversized if config.excess else repeated,
        (
            Parameter("E", 1.0, min=0.0, linear=True),
            Parameter("A", 400.0, min=0.0, log=True, linear=affine),
            Parameter("B", 400.0, min=0.0, log=True, linear=affine),
            exponent("alpha"),
            exponent("beta"),
            Parameter("R", 15.0, min=0.01, max=1e4, log=True),
            *excess,
        ),
        needs="points of at least three model sizes, and runs that repeat their data beside runs that do not",
        gradient=None if config.excess else gradient,
        features={"unique": partial(unique_samples, number=config.unique_samples)},
        reads=() if config.unique_samples else (COLUMN,),
    )

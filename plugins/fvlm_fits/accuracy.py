"""The accuracy of a benchmark: the second of the two steps from compute to it, a sigmoid of the loss (Bhagia et al.
2024, "Establishing Task Scaling Laws via Compute-Efficient Model Ladders", arXiv 2412.04403, equation 3), and the law
of its negative logarithm, -ln Q = A/C^a.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fvlm_core.plugin_api import FitModel, Parameter, Variable
from fvlm_fits.config import Accuracy

ACCURACY = Variable(
    "accuracy",
    "",
    "accuracy",
    positive=False,
    rising=True,
    headers=("acc", "acc_norm", "score", "primary_score"),
)


def sigmoid(loss: Any, *, a: Any, k: Any, L0: Any, b: Any) -> Any:
    """Q = a/(1 + exp(k*(L - L0))) + b

    L: the loss of the task, or another that goes with it. b: where the accuracy begins (chance), a: by how much it can
    rise, L0: the loss half way, k: how steep. The first step, the loss of N and D, is another law's.
    """
    return a / (1 + np.exp(k * (loss - L0))) + b


def sigmoid_slopes(loss: Any, *, a: Any, k: Any, L0: Any, b: Any) -> dict[str, Any]:
    """With y = 1/(1 + exp(k(L - L0))): dQ/da = y, dQ/dk = -a y (1 - y)(L - L0), dQ/dL0 = a y (1 - y) k, dQ/db = 1."""
    share = 1 / (1 + np.exp(k * (loss - L0)))
    bend = a * share * (1 - share)
    return {"a": share, "k": -bend * (loss - L0), "L0": bend * k, "b": np.ones_like(share)}


def power(compute: Any, *, A: Any, a: Any) -> Any:
    """Q = exp(-A/C^a)

    C: training FLOPs. The negative logarithm of the accuracy falls as a power of compute, from chance left out of it.
    """
    return np.exp(-A * np.exp(-a * np.log(compute)))


def power_slopes(compute: Any, *, A: Any, a: Any) -> dict[str, Any]:
    """dQ/dA = -Q C^-a, dQ/da = Q A C^-a ln C."""
    ln_c = np.log(compute)
    fall = np.exp(-a * ln_c)
    found = np.exp(-A * fall)
    return {"A": -found * fall, "a": found * A * fall * ln_c}


def build(config: Accuracy) -> FitModel:
    """Of the loss, or of compute."""
    if config.of == "compute":
        return FitModel(
            "accuracy",
            power,
            (Parameter("A", 100.0, min=0.0, log=True), Parameter("a", 0.1, min=0.001, max=2.0)),
            needs="accuracies at two or more amounts of training FLOPs",
            gradient=power_slopes,
            target="accuracy",
            variables=(ACCURACY,),
            points="final",
        )
    return FitModel(
        "accuracy",
        sigmoid,
        (
            Parameter("a", 0.7, min=0.0, max=2.0, linear=True),
            Parameter("k", 4.0, min=0.05, max=200.0, log=True),
            Parameter("L0", 1.5, min=0.0, max=20.0),
            Parameter("b", 0.25, min=-0.5, max=1.0, linear=True),
        ),
        needs="accuracies at four or more losses, on both sides of the steepest",
        gradient=sigmoid_slopes,
        target="accuracy",
        variables=(ACCURACY,),
    )

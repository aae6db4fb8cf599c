"""A straight line as a law: what least squares, Student's t and leverages say of it is in every textbook."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fvlm_core.plugin_api import FitModel, Parameter
from fvlm_core.scaling.fit.objective import FitObjective
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.solver import Solution

Floats = NDArray[np.float64]


def line(d: Any, *, a: Any, b: Any) -> Any:
    """L = a + b ln D"""
    return a + b * np.log(d)


def slopes(d: Any, *, a: Any, b: Any) -> dict[str, Any]:
    return {"a": np.ones_like(d) + 0 * a, "b": np.log(d) + 0 * b}


def constant(d: Any, *, level: Any) -> Any:
    """L = level"""
    return level + 0 * np.asarray(d)


LINE = FitModel(
    "line", line, (Parameter("a", 1.0, linear=True), Parameter("b", 0.1, linear=True)), gradient=slopes
)
MEAN = FitModel("mean", constant, (Parameter("level", 1.0, min=0.0, linear=True),))


def table(d: Any, loss: Any) -> pd.DataFrame:
    """Points of one size that name no run: d, loss [n]."""
    return pd.DataFrame({"n": 1e6, "d": d, "loss": loss, "size": "1M", "run": ""})


def solved(model: FitModel, points: pd.DataFrame, best: Any) -> tuple[FitProblem, Solution]:
    """A law at its optimum of squares, which somebody else has found. best: [P]."""
    problem = FitProblem(model, FitObjective("mse"), points)
    values = np.asarray(best, float)
    apart = problem.predict(values[None])[0] - problem.loss
    bounds = (None,) * len(values)
    return problem, Solution(values, problem.search(values), float(apart @ apart), bounds, 0.0)


def hat(design: Floats) -> tuple[Floats, Floats]:
    """From losses to parameters, [P, n], and the leverage of each point, [n]. design: [n, P]."""
    to = np.linalg.inv(design.T @ design) @ design.T
    return to, np.diag(design @ to)

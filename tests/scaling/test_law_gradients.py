"""Every law's own derivatives are those of its formula."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from attrs import evolve

from fvlm_core.plugin_api import LRCurve
from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.scaling.fit.objective import FitObjective, ObjectiveName
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_registry import registry

LAWS = [
    offer.component.name
    for offer in registry().offered("fit")
    if offer.component.target.startswith("fvlm_fits.")
]
CURVES = {
    "a": LRCurve(np.array([10.0, 400.0]), np.array([1e-3, 1e-3]), 10),
    "b": LRCurve(np.array([10.0, 100.0, 400.0]), np.array([1e-3, 1e-3, 0.0]), 10),
    "c": LRCurve(np.array([10.0, 190.0, 200.0, 210.0, 400.0]), np.array([1e-3, 1e-3, 1e-4, 1e-4, 1e-4]), 10),
}


def table() -> pd.DataFrame:
    """Three runs of three sizes, with everything that a law may read."""
    rows = [
        {"n": n, "d": 32.0 * step, "step": float(step), "run": run, "size": size, "lr": lr, "schedule": ""}
        for (run, size, n, lr) in (("a", "1M", 1e6, 1e-3), ("b", "3M", 3e6, 3e-3), ("c", "9M", 9e6, 1e-2))
        for step in (20, 60, 150, 200, 260, 400)
    ]
    points = pd.DataFrame(rows)
    points["compute"] = 6 * points["n"] * points["d"]
    points["budget"] = points["step"].map("{:g}".format)
    points["sweep"] = points["size"]
    points["unique"] = 2000.0
    points["loss"] = 2.0 + 20 / points["d"] ** 0.5
    for at, name in enumerate(("V", "T", "batch", "accuracy", "p1", "p2", "p3")):
        points["domain"] = points["size"]
        points[name] = np.exp(np.random.default_rng(at).uniform(-1.0, 1.0, len(points)))
    proportions = points[["p1", "p2", "p3"]]
    points[["p1", "p2", "p3"]] = proportions.div(proportions.sum(axis=1), axis=0)
    return points


@pytest.mark.parametrize("objective", ["mse", "log-huber"])
@pytest.mark.parametrize("law", LAWS)
def test_gradient_agrees_with_central_differences(law: str, objective: ObjectiveName) -> None:
    model = load_model(law)
    assert model.gradient is not None
    problem = FitProblem(model, FitObjective(objective), table(), CURVES)
    plain = FitProblem(evolve(model, gradient=None), FitObjective(objective), table(), CURVES)
    near = np.random.default_rng(0).uniform(-0.2, 0.2, (3, len(problem.slots)))
    guess = problem.search(problem.guess())
    theta = np.clip(guess + near * np.maximum(np.abs(guess), 0.3), problem.lower, problem.upper)
    exact, measured = problem.jacobian(theta), plain.jacobian(theta)
    size = np.abs(measured).max(axis=2, keepdims=True)
    assert np.isfinite(problem.predict(problem.values(theta))).all()
    annealing = [
        at for at, slot in enumerate(problem.slots) if slot.name != "C[1M]"
    ]  # its run does not anneal
    assert (size.max(axis=(0, 2))[annealing] > 0).all()
    assert exact == pytest.approx(measured, rel=1e-5, abs=float(1e-6 * size.max()))


@pytest.mark.parametrize("offsets", [False, True])
@pytest.mark.parametrize("objective", ["mse", "log-huber"])
def test_derivatives_are_the_same_where_the_prediction_is_known(
    objective: ObjectiveName, offsets: bool
) -> None:
    points = table().assign(size="all")
    problem = FitProblem(
        load_model("joint-chinchilla"), FitObjective(objective), points, CURVES, offsets=offsets
    )
    theta = problem.search(problem.guess())[None] + 0.1
    predicted = problem.predict(problem.values(theta))
    assert np.array_equal(problem.jacobian(theta, predicted), problem.jacobian(theta))

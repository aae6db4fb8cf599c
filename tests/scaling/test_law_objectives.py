"""The joint law under every objective against values computed independently, on Hoffmann et al.'s points."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.scaling.fit.objective import FitObjective
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.solver import solve

TOLERANCE = {"A": 1.0, "B": 5.0, "E": 2e-4, "alpha": 2e-4, "beta": 2e-4}
"""Absolute."""

NO_DELTA = 0.5
"""What is published for the log squares is a Huber loss that is half the square."""

CASES = {
    "ours_240_logHuber1e-3": (FitObjective("log-huber"), 240, 1.0),
    "ours_240_logHuber_delta_0.01": (FitObjective("log-huber", 1e-2), 240, 1.0),
    "ours_240_logHuber_delta_0.0001": (FitObjective("log-huber", 1e-4), 240, 1.0),
    "ours_240_logHuber_delta_1e-06": (FitObjective("log-huber", 1e-6), 240, 1.0),
    "ours_240_logHuber_delta_10": (FitObjective("log-mse"), 240, NO_DELTA),
    "ours_245_logHuber1e-3": (FitObjective("log-huber"), 245, 1.0),
    "ours_240_loss_L2_VPNLS": (FitObjective("mse"), 240, 1.0),
}


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "data/epoch_chinchilla"


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "expected.json").read_text())


@pytest.fixture(scope="module")
def points(folder: Path) -> pd.DataFrame:
    raw = pd.read_csv(folder / "svg_extracted_data.csv")
    n = raw["Model Size"]
    return pd.DataFrame({"n": n, "d": raw["Training FLOP"] / (6 * n), "loss": raw["loss"]})


def chosen(points: pd.DataFrame, count: int) -> pd.DataFrame:
    """Without the largest losses."""
    return points.nsmallest(count, "loss")


def solved(points: pd.DataFrame, objective: FitObjective) -> tuple[dict[str, float], float]:
    problem = FitProblem(load_model("joint-chinchilla"), objective, points)
    solution = solve(problem)
    values = {slot.name: float(value) for slot, value in zip(problem.slots, solution.values, strict=True)}
    return values, solution.total


@pytest.mark.parametrize("name", CASES)
def test_joint_law_reaches_the_known_optimum(
    name: str, points: pd.DataFrame, expected: dict[str, Any]
) -> None:
    objective, count, unit = CASES[name]
    known = expected[name]
    values, total = solved(chosen(points, count), objective)
    assert unit * total <= known.get("objective_sum", known.get("rss")) * (1 + 1e-7)
    for parameter, tolerance in TOLERANCE.items():
        assert values[parameter] == pytest.approx(known[parameter], abs=tolerance), parameter


def test_least_absolute_deviations_reach_the_values_that_the_paper_prints(
    points: pd.DataFrame, expected: dict[str, Any]
) -> None:
    values, _ = solved(chosen(points, 240), FitObjective("log-lad"))
    known = expected["published_notebook_sigma_free"]
    for parameter, tolerance in TOLERANCE.items():
        assert values[parameter] == pytest.approx(known[parameter], abs=tolerance), parameter


def test_rounded_published_parameters_are_far_from_the_optimum(
    points: pd.DataFrame, expected: dict[str, Any]
) -> None:
    problem = FitProblem(load_model("joint-chinchilla"), FitObjective("log-huber"), chosen(points, 240))
    for name in ("hoffmann_rounded", "published_notebook_grid_L_BFGS_B"):
        known = expected[name]
        values = problem.search(
            pd.Series({slot.name: known[slot.name] for slot in problem.slots}).to_numpy()[None]
        )
        total = float(problem.total(problem.residuals(values))[0])
        assert total == pytest.approx(known.get("objective_sum_here", known.get("objective_sum")), rel=1e-5)

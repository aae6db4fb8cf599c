"""Laws of the learning-rate schedule against published loss curves (Luo et al. 2025) and exact sums."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fvlm_core.plugin_api import LRCurve, UsageError
from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.scaling.fit.objective import FitObjective
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.solver import solve

LAST_OF_RAMP = 2159
"""The published warm-up: 2160 rates from 0 to the peak, so that step 2159 is the first at the peak."""

SIZES = ("25", "100")
MOST = {"25": 1.91e-4, "100": 1.03e-4}
"""What a converged fit reaches on the three training curves."""


def curves(folder: Path, size: str, files: list[str]) -> tuple[pd.DataFrame, dict[str, LRCurve]]:
    """Points and learning rates of some files, without the rows at step 24,000 that the published loader leaves out."""
    tables: list[pd.DataFrame] = []
    rates: dict[str, LRCurve] = {}
    for file in files:
        table = pd.read_csv(folder / f"csv_{size}" / file).astype(float)
        table = table[table["step"] != 24_000]
        rates[file] = LRCurve(table["step"].to_numpy(), table["lr"].to_numpy(), LAST_OF_RAMP)
        tables.append(table.assign(run=file, size=size, n=float(size) * 1e6, d=table["step"], schedule=""))
    return pd.concat(tables, ignore_index=True), rates


def errors(predicted: Any, table: pd.DataFrame) -> dict[str, float]:
    """The four published measures, each a mean over curves."""
    of_curves: list[dict[str, float]] = []
    for rows in table.groupby("run", sort=False).indices.values():
        loss = table["loss"].to_numpy()[rows]
        apart = predicted[rows] - loss
        of_curves.append(
            {
                "R2": 1 - (apart**2).sum() / ((loss - loss.mean()) ** 2).sum(),
                "MAE": np.abs(apart).mean(),
                "RMSE": np.sqrt((apart**2).mean()),
                "PredE": np.abs(apart / loss).mean(),
            }
        )
    return pd.DataFrame(of_curves).mean().to_dict()


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "data/multipowerlaw"


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "expected.json").read_text())


def in_order(problem: FitProblem, values: Mapping[str, float]) -> Any:
    return np.array([[values[slot.parameter.name] for slot in problem.slots]])


def exact(values: Mapping[str, float], steps: Any, curve: LRCurve) -> Any:
    """The multi-power law as it is written, every step a term."""
    rates = curve.at(np.arange(steps.max() + 1))
    summed = np.cumsum(rates)
    losses: list[float] = []
    for step in steps.astype(int):
        k = np.arange(1, step + 1)
        k = k[rates[k] != rates[k - 1]]
        onwards = summed[step] - summed[k - 1]
        lived = (1 + values["C"] * rates[k] ** -values["gamma"] * onwards) ** -values["beta"]
        fall = values["B"] * ((rates[k - 1] - rates[k]) * (1 - lived)).sum()
        losses.append(values["L0"] + values["A"] * summed[step] ** -values["alpha"] - fall)
    return np.array(losses)


@pytest.mark.parametrize("size", SIZES)
def test_published_parameters_give_the_published_digits(
    size: str, folder: Path, expected: dict[str, Any]
) -> None:
    held_out, rates = curves(folder, size, expected["test"])
    problem = FitProblem(load_model("multi-power"), FitObjective("log-huber"), held_out, rates)
    published = dict(zip(expected["order"], expected["params"][size], strict=True))
    found = errors(problem.predict(in_order(problem, published))[0], held_out)
    digits = {"R2": 4, "MAE": 5, "RMSE": 5, "PredE": 5}
    assert {name: round(value, digits[name]) for name, value in found.items()} == (
        expected["published_heldout"][size]
    )


def test_nodes_stand_for_every_step_within_1e_6(folder: Path, expected: dict[str, Any]) -> None:
    published = dict(zip(expected["order"], expected["params"]["25"], strict=True))
    training, rates = curves(folder, "25", ["cosine_24000.csv", "wsdcon_3.csv", "wsdld_20000_24000.csv"])
    training = training.iloc[::7].reset_index(drop=True)
    problem = FitProblem(load_model("multi-power"), FitObjective("log-huber"), training, rates)
    predicted = problem.predict(in_order(problem, published))[0]
    for run, rows in training.groupby("run").indices.items():
        steps = training["step"].to_numpy()[rows]
        assert np.abs(predicted[rows] - exact(published, steps, rates[str(run)])).max() < 1e-6


@pytest.mark.parametrize("steps", [300, 3000])
def test_nodes_stand_for_every_step_of_schedules_that_end_at_zero(steps: int) -> None:
    values = {"L0": 2.0, "A": 0.5, "B": 300.0, "C": 2.0, "alpha": 0.5, "beta": 0.6, "gamma": 0.6}
    curve = LRCurve(np.array([0.1 * steps, 0.5 * steps, steps]), np.array([1e-3, 1e-3, 0.0]), steps // 10)
    at = np.linspace(0.1 * steps, steps - 1, 14).round()
    table = pd.DataFrame({"run": "r", "size": "s", "step": at, "loss": 2.0})
    problem = FitProblem(load_model("multi-power"), FitObjective("log-huber"), table, {"r": curve})
    assert np.abs(problem.predict(in_order(problem, values))[0] - exact(values, at, curve)).max() < 3e-5


@pytest.mark.parametrize("size", ["100", pytest.param("25", marks=pytest.mark.soak)])
def test_the_fit_reaches_the_best_known_training_objective(
    size: str, folder: Path, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """From an eighth of the starts, which are among those that a user's fit has."""
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.FINALISTS", 4)
    training, rates = curves(folder, size, expected["train"])
    problem = FitProblem(load_model("multi-power"), FitObjective("log-huber"), training, rates)
    solution = solve(problem)
    assert solution.total <= MOST[size]
    assert solution.converged


@pytest.mark.parametrize("size", SIZES)
def test_tissue_reaches_its_known_optimum(size: str, folder: Path, expected: dict[str, Any]) -> None:
    known = expected["ours_tissue_lambda0_999"][size]
    training, rates = curves(folder, size, expected["train"])
    held_out, others = curves(folder, size, expected["test"])
    problem = FitProblem(load_model("tissue"), FitObjective("log-huber"), training, rates)
    solution = solve(problem)
    values = {slot.parameter.name: value for slot, value in zip(problem.slots, solution.values, strict=True)}
    for name in ("L0", "A", "alpha", "C"):
        assert values[name] == pytest.approx(known[name], abs=6e-5)
    found = errors(problem.at(held_out, others).predict(solution.values[None])[0], held_out)
    assert found["R2"] == pytest.approx(known["heldout_R2"], abs=5.1e-5)
    assert found["MAE"] == pytest.approx(known["heldout_MAE"], abs=5.1e-6)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("law", ["tissue", pytest.param("multi-power", marks=pytest.mark.soak)])
def test_two_stage_and_wsd_curves_are_predicted_from_cosine_and_constant_ones(
    law: str, size: str, folder: Path
) -> None:
    training, rates = curves(folder, size, ["cosine_24000.csv", "constant_24000.csv"])
    files = [*(f"wsdcon_{rate}.csv" for rate in (3, 9, 18)), "wsd_20000_24000.csv", "wsdld_20000_24000.csv"]
    held_out, others = curves(folder, size, files)
    missed: dict[str, float] = {}
    for tried in (law, "per-size", "kaplan"):
        problem = FitProblem(load_model(tried), FitObjective("log-huber"), training, rates)
        values = solve(problem).values[None]
        missed[tried] = errors(problem.at(held_out, others).predict(values)[0], held_out)["MAE"]
    assert missed[law] < min(missed["per-size"], missed["kaplan"])


def test_a_jump_between_two_rows_happens_at_the_later_one() -> None:
    curve = LRCurve(np.array([100.0, 200.0, 300.0, 400.0]), np.array([1e-3, 1e-3, 1e-4, 1e-4]), 100)
    at = curve.at(np.array([0.0, 50.0, 250.0, 299.0, 300.0, 500.0]))
    assert at == pytest.approx([0.0, 5e-4, 1e-3, 1e-3, 1e-4, 1e-4])
    decay = LRCurve(np.array([100.0, 200.0, 300.0, 400.0]), np.array([1e-3, 8e-4, 6e-4, 4e-4]))
    assert decay.at(np.array([250.0])) == pytest.approx([7e-4])


def test_points_without_a_schedule_are_an_error_that_says_what_to_add() -> None:
    table = pd.DataFrame({"run": ["a", "b"], "size": "s", "step": [1.0, 2.0], "loss": 2.0})
    curve = LRCurve(np.array([0.0, 9.0]), np.array([1e-3, 1e-3]))
    with pytest.raises(UsageError, match=r"nothing tells that of 1 of the runs \(b\)"):
        FitProblem(load_model("tissue"), FitObjective(), table, {"a": curve})
    with pytest.raises(UsageError, match="2 of 2 points do not say their step"):
        FitProblem(load_model("tissue"), FitObjective(), table.assign(step=np.nan), {"a": curve})

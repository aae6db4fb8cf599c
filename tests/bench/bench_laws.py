"""Laws of the learning-rate schedule on published loss curves: training objective, and errors on curves held out.

`python tests/bench/bench_laws.py FOLDER` prints the tables of `docs/reference/laws.md`. FOLDER: csv_25 and csv_100
of the curves published with Luo et al. (2025), and expected.json. Nothing is chosen by the curves held out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.plugin_api import LRCurve
from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.scaling.fit.objective import FitObjective
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.fit.solver import solve

SIZES = ("25", "100")
WARMUP = 2159
BLIND = ("per-size", "kaplan")
"""Laws that read no schedule. At one size all others are per-size's floor and power of D."""

AWARE = ("tissue", "multi-power")
PLAIN = ("cosine_24000.csv", "constant_24000.csv")
OTHERS = ("wsdcon_3.csv", "wsdcon_9.csv", "wsdcon_18.csv", "wsd_20000_24000.csv", "wsdld_20000_24000.csv")


def curves(folder: Path, size: str, files: Sequence[str]) -> tuple[pd.DataFrame, dict[str, LRCurve]]:
    """Points, and learning rates by run. D is the step; rows at step 24,000 are left out, as published."""
    tables: list[pd.DataFrame] = []
    rates: dict[str, LRCurve] = {}
    for file in files:
        table = pd.read_csv(folder / f"csv_{size}" / file).astype(float)
        table = table[table["step"] != 24_000]
        rates[file] = LRCurve(table["step"].to_numpy(), table["lr"].to_numpy(), WARMUP)
        tables.append(table.assign(run=file, size=size, n=float(size) * 1e6, d=table["step"]))
    return pd.concat(tables, ignore_index=True), rates


def errors(predicted: Any, table: pd.DataFrame) -> str:
    """R2, MAE, RMSE and PredE, each a mean over curves, as cells."""
    found: list[list[float]] = []
    for rows in table.groupby("run", sort=False).indices.values():
        loss = table["loss"].to_numpy()[rows]
        apart = predicted[rows] - loss
        r2 = 1 - (apart**2).sum() / ((loss - loss.mean()) ** 2).sum()
        found.append([r2, np.abs(apart).mean(), np.sqrt((apart**2).mean()), np.abs(apart / loss).mean()])
    r2, mae, rmse, relative = np.mean(found, axis=0)
    return f"{r2:.4f} | {mae:.5f} | {rmse:.5f} | {relative:.5f}"


def compare(folder: Path, size: str, train: Sequence[str], test: Sequence[str]) -> None:
    """A row a law."""
    training, rates = curves(folder, size, train)
    held_out, others = curves(folder, size, test)
    for law in (*BLIND, *AWARE):
        problem = FitProblem(load_model(law), FitObjective("log-huber"), training, rates)
        begun = time.process_time()
        solution = solve(problem)
        took = time.process_time() - begun
        predicted = problem.at(held_out, others).predict(solution.values[None])[0]
        print(f"| {size}M | {law} | {solution.total:.3e} | {errors(predicted, held_out)} | {took:.1f} |")


def published(folder: Path, size: str, expected: dict[str, Any]) -> None:
    """The row of the published parameters."""
    training, rates = curves(folder, size, expected["train"])
    held_out, others = curves(folder, size, expected["test"])
    problem = FitProblem(load_model("multi-power"), FitObjective("log-huber"), training, rates)
    known = dict(zip(expected["order"], expected["params"][size], strict=True))
    values = np.array([[known[slot.parameter.name] for slot in problem.slots]])
    total = float(problem.total(problem.residuals(problem.search(values)))[0])
    predicted = problem.at(held_out, others).predict(values)[0]
    print(f"| {size}M | multi-power, as published | {total:.3e} | {errors(predicted, held_out)} | |")


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    expected = json.loads((folder / "expected.json").read_text())
    header = "| size | law | training objective | R2 | MAE | RMSE | PredE | CPU s |\n|" + "---|" * 8
    print(f"\nTrained on cosine, constant and one two-stage curve:\n\n{header}")
    for size in SIZES:
        published(folder, size, expected)
        compare(folder, size, expected["train"], expected["test"])
    print(f"\nTrained on cosine and constant alone, two-stage and WSD curves held out:\n\n{header}")
    for size in SIZES:
        compare(folder, size, PLAIN, OTHERS)


if __name__ == "__main__":
    main()

"""The 31 laws of ScaleBench, written as a plugin's author writes them: formulas, columns, guesses and bounds."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fvlm_core.plugin_api import FitModel
from fvlm_core.scaling.fit.objective import PLAIN
from fvlm_core.scaling.fit.problem import FitProblem

FILE = Path(__file__).parents[1] / "bench/scalebench_laws.py"
LAWS: dict[str, tuple[FitModel, ...]] = runpy.run_path(str(FILE))["LAWS"]

COLUMNS = {"u": 1e9, "n": 1e8, "d": 1e9, "p": 1e8, "v": 1e4, "x": 1.0}
"""About where the laws' units are."""


def test_there_are_as_many_laws_as_the_benchmark_has() -> None:
    """Ten a task, and Farseer's one."""
    assert [len(laws) for laws in LAWS.values()] == [10, 10, 10, 1]


@pytest.mark.parametrize("law", [law for laws in LAWS.values() for law in laws], ids=lambda law: law.name)
def test_a_law_gives_a_loss_for_many_parameter_sets_at_once(law: FitModel) -> None:
    """Finite at draws between the bounds, the same one by one, and changed by every parameter."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame({name: unit * rng.uniform(0.1, 10, 40) for name, unit in COLUMNS.items()})
    problem = FitProblem(law, PLAIN, table.assign(loss=1.0))
    near = problem.search(problem.guess()) + 0.05 * rng.standard_normal((4, len(problem.slots)))
    values: Any = problem.values(np.clip(near, problem.lower, problem.upper))
    together = problem.predict(values)
    assert together.shape == (4, 40)
    assert np.isfinite(together).all()
    assert np.array_equal(together, np.concatenate([problem.predict(one[None]) for one in values]))
    assert (np.abs(problem.jacobian(problem.search(values))).max((0, 2)) > 0).all()


def test_two_formulas_by_hand() -> None:
    """Muennighoff's worth of repeated data, and Farseer's law at its published coefficients' form."""
    laws = {law.name: law for laws in LAWS.values() for law in laws}
    found = laws["data_constrained-4"].law(1e9, 1e8, 4e9, L0=2.0, A=1.0, a=0.5, B=1.0, b=0.5, R=15.0)
    assert found == pytest.approx(2 + 1 + (1 + 15 * (1 - np.exp(-3 / 15))) ** -0.5)
    found = laws["farseer-1"].law(1e9, np.e, s=-0.5, q=0.1, S=0.0, B=1.0, b=0.1, Q=0.0, A=0.0, a=0.1, E=0.0)
    assert found == pytest.approx(np.exp(-0.5) + np.exp(1) / np.e)

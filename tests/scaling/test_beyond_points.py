"""A plan that leaves the points says by what factor, in text and as JSON."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import run_cli

from fvlm_core.scaling.predict.cost import six_nd
from fvlm_core.scaling.predict.reach import beyond

GRID = [(n, d) for n in (1e7, 3e7, 1e8) for d in (1e8, 1e9, 1e10)]
TABLE = pd.DataFrame(GRID, columns=["n", "d"])


@pytest.mark.parametrize(
    ("n", "d", "compute", "factors"),
    [
        (1e9, 1e10, None, {}),  # sizes span 10 and carry 10
        (1.1e9, 1e10, None, {"N": 11}),
        (1e8, 3.1e11, None, {"D": 31}),
        (1e8, 1e6, None, {"D": 100}),
        (None, 1e10, 6e18 * 400, {"C": 400}),
        (1e6 / 2, 1e14, 6e24, {"N": 20, "D": 1e4, "C": 1e6}),
    ],
)
def test_what_lies_farther_out_than_points_carry_is_named_with_its_factor(
    n: float | None, d: float, compute: float | None, factors: dict[str, float]
) -> None:
    found = {one.quantity: one.factor for one in beyond(TABLE, n, d, compute, six_nd(None))}
    assert found == pytest.approx(factors)


def test_a_plan_says_how_far_its_runs_and_its_target_leave_the_points(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    scatter = np.exp(0.003 * np.random.default_rng(0).standard_normal(len(GRID)))
    losses = [(1.7 + 480 / n**0.35 + 2100 / d**0.37) * s for (n, d), s in zip(GRID, scatter, strict=True)]
    table = tmp_path / "points.csv"
    TABLE.assign(loss=losses).to_csv(table, index=False)
    asked = ["--data", str(table), "--cost", "6ND", "--max-runs", "2", "--target-budget", "6e24", "--json"]
    code, out, _ = run_cli(["suggest", "--budget", "1e24", *asked], monkeypatch, capsys)
    assert code == 0
    plan = json.loads(out)
    far = {what: {one["quantity"]: one["factor"] for one in of} for what, of in plan["beyond"].items()}
    assert far["target"]["C"] == pytest.approx(1e6)
    assert far["runs"].keys() >= {"C", "D"}
    said = " ".join(plan["remarks"])
    assert "the target lies beyond the points: C = 6e+24 is a factor of 1e+06 above the largest" in said
    assert "suggested runs lie beyond the points: D = " in said

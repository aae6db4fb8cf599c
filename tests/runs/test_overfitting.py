"""A run whose validation loss rises at its end says so, and since when."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import RECIPE, run_cli

from fvlm_core.execution import attempt
from fvlm_core.runs.overfitting import overfitting


def rows(*losses: float) -> list[dict[str, Any]]:
    return [{"step": 15 * (at + 1), "val_loss": loss} for at, loss in enumerate(losses)]


def test_it_says_since_when_by_how_much_and_how_often_each_sample_was_seen() -> None:
    assert overfitting(rows(3.0, 2.0, 1.5, 1.6, 1.8), {"shapes": 70.2, "text": 0.4}) == (
        "validation rises since step 45: 1.5000 there, 1.8000 at the end; each sample of shapes was seen 70.2 times"
    )
    assert overfitting(rows(3.0, 1.5, 1.6, 1.8), {"shapes": 0.9}) == (
        "validation rises since step 30: 1.5000 there, 1.8000 at the end"
    )


@pytest.mark.parametrize(
    "losses",
    [(3.0, 2.0, 1.0), (3.0, 2.0, 2.4), (3.0, 2.0, 2.005, 2.01), (1.0, 2.0), (), (2.0, 2.0, 2.0)],
    ids=["falls", "one evaluation", "less than 1 %", "too few", "none", "flat"],
)
def test_it_says_nothing_where_that_is_not_sure(losses: tuple[float, ...]) -> None:
    assert overfitting(rows(*losses), {"shapes": 70.0}) is None


def test_a_run_that_overfits_says_so_in_its_table_its_summary_and_its_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is asked of it are its own evaluations and how often its samples were seen."""
    asked: list[tuple[Any, Any]] = []

    def rising(evaluations: Any, passes: Any) -> str:
        asked.append((evaluations, passes))
        return "validation rises since step 2"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(attempt, "overfitting", rising)
    (tmp_path / "small.toml").write_text(RECIPE)
    code, out, _ = run_cli(
        ["run", "small.toml", "-o", "training.steps=4", "-o", "eval.every=2"], monkeypatch, capsys
    )
    assert code == 0
    [(evaluations, passes)] = asked
    assert [row["step"] for row in evaluations] == [2, 4]
    summary = json.loads(next(tmp_path.glob("runs/*/*/summary.json")).read_text())
    assert passes == {"shapes": summary["total_samples"] / 32}  # clips of the recipe
    assert summary["overfitting"] == "validation rises since step 2"
    assert f"{summary['run_id']}: validation rises since step 2" in out
    assert (
        run_cli(["runs", "show", summary["run_id"]], monkeypatch, capsys)[1].count("rises since step 2") == 1
    )
    assert run_cli(["report"], monkeypatch, capsys)[0] == 0
    assert "validation rises since step 2" in next(tmp_path.rglob("*.html")).read_text()

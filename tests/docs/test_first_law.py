"""What README says of its first command is what the kept measurements say."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fvlm_shapes.config import Shapes
from fvlm_shapes.source import build

import fvlm
from fvlm_core.recipes.read import read_recipe

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "docs" / "measurements" / "first_law"
NUMBER = r"(\d\.\d+)"
SAID = re.compile(
    rf"E = {NUMBER} \[{NUMBER}, {NUMBER}\]; the floor is {NUMBER}.*"
    rf"predicted {NUMBER} \[{NUMBER}, {NUMBER}\], measured {NUMBER}"
)


@pytest.fixture(scope="module")
def said() -> list[float]:
    text = " ".join((ROOT / "README.md").read_text().split())
    found = SAID.search(text)
    assert found, "README does not say what its first command found"
    return [float(number) for number in found.groups()]


def test_the_law_of_the_readme_is_that_of_its_measurements(said: list[float]) -> None:
    """Fitted again to the table that is kept; the last digit may be another with other versions of numpy and scipy."""
    law = fvlm.fit(KEPT, "joint-chinchilla")
    assert law.status == "ok"
    found = law.parameters.set_index("parameter").loc["E"]
    assert [found["value"], found["low"], found["high"]] == pytest.approx(said[:3], abs=0.02)


def test_the_floor_of_the_readme_is_that_of_its_validation_clips(said: list[float]) -> None:
    """The odds of every word said, over the words and the two tokens that end an answer."""
    recipe = read_recipe("quickstart").runs[0].config
    source: Shapes = recipe.data.sources[0].source.config
    clips = build(source, "validation")
    nats = sum(clips[index].nats or 0.0 for index in range(len(clips)))
    words = sum(len(clips[index].turns[-1].content.split()) + 2 for index in range(len(clips)))
    assert nats / words == pytest.approx(said[3], abs=5e-4)


def test_what_the_readme_foretold_was_measured(said: list[float]) -> None:
    """Digits of the record, of a run that is no fit point; and the run was the dearest of all."""
    (report,) = json.loads((KEPT / "scaling_fits.json").read_text())["reports"]
    (one,) = report["holdout"]["predictions"]
    recorded = [one["predicted"], one["low"], one["high"], one["measured"]]
    assert recorded == pytest.approx(said[4:], abs=5e-4)
    runs = pd.read_csv(KEPT / "run_summaries.csv").set_index("run_id")
    best: Any = runs["best_val_loss"].to_dict()
    assert best[one["run"]] == pytest.approx(one["measured"], rel=1e-9)
    work = runs["total_params"] * runs["total_samples"]
    assert str(work.idxmax()) == one["run"]

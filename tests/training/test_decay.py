"""Warm-up, stable, decay; and the decay alone from a checkpoint, which ends as a run that did it in one go."""

from __future__ import annotations

import json
from math import cos, pi, sqrt
from pathlib import Path
from typing import Any

import pytest
from fvlm_training_schedules.config import WSD
from fvlm_training_schedules.wsd import build
from trainer import go, opened, outcome, small

from fvlm_core.execution.decay import decaying
from fvlm_core.execution.sequential import run_folder
from fvlm_core.training.schedule import RateSchedule
from fvlm_core.utils.errors import UsageError

LONG = ("training.steps=12", "eval.every=3", "checkpoints.keep_last=9", "training.warmup=0.25")


def wsd(**settings: Any) -> str:
    return f"training.schedule={{ name = 'wsd', {', '.join(f'{k} = {json.dumps(v)}' for k, v in settings.items())} }}"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield opened(small(tmp_path_factory.mktemp("recipe")), tmp_path_factory.mktemp("none"))


@pytest.mark.parametrize(
    ("shape", "left"),
    [
        ("linear", lambda x: 1 - x),
        ("cosine", lambda x: (1 + cos(pi * x)) / 2),
        ("sqrt", lambda x: 1 - sqrt(x)),
    ],
)
def test_wsd_is_its_closed_form(shape: Any, left: Any) -> None:
    """Hägele et al. (2024), equation 1: 4 updates of warm-up, 6 stable, 4 of decay to a tenth."""
    schedule = RateSchedule(build(WSD(decay=0.4, shape=shape), {"llm": 0.1}), "llm", 14, 4)
    wanted = [0, 0.25, 0.5, 0.75, *[1] * 6, *(0.1 + 0.9 * left(k / 4) for k in range(5)), 0.1]
    assert [schedule.factor(k) for k in range(16)] == pytest.approx(wanted)
    fixed = RateSchedule(build(WSD(decay_steps=4, shape=shape), {"llm": 0.1}), "llm", 14, 4)
    assert [fixed.factor(k) for k in range(16)] == pytest.approx(wanted)
    assert RateSchedule(build(WSD(decay_steps=0), {"llm": 0.1}), "llm", 9, 0).factor(9) == 1


def test_the_decay_alone_ends_as_a_run_that_did_it_in_one_go(data: Any, tmp_path: Path) -> None:
    long = small(tmp_path, *LONG, wsd(decay=0.25))
    go(long, tmp_path / "runs", data)
    decay = decaying(long, "small/small@6", tmp_path / "runs")
    [run] = decay.runs
    assert run.id == "small-decay-6"
    assert (
        run.config.training.steps == 7
    )  # 3 of warm-up, 3 stable, which are three quarters of what is after it
    decay = decaying(small(tmp_path, *LONG, wsd(decay_steps=4)), "small/small@6", tmp_path / "runs")
    again = {decay.runs[0].id: data["small"]}
    go(decay, tmp_path / "runs", again, at=8)  # interrupted, and continued
    go(decay, tmp_path / "runs", again)
    go(whole := small(tmp_path, *LONG, "training.steps=10", "training.warmup_steps=3", wsd(decay_steps=4)),
       tmp_path / "whole", data)  # fmt: skip
    found, wanted = outcome(decay, tmp_path / "runs"), outcome(whole, tmp_path / "whole")
    assert (found["model"], found["optimizer"]) == (wanted["model"], wanted["optimizer"])
    since = [row for row in wanted["rows"] if row["step"] > 6]
    mine = [{**row, "run": None, "run_id": None} for row in found["rows"]]
    assert mine == [{**row, "run": None, "run_id": None} for row in since]


def test_what_cannot_decay_is_explained(data: Any, tmp_path: Path) -> None:
    long = small(tmp_path, *LONG, wsd(decay=0.25))
    go(long, tmp_path / "runs", data)
    for text, recipe, said in (
        ("small", long, "expected RUN@STEP, as in captions_small/48@400"),
        ("small@7", long, "has no checkpoint of step 7; it has those of 3, 6, 9, 12"),
        ("small@12", long, "falls from step 9 on"),
        ("small@6", small(tmp_path, *LONG), 'training.schedule is "cosine", which has no decay of its own'),
        ("other@6", long, "other"),
    ):
        with pytest.raises(UsageError) as refused:
            decaying(recipe, text, tmp_path / "runs")
        assert said in str(refused.value)
    other = decaying(
        small(tmp_path, *LONG, wsd(decay=0.25), "training.clip=0.5"), "small@6", tmp_path / "runs"
    )
    with pytest.raises(
        UsageError, match=r"trained under another recipe than its decay; what differs:\n.*clip"
    ):
        go(other, tmp_path / "runs", {other.runs[0].id: data["small"]})
    assert not (run_folder(tmp_path / "runs", other, other.runs[0]) / "recipe.json").exists()


def test_the_stable_part_has_to_have_been_stable(data: Any, tmp_path: Path) -> None:
    """What was trained under a cosine, or at another rate, is no stable part, whatever the recipe says by now."""
    go(small(tmp_path, *LONG), tmp_path / "cosine", data)
    with pytest.raises(UsageError, match="falls from step 3 on"):
        decaying(small(tmp_path, *LONG, wsd(decay=0.25)), "small@6", tmp_path / "cosine")
    go(small(tmp_path, *LONG, wsd(decay=0.25)), tmp_path / "runs", data)
    for change in ("training.lr=0.5", "training.warmup=0.1"):
        other = decaying(small(tmp_path, *LONG, wsd(decay=0.25), change), "small@6", tmp_path / "runs")
        with pytest.raises(UsageError, match=change.partition("=")[0]):
            go(other, tmp_path / "runs", {other.runs[0].id: data["small"]})
    go(small(tmp_path, *LONG, "training.schedule=constant"), tmp_path / "constant", data)
    after = decaying(small(tmp_path, *LONG, wsd(decay=0.25)), "small@9", tmp_path / "constant")
    go(after, tmp_path / "constant", {after.runs[0].id: data["small"]})
    with pytest.raises(UsageError, match="a decay of all steps has no stable part"):
        decaying(small(tmp_path, *LONG, wsd(decay=1.0)), "small@6", tmp_path / "constant")

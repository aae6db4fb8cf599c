"""Checkpoints from before samples and FLOPs were counted continue with what their attempts left on record."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import RECIPE, train

from fvlm_core.runs.checkpoint import latest_checkpoint
from fvlm_core.runs.earlier import counted
from fvlm_core.runs.metrics import deterministic
from fvlm_core.runs.store import list_runs
from fvlm_core.scaling.points.points_from_runs import from_runs
from fvlm_core.utils.atomic_files import read_json, sha256, write_json

NEW = ("samples", "place", "spent", "nominal", "order")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("steps = 6", "steps = 6\nlog_every = 1"))
    return tmp_path


def aged(folder: Path) -> None:
    """Take from the newest checkpoint what older versions did not write."""
    newest, _ = latest_checkpoint(folder / "checkpoints")
    assert newest is not None
    state = read_json(newest / "state.json")
    write_json(newest / "state.json", {key: value for key, value in state.items() if key not in NEW})
    manifest = read_json(newest / "manifest.json")
    manifest["sha256"]["state.json"] = sha256(newest / "state.json")
    write_json(newest / "manifest.json", manifest)


def test_an_undrifted_one_continues_bit_for_bit(place: Path) -> None:
    train(place / "tiny.toml", place / "whole")
    train(place / "tiny.toml", place / "runs", until=3)
    aged(place / "runs/tiny/tiny")
    train(place / "tiny.toml", place / "runs")
    whole, runs = (list_runs(place / name)[0] for name in ("whole", "runs"))
    assert [deterministic(row) for row in runs.rows()] == [deterministic(row) for row in whole.rows()]
    assert sha256(runs.folder / "checkpoints/step-00000006/model.safetensors") == sha256(
        whole.folder / "checkpoints/step-00000006/model.safetensors"
    )


def test_a_batch_size_that_changes_right_now_changes_nothing_of_the_past(place: Path) -> None:
    train(place / "tiny.toml", place / "runs", until=3)
    aged(place / "runs/tiny/tiny")
    more = ("training.batch_size=8", "training.supervise=all")
    train(place / "tiny.toml", place / "runs", *more, allow=("training",))
    (run,) = list_runs(place / "runs")
    seen = [row["samples_seen"] for row in run.train_rows()]
    differences = [after - before for before, after in zip([0, *seen], seen, strict=False)]
    assert set(differences) == {4, 8}
    assert differences == sorted(differences)
    assert all(sum(row["samples_by_source"].values()) == row["samples_seen"] for row in run.train_rows())


def folder_of(
    folder: Path, attempts: list[dict[str, Any]], rows: list[dict[str, Any]], batch: int, each: float
) -> Path:
    """The record that an older version left: the recipe of the last attempt, every attempt, its rows."""
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "attempts.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in attempts))
    record = {
        "id": "r", "recipe": "p", "order": 0, "seed": 1, "flops_per_sample": each,
        "resolved": {"training": {"batch_size": batch}}, "data": {"train": []},
    }  # fmt: skip
    write_json(folder / "recipe.json", record)
    return folder


def begun(attempt: int, step: int) -> dict[str, Any]:
    return {"event_type": "attempt", "attempt": attempt, "step": step}


def row(attempt: int, step: int, batch: int, each: float) -> dict[str, Any]:
    """As older versions wrote it: samples and FLOPs from the step and the batch size of the moment."""
    return {
        "event_type": "train", "attempt": attempt, "step": step, "samples_seen": step * batch,
        "flops": step * batch * each,
    }  # fmt: skip


def drifted(attempt: int, before: int | None = None, after: int | None = None) -> dict[str, Any]:
    change = {"key": "training.batch_size", "kind": "batch", "from": before, "to": after}
    return {"attempt": attempt, "drift": [change] if before else []}


def test_samples_and_flops_of_attempts_with_other_batch_sizes_and_prices(tmp_path: Path) -> None:
    """Attempt 1: to step 10 by 4. Attempt 2: from step 8 on by 16, to step 20. Attempt 3: from 20 on by 2, to 25."""
    folder = folder_of(
        tmp_path,
        [drifted(1), drifted(2, 4, 16), drifted(3, 16, 2)],
        [
            begun(1, 0), row(1, 5, 4, 10.0), row(1, 10, 4, 10.0),
            begun(2, 8), row(2, 10, 16, 10.0), row(2, 20, 16, 10.0),
            begun(3, 20), row(3, 25, 2, 7.0),
        ],
        batch=2, each=7.0,
    )  # fmt: skip
    found = counted(folder, {"step": 25, "mixture": {}})
    samples = 8 * 4 + 12 * 16 + 5 * 2
    assert (found["samples"], found["place"]) == (samples, 25 * 2)
    assert found["spent"] == {
        "each": 7.0,
        "samples": samples,
        "flops": (8 * 4 + 12 * 16) * 10.0 + 5 * 2 * 7.0,
    }
    held = counted(folder, {"step": 25, "mixture": {"a": {"samples": 200}, "b": {"samples": 33}}})
    assert held["samples"] == 233  # what the batches held decides


def test_one_price_is_one_product(tmp_path: Path) -> None:
    rows = [begun(1, 0), row(1, 5, 4, 1 / 3), begun(2, 5), row(2, 9, 8, 1 / 3)]
    folder = folder_of(tmp_path, [drifted(1), drifted(2, 4, 8)], rows, batch=8, each=1 / 3)
    assert counted(folder, {"step": 9})["spent"] == {"each": 1 / 3, "samples": 0, "flops": 0.0}


def test_a_start_that_ended_before_its_first_step_counts_for_nothing(tmp_path: Path) -> None:
    attempts = [drifted(1), drifted(2, 4, 8), drifted(2, 8, 4)]
    folder = folder_of(tmp_path, attempts, [begun(1, 0), begun(2, 5)], batch=4, each=2.0)
    assert counted(folder, {"step": 9})["samples"] == 36


def test_rows_of_a_batch_size_that_changed_are_read_as_what_the_sources_gave(place: Path) -> None:
    train(place / "tiny.toml", place / "runs")
    (run,) = list_runs(place / "runs")
    true = run.rows()
    assert from_runs([run], "runs").table["d"].tolist() == [8, 16, 24]
    file = run.folder / "metrics.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:
        if "samples_seen" in line and line["step"] > 2:  # as when the batch size was changed after step 2
            line["samples_seen"] *= 2
            line["flops"] *= 2
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run.rows() == [
        {**row, "flops": pytest.approx(row["flops"])} if "flops" in row else row for row in true
    ]
    assert from_runs([run], "runs").table["d"].tolist() == [8, 16, 24]

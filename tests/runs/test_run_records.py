"""Run records: metrics without holes or double rows, checkpoints that are whole or not there, one writer."""

from __future__ import annotations

import math
import multiprocessing
import signal
import time
from pathlib import Path

import pytest
import torch
from attrs import evolve

from fvlm_core.data.loader import Reading
from fvlm_core.runs.checkpoint import (
    Checkpoint,
    clear_unfinished,
    damage,
    latest_checkpoint,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from fvlm_core.runs.metrics import MetricsWriter, read_metrics
from fvlm_core.runs.per_sample_loss import Scored, read_scored, write_scored
from fvlm_core.runs.store import StoredRun
from fvlm_core.training.state import Progress, find_latest
from fvlm_core.utils.atomic_files import write_json
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_core.utils.folder_lock import writing
from fvlm_core.weights.init_from import Initial, check_same_start
from fvlm_core.weights.restore import best_checkpoint


def test_rows_after_the_step_a_run_continues_from_are_superseded(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    with MetricsWriter(file, "r", 0) as metrics:
        for step in (1, 2, 3):
            metrics.write("train", step=step, loss=float(step))
    with MetricsWriter(file, "r", 2) as metrics:
        for step in (3, 4):
            metrics.write("train", step=step, loss=10.0 + step)
    rows = read_metrics(file)
    assert [(row["step"], row["attempt"]) for row in rows] == [(1, 1), (2, 1), (3, 2), (4, 2)]
    assert len(file.read_text().splitlines()) == 7  # the raw log still shows both attempts


def test_a_torn_line_costs_only_itself(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    with MetricsWriter(file, "r", 0) as metrics:
        for step in (1, 2, 3):
            metrics.write("train", step=step)
    file.write_bytes(file.read_bytes()[:-9])
    with MetricsWriter(file, "r", 1) as metrics:
        metrics.write("train", step=2)
    assert [(row["step"], row["attempt"]) for row in read_metrics(file)] == [(1, 1), (2, 2)]


def test_numbers_that_are_not_finite_are_stored_as_null(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path / "m.jsonl", "r", 0) as metrics:
        metrics.write("train", step=1, loss=float("nan"))
    assert read_metrics(tmp_path / "m.jsonl")[0]["loss"] is None


def checkpoint(step: int) -> Checkpoint:
    tensor = torch.full((3, 2), float(step))
    return Checkpoint({"w": tensor}, {"exp_avg.w": tensor + 1}, {"step": step})


@pytest.mark.parametrize(
    "file", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
)
@pytest.mark.parametrize("harm", ["truncate", "flip", "delete"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    tmp_path: Path, file: str, harm: str
) -> None:
    for step in (10, 20):
        save_checkpoint(tmp_path, checkpoint(step))
    victim = tmp_path / "step-00000020" / file
    content = victim.read_bytes()
    if harm == "truncate":
        victim.write_bytes(content[: len(content) // 2])
    elif harm == "flip":
        middle = content.index(b'"', len(content) // 2) if file.endswith(".json") else len(content) - 1
        victim.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    else:
        victim.unlink()
    found, damaged = latest_checkpoint(tmp_path)
    assert found == tmp_path / "step-00000010"
    assert len(damaged) == 1
    assert "step-00000020" in damaged[0]


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    folder = save_checkpoint(tmp_path / "a", checkpoint(7))
    folder = folder.rename(tmp_path / "moved")
    assert damage(folder) is None
    loaded = load_checkpoint(folder)
    assert torch.equal(loaded.model["w"], checkpoint(7).model["w"])
    assert torch.equal(loaded.optimizer["exp_avg.w"], checkpoint(7).optimizer["exp_avg.w"])
    assert loaded.state == {"step": 7}


def test_the_best_and_the_last_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3, 4, 5):
        save_checkpoint(tmp_path, checkpoint(step))
        prune_checkpoints(tmp_path, keep_last=2, best_step=2)
    assert sorted(folder.name for folder in tmp_path.iterdir()) == [
        "step-00000002",
        "step-00000004",
        "step-00000005",
    ]


def _save_for_ever(folder: Path) -> None:
    step = 1
    while True:
        save_checkpoint(folder, checkpoint(step))
        (folder / f"acknowledged-{step}").touch()
        prune_checkpoints(folder, keep_last=2, best_step=None)
        step += 1


def test_a_kill_during_saving_loses_no_acknowledged_checkpoint(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    unfinished = 0
    for kill in range(5):
        folder = tmp_path / str(kill)
        folder.mkdir()
        process = context.Process(target=_save_for_ever, args=(folder,))
        process.start()
        end = time.monotonic() + 60
        while not (folder / f"acknowledged-{kill + 1}").exists():
            assert time.monotonic() < end
        while not list(folder.glob(".tmp-[0-9]*")):  # in the middle of the next one
            assert time.monotonic() < end
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        acknowledged = max(int(f.name.split("-")[1]) for f in folder.glob("acknowledged-*"))
        unfinished += len(list(folder.glob(".tmp-*")))
        clear_unfinished(folder)
        found, damaged = latest_checkpoint(folder)
        assert damaged == []
        assert found is not None
        assert int(found.name.split("-")[1]) >= acknowledged > kill
        assert not list(folder.glob(".tmp-*"))
    assert unfinished, "no kill came while something was being saved"


def test_what_a_killed_save_left_goes_when_the_run_is_found_again(tmp_path: Path) -> None:
    state = {"step": 1, "samples": 4, "window": {}, "spikes": {}}
    kept = save_checkpoint(tmp_path / "checkpoints", evolve(checkpoint(1), state=state))
    for name in (".tmp-2-99", ".tmp-rehearsal-99"):
        (tmp_path / "checkpoints" / name).mkdir()
    assert find_latest(tmp_path).folder == kept
    assert [item.name for item in (tmp_path / "checkpoints").iterdir()] == [kept.name]


def test_the_best_weights_are_those_of_the_best_evaluation_and_no_others_take_their_place(
    tmp_path: Path,
) -> None:
    for step in (2, 4, 6):
        save_checkpoint(tmp_path / "checkpoints", checkpoint(step))
    run = StoredRun(tmp_path, {"resolved": {}, "id": "r", "recipe": "r"})
    assert best_checkpoint(run).name == "step-00000006"  # none is known to be the best
    write_json(tmp_path / "summary.json", {"best_val_step": 4})
    assert best_checkpoint(run).name == "step-00000004"
    (tmp_path / "checkpoints" / "step-00000004" / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(UsageError, match="It is the run's best checkpoint: put it back"):
        best_checkpoint(run)


def test_a_run_goes_on_from_the_weights_that_it_started_from_and_from_no_others(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    file.write_bytes(b"weights")
    recorded = Initial("w.safetensors", (file,)).record()
    check_same_start(Initial("w.safetensors", (file,)), recorded)
    file.write_bytes(b"Weights")
    with pytest.raises(UsageError, match="not the weights that this run started from"):
        check_same_start(Initial("w.safetensors", (file,)), recorded)


def test_the_hash_over_all_samples_tells_every_sample_and_every_order() -> None:
    def hashed(*steps: str) -> str:
        progress = Progress()
        for step in steps:
            progress.note([Reading(tuple(step.split()), {}, 0, ())])
        assert (progress.samples, progress.place) == (len(" ".join(steps).split()),) * 2
        return progress.read

    same = [hashed("a b", "c d"), hashed("a b", "c d")]
    others = [hashed("x b", "c d"), hashed("b a", "c d"), hashed("a b", "c"), hashed("c d", "a b")]
    assert same[0] == same[1]
    assert len({same[0], *others}) == 5


def test_a_second_writer_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    with (
        writing(tmp_path),
        pytest.raises(FvlmError, match=r"is being written by process \d+ on "),
        writing(tmp_path),
    ):
        pass
    with writing(tmp_path):
        pass  # released


def test_what_is_saved_after_damaged_checkpoints_were_passed_over_is_kept(tmp_path: Path) -> None:
    for step in (1, 4, 5):
        save_checkpoint(tmp_path, checkpoint(step))
    for step in (4, 5):
        (tmp_path / f"step-{step:08d}" / "model.safetensors").unlink()
    save_checkpoint(tmp_path, checkpoint(2))
    prune_checkpoints(tmp_path, keep_last=1, best_step=None)
    newest, damaged = latest_checkpoint(tmp_path)
    assert newest is not None
    assert (newest.name, damaged) == ("step-00000002", [])


def test_every_validation_samples_loss_of_the_best_and_the_latest_evaluation_is_kept(
    tmp_path: Path,
) -> None:
    for step, best in ((2, 2), (4, 4), (6, 4), (8, 4)):
        samples = [Scored("shapes/a", step / 2, 3), Scored("shapes/b", math.nan, 1)]
        write_scored(tmp_path, step, samples, best)
    assert read_scored(tmp_path, 2) is None
    assert read_scored(tmp_path, 6) is None
    for step in (4, 8):
        first, second = read_scored(tmp_path, step) or []
        assert first == Scored("shapes/a", step / 2, 3)
        assert (second.id, second.tokens, math.isnan(second.loss)) == ("shapes/b", 1, True)

"""What is said to be kept is on the disk: a loss of power takes nothing of it, and no half-written file has a name."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from disk import Event, Synced, around, durable, watch

from fvlm_core.data.frozen_validation import ChosenSamples
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.datasets.shards.shard import WORK, PackJob, write_shard
from fvlm_core.plugin_api import Sample, Turn
from fvlm_core.runs import checkpoint as checkpoints
from fvlm_core.runs.attempts import begin_attempt
from fvlm_core.runs.checkpoint import Checkpoint, latest_checkpoint, save_checkpoint
from fvlm_core.runs.metrics import MetricsWriter, read_metrics
from fvlm_core.utils.atomic_files import write_text
from fvlm_core.utils.errors import FvlmError


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """What became of every file, from here on."""
    return watch(monkeypatch)


def checkpoint(step: int) -> Checkpoint:
    return Checkpoint({"w": torch.full((3, 2), float(step))}, {"exp_avg.w": torch.ones(3)}, {"step": step})


def test_a_checkpoint_is_on_the_disk_before_it_has_its_name(tmp_path: Path, events: list[Event]) -> None:
    final = save_checkpoint(tmp_path, checkpoint(1))
    before, renamed, after = around(events, final)
    files = sorted(final.iterdir())
    assert [file.name for file in files] == [
        *("manifest.json", "model.safetensors", "optimizer.safetensors", "state.json")
    ]
    assert [file.name for file in files if not durable(before, file)] == []
    last = before[-1]
    assert isinstance(last, Synced)
    assert last.path == renamed.source, "the last to be made durable are the names in the folder"
    assert any(isinstance(event, Synced) and event.path == str(tmp_path) for event in after)


def test_a_small_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, events: list[Event]) -> None:
    write_text(tmp_path / "summary.json", "x" * 100)
    before, _, _ = around(events, tmp_path / "summary.json")
    assert durable(before, tmp_path / "summary.json")


def test_a_small_file_is_the_old_one_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "summary.json"
    write_text(file, "old")

    def full(handle: int) -> None:
        raise OSError(errno.EIO, "the disk went away")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="went away"):
        write_text(file, "new" * 10_000)
    assert file.read_text() == "old"


def test_rows_are_with_the_system_at_once_and_on_the_disk_when_asked(
    tmp_path: Path, events: list[Event]
) -> None:
    file = tmp_path / "metrics.jsonl"
    with MetricsWriter(file, "r", 0) as metrics:
        metrics.write("train", step=1)
        assert [row["step"] for row in read_metrics(file)] == [1]  # a kill here would lose nothing
        assert not durable(events, file)
        metrics.sync()
        assert durable(events, file)


def test_a_row_that_finds_no_room_is_no_row(tmp_path: Path) -> None:
    class Full:
        def write(self, line: bytes) -> int:
            return len(line) // 2

        def close(self) -> None: ...

    with MetricsWriter(tmp_path / "metrics.jsonl", "r", 0) as metrics:
        metrics._out.close()
        metrics._out = Full()  # type: ignore[assignment]
        with pytest.raises(FvlmError, match="the disk is full"):
            metrics.write("train", step=1)


def test_a_start_is_on_the_disk_before_it_trains(tmp_path: Path, events: list[Event]) -> None:
    begin_attempt(tmp_path, "cpu", [])
    assert durable(events, tmp_path / "attempts.jsonl")


def test_a_shard_is_on_the_disk_before_it_has_its_name(tmp_path: Path, events: list[Event]) -> None:
    turns = (Turn("user", "What is it?"), Turn("assistant", "A ball."))
    source = ChosenSamples("texts", [Sample(f"{n}", "texts", turns) for n in range(3)])
    (tmp_path / WORK).mkdir()
    report = write_shard(PackJob(source, PackSettings(), tmp_path), 0, {}, lambda place, name: None)
    assert report.packed is not None
    assert report.packed.samples == 3
    shard = tmp_path / report.packed.file
    before, _, after = around(events, shard)
    assert durable(before, shard)
    assert any(isinstance(event, Synced) and event.path == str(tmp_path) for event in after)


def test_a_checkpoint_without_room_leaves_nothing_and_harms_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    earlier = save_checkpoint(tmp_path, checkpoint(1))

    def full(tensors: Any, file: Path) -> None:
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(FvlmError, match=r"it needs .* MB, has .* MB free at .*No space left") as caught:
        save_checkpoint(tmp_path, checkpoint(2))
    assert str(tmp_path) in str(caught.value)
    assert [item.name for item in tmp_path.iterdir()] == [earlier.name]
    assert latest_checkpoint(tmp_path) == (earlier, [])

"""Trackers mirror a run and can neither slow nor stop it, whatever they do."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import warm
from tiny import RECIPE, train

from fvlm_core.plugin_api import TrackedRun, Tracker, numbers
from fvlm_core.recipes.schema import Chosen
from fvlm_core.runs.store import StoredRun, list_runs
from fvlm_core.training import tracker_thread as mirror
from fvlm_core.training.tracker_thread import Mirror, Mirrored


class Recorder(Tracker):
    """Keeps the rows."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, Any]] = []
        self.closed = False

    def log(self, row: Mapping[str, Any]) -> None:
        self.rows.append(row)

    def close(self) -> None:
        self.closed = True


class Blocked(Tracker):
    """Never comes back from its first row until it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def log(self, row: Mapping[str, Any]) -> None:
        self.let_go.wait()


class Raising(Tracker):
    """Raises at the second row."""

    def __init__(self) -> None:
        self.seen = 0

    def log(self, row: Mapping[str, Any]) -> None:
        self.seen += 1
        if self.seen == 2:
            raise ConnectionError("the server went away")


CHOSEN = Chosen("mine", "mine:mine", None)


def offer(monkeypatch: pytest.MonkeyPatch, build: Any) -> None:
    """Make `build` the tracker that every name stands for."""

    class Found:
        component = type("component", (), {"target": "x:y"})

        def find(self, kind: str, name: str) -> Found:
            assert kind == "tracker"
            return self

        def load(self, target: str) -> Any:
            return build

    monkeypatch.setattr(mirror, "registry", Found)


def run(folder: Path, step: int = 0) -> TrackedRun:
    return TrackedRun("recipe", "id", folder, {}, step)


def test_rows_arrive_in_order_and_the_tracker_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    offer(monkeypatch, lambda config, run: recorder)
    mirrored = Mirror(CHOSEN, run(tmp_path))
    for step in range(500):
        mirrored.put({"event_type": "train", "step": step})
    mirrored.close()
    assert [row["step"] for row in recorder.rows] == list(range(500))
    assert (recorder.closed, mirrored.dropped, mirrored.failure) == (True, 0, None)


def test_a_tracker_that_blocks_costs_the_run_nothing_and_what_it_misses_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = Blocked()
    offer(monkeypatch, lambda config, run: blocked)
    mirrored = Mirror(CHOSEN, run(tmp_path), room=10)
    begun = time.monotonic()
    for step in range(10_000):
        mirrored.put({"event_type": "train", "step": step})
    assert time.monotonic() - begun < 20
    mirrored.close(seconds=0.2)
    assert time.monotonic() - begun < 20
    assert mirrored.dropped >= 10_000 - 1  # all but the one it holds
    assert mirrored.failure is not None
    assert "still busy" in mirrored.failure
    blocked.let_go.set()


def test_building_a_tracker_may_block_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_go = threading.Event()
    offer(monkeypatch, lambda config, run: let_go.wait())
    begun = time.monotonic()
    mirrored = Mirror(CHOSEN, run(tmp_path))
    mirrored.put({"event_type": "train", "step": 1})
    mirrored.close(seconds=0.1)
    assert time.monotonic() - begun < 20
    let_go.set()


def test_an_exception_is_told_once_and_never_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny import StopAfter

    offer(monkeypatch, lambda config, run: Raising())
    observer = StopAfter()
    config = type("config", (), {})
    monkeypatch.setattr(mirror, "resolved", lambda config: {})
    with Mirrored(observer, (CHOSEN,), "recipe", tmp_path) as mirrored:
        mirrored.started(type("run", (), {"id": "r", "config": config}), 0, 10)  # type: ignore[arg-type]
        for step in range(1, 6):
            mirrored.stepped(step, {"step": step})
            time.sleep(0.05)
    assert observer.steps == [1, 2, 3, 4, 5]
    stopped = [text for text in observer.warnings if "has stopped" in text]
    assert stopped == ["tracker mine has stopped: ConnectionError: the server went away; the run goes on"]
    assert observer.warnings[-1] == "tracker mine: 4 rows are not in it"


def test_a_tracker_that_ends_the_program_when_it_is_imported_ends_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Quits:
        component = type("component", (), {"target": "x:y"})

        def find(self, kind: str, name: str) -> Quits:
            return self

        def load(self, target: str) -> Any:
            raise SystemExit(3)

    monkeypatch.setattr(mirror, "registry", Quits)
    assert Mirror(CHOSEN, run(tmp_path)).failure == "3"


def test_a_tracker_that_cannot_be_imported_is_told_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorboard", None)  # as if it were not installed
    for name in [
        n
        for n in __import__("sys").modules
        if n.startswith(("torch.utils.tensorboard", "fvlm_tensorboard.tr"))
    ]:
        monkeypatch.delitem(__import__("sys").modules, name)
    mirrored = Mirror(Chosen("tensorboard", "tensorboard:tensorboard", None), run(tmp_path))
    assert mirrored.failure is not None
    assert "tensorboard is not installed: pip install 'fvlm[tensorboard]'" in mirrored.failure
    mirrored.put({"event_type": "train", "step": 1})
    mirrored.close()
    assert mirrored.dropped == 1


def test_tensorboard_holds_every_number_of_a_run_that_was_stopped_and_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard", reason="the extra fvlm[tensorboard] is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.toml").write_text(
        RECIPE.replace("steps = 6", "steps = 6\nlog_every = 1") + '[[trackers]]\nname = "tensorboard"\n'
    )
    train(tmp_path / "tiny.toml", tmp_path / "runs", until=2)
    observer = train(tmp_path / "tiny.toml", tmp_path / "runs")
    assert not [text for text in observer.warnings if "tracker" in text]
    (stored,) = list_runs(tmp_path / "runs")
    events = EventAccumulator(str(stored.folder / "tensorboard"))
    events.Reload()
    for kind, rows in (("train", stored.train_rows()), ("eval", stored.evaluations())):
        for name in ("train_loss", "grad_norm", "lr_connector", "val_loss", "samples_by_source/shapes"):
            table, _, key = name.partition("/")
            wanted = [
                (r["step"], r[table][key] if key else r[table]) for r in rows if r.get(table) is not None
            ]
            if not wanted:
                continue
            found = [(event.step, event.value) for event in events.Scalars(f"{kind}/{name}")]
            assert [step for step, _ in found] == [step for step, _ in wanted]
            assert [value for _, value in found] == pytest.approx([value for _, value in wanted], rel=1e-6)
    assert len(events.Scalars("train/train_loss")) == 6


def test_rows_of_a_run_are_the_same_with_and_without_a_tracker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fvlm_core.runs.metrics import deterministic

    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tiny.toml").write_text(RECIPE)
    train(tmp_path / "tiny.toml", tmp_path / "plain")
    blocked = Blocked()
    (tmp_path / "tiny.toml").write_text(RECIPE + '[[trackers]]\nname = "tensorboard"\n')
    monkeypatch.setattr(mirror, "CLOSE_SECONDS", 0.1)
    offer(monkeypatch, lambda config, run: blocked)
    train(tmp_path / "tiny.toml", tmp_path / "mirrored")
    blocked.let_go.set()
    plain, mirrored = (
        [json.dumps(deterministic(row)) for row in list_runs(tmp_path / name)[0].rows()]
        for name in ("plain", "mirrored")
    )
    assert plain == mirrored


def test_numbers_of_a_row_are_named_by_what_they_are_of() -> None:
    row = {
        "event_type": "eval", "step": 4, "attempt": 1, "val_loss": 1.5, "mfu": None, "note": "x", "ok": True,
        "val_loss_by_source": {"a": 1, "b": 2.0}, "mixture": {"a": {"samples": 3}},
    }  # fmt: skip
    assert numbers(row) == {
        "eval/val_loss": 1.5,
        "eval/val_loss_by_source/a": 1.0,
        "eval/val_loss_by_source/b": 2.0,
        "eval/mixture/a/samples": 3.0,
    }


def mirrored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> StoredRun:
    """A run that was stopped and continued under a tracker, which said nothing."""
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(mirror, "CLOSE_SECONDS", 60.0)
    (tmp_path / "tiny.toml").write_text(
        RECIPE.replace("steps = 6", "steps = 6\nlog_every = 1") + f'[[trackers]]\nname = "{name}"\n'
    )
    train(tmp_path / "tiny.toml", tmp_path / "runs", until=2)
    if name == "wandb":
        time.sleep(1)  # it calls what is begun by the second
    observer = train(tmp_path / "tiny.toml", tmp_path / "runs")
    assert not [text for text in observer.warnings if "tracker" in text]
    return list_runs(tmp_path / "runs")[0]


def test_wandb_holds_every_row_of_a_run_that_was_stopped_and_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="the extra fvlm[wandb] is not installed")
    stored = mirrored(tmp_path, monkeypatch, "wandb")
    attempts = sorted((stored.folder / "wandb").glob("offline-run-*"))
    assert len(attempts) == 2
    (name,) = {folder.name.rpartition("-")[2] for folder in attempts}  # one run there, in two parts
    written = b"".join((folder / f"run-{name}.wandb").read_bytes() for folder in attempts)
    for key in (b"train/train_loss", b"eval/val_loss", b"eval/val_loss_by_source/shapes"):
        assert key in written


def test_trackio_holds_every_row_of_a_run_that_was_stopped_and_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="the extra fvlm[trackio] is not installed")
    from trackio.sqlite_storage import SQLiteStorage

    stored = mirrored(tmp_path, monkeypatch, "trackio")
    logs = SQLiteStorage.get_logs("tiny", "tiny")
    for kind, name, rows in (
        ("train", "train_loss", stored.train_rows()),
        ("eval", "val_loss", stored.evaluations()),
    ):
        key = f"{kind}/{name}"
        found = {log["step"]: log[key] for log in logs if key in log}
        assert found == pytest.approx({row["step"]: row[name] for row in rows})


@pytest.mark.parametrize("count", [1, 3])
def test_the_end_of_a_run_waits_for_all_its_trackers_together(
    count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiny import StopAfter

    blocked = [Blocked() for _ in range(count)]
    builds = iter(blocked)
    offer(monkeypatch, lambda config, run: next(builds))
    monkeypatch.setattr(mirror, "resolved", lambda config: {})
    monkeypatch.setattr(mirror, "CLOSE_SECONDS", 1.0)
    observer = StopAfter()
    named = tuple(Chosen(f"mine-{number}", "mine:mine", None) for number in range(count))
    with Mirrored(observer, named, "recipe", tmp_path) as trackers:
        trackers.started(type("run", (), {"id": "r", "config": None}), 0, 10)  # type: ignore[arg-type]
        trackers.stepped(1, {"step": 1})
        begun = time.monotonic()
    assert 1 <= time.monotonic() - begun < 2.9  # one after the other: 3 s
    assert (
        len([text for text in observer.warnings if "still busy 1 s after the end of the run" in text])
        == count
    )
    for each in blocked:
        each.let_go.set()


CLINGING = """
import atexit, concurrent.futures, subprocess, sys, threading, time
from fvlm_core.cli.main import main
from fvlm_core.plugin_api import Tracker
from fvlm_core.training import tracker_thread as mirror
class Clinging(Tracker):
    def __init__(self, config, run):
        atexit.register(time.sleep, 600)
        threading.Thread(target=time.sleep, args=(600,)).start()
        subprocess.Popen(["sh", "-c", "sleep 600 & wait"])  # with a child, both with this process's output
        concurrent.futures.ThreadPoolExecutor().submit(time.sleep, 600)
    def log(self, row):
        time.sleep(600)
plain = mirror.registry()
class Found:
    component = type("component", (), {"target": "x:y"})
    def find(self, *name):
        return self
    def load(self, target):
        return Clinging
mirror.registry = Found
mirror.CLOSE_SECONDS = 0.5
sys.argv = ["fvlm", "run", *sys.argv[1:]]
sys.exit(main())
"""


def seconds_after_the_run(command: list[str], folder: Path, **environment: str) -> tuple[float, int, str]:
    """From the last step of a run to the end of all that its process wrote to; its exit code; what it said."""
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **environment}, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdout is not None
    said, last = "", time.monotonic()
    for line in process.stdout:
        said += line
        if "6/6" in line or "stopped by" in line:
            last = time.monotonic()
    return time.monotonic() - last, process.wait(), said


@pytest.mark.parametrize("rate", ["1e-3", "1e38"])
def test_the_process_ends_though_a_trackers_library_would_have_it_wait(rate: str, tmp_path: Path) -> None:
    """After a run that is complete, and after one that failed: with its own exit code."""
    (tmp_path / "tiny.toml").write_text(RECIPE + '[[trackers]]\nname = "tensorboard"\n')
    (tmp_path / "clinging.py").write_text(CLINGING)
    command = [warm.python(), "clinging.py", "tiny.toml", "-o", f"training.lr={rate}"]
    seconds, code, said = seconds_after_the_run(command, tmp_path, FVLM_CACHE=str(tmp_path / "cache"))
    assert code == (1 if rate == "1e38" else 0), said
    assert code or seconds < 10, said


HURRIED = """
import sys
from fvlm_core.cli.main import main
from fvlm_core.training import tracker_thread as mirror
mirror.CLOSE_SECONDS = 0.5
sys.exit(main())
"""


def test_wandb_that_cannot_be_reached_does_not_keep_the_process_beyond_five_seconds(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="the extra fvlm[wandb] is not installed")
    (tmp_path / "tiny.toml").write_text(RECIPE + '[[trackers]]\nname = "wandb"\nmode = "online"\n')
    seconds, code, said = seconds_after_the_run(
        [warm.python(), "-c", HURRIED, "run", "tiny.toml"],
        tmp_path,
        FVLM_CACHE=str(tmp_path / "cache"),
        WANDB_API_KEY="0" * 40,
        WANDB_BASE_URL="http://127.0.0.1:9",  # nobody is there
    )
    assert code == 0, said
    assert "tracker wandb" in said
    assert seconds < 20  # wandb itself waits for 90
    assert mirror.CLOSE_SECONDS == 5.0

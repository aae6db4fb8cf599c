"""What a run promises when things go wrong, end to end on a model of a few thousand parameters."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import warm
from tiny import RECIPE, run_cli, train, trained

from fvlm_core.runs.checkpoint import latest_checkpoint
from fvlm_core.runs.metrics import deterministic
from fvlm_core.runs.store import StoredRun, find_run
from fvlm_core.utils.atomic_files import sha256
from fvlm_core.utils.errors import FvlmError
from fvlm_core.utils.folder_lock import writing

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a complete run and the rendered clips."""
    return trained(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def stopped(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose run was stopped after step 4."""
    root = tmp_path_factory.mktemp("stopped") / "runs"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(undisturbed / "cache"))
        train(undisturbed / "tiny.toml", root, until=4)
    return root


@pytest.fixture
def place(undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the recipe and no run, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FVLM_CACHE", str(undisturbed / "cache"))
    (tmp_path / "tiny.toml").write_text(RECIPE)
    return tmp_path


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli(list(arguments), monkeypatch, capsys)


def outcome(folder: Path) -> tuple[str, list[dict[str, Any]]]:
    """The hash of the final weights, and the rows that no clock decides."""
    run: StoredRun = find_run("tiny/tiny", folder / "runs")
    newest, damaged = latest_checkpoint(run.folder / "checkpoints")
    assert newest is not None
    assert damaged == []
    return sha256(newest / "model.safetensors"), [deterministic(row) for row in run.rows()]


def contents(folder: Path) -> dict[str, bytes]:
    """Of all files but the sign of life that a writer renews."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != ".alive"]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


def test_the_same_command_is_right_in_every_state(
    undisturbed: Path, place: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing there: it starts. Failed: it resumes. Interrupted: it resumes. Finished: it says so."""
    from fvlm_core.training import loop

    real = loop.evaluate

    def failing(*arguments: Any, **options: Any) -> Any:
        raise FvlmError("the disk of the validation set went away")

    monkeypatch.setattr(loop, "evaluate", failing)
    code, out, err = cli("run", "tiny.toml")
    assert (code, "the disk of the validation set went away" in err) == (1, True)
    assert "tiny: 6 steps" in out
    monkeypatch.setattr(loop, "evaluate", real)
    train(place / "tiny.toml", place / "runs", until=2)
    code, out, _ = cli("run", "tiny.toml")
    assert code == 0
    assert "continues at step 2 of 6" in out
    before = contents(place / "runs")
    code, out, _ = cli("run", "tiny.toml")
    assert (code, "already complete" in out) == (0, True)
    assert contents(place / "runs") == before
    assert outcome(place) == outcome(undisturbed)


def test_runs_that_are_complete_are_counted_and_said_beside_those_that_are_not(place: Path, cli: Cli) -> None:
    one = RECIPE + '[[runs]]\nid = "a"\n'
    (place / "tiny.toml").write_text(one)
    assert cli("run", "tiny.toml", "-o", "training.steps=2")[0] == 0
    (place / "tiny.toml").write_text(one + '[[runs]]\nid = "b"\n')
    code, out, err = cli("run", "tiny.toml", "-o", "training.steps=2")
    assert code == 0, err
    assert "[1/2] a: already complete\n[2/2] b: 2 steps" in out


def test_a_run_that_was_moved_half_way_continues_bit_for_bit(
    undisturbed: Path, place: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli
) -> None:
    train(place / "tiny.toml", place / "runs", until=2)
    there = shutil.move(place, place.parent / f"{place.name}-there")
    assert not [file for file in Path(there).rglob("*") if file.is_symlink()]
    monkeypatch.chdir(there)
    code, out, err = cli("run", "tiny.toml")
    assert code == 0, err
    assert "continues at step 2 of 6" in out
    assert outcome(Path(there)) == outcome(undisturbed)


@pytest.mark.parametrize(
    "file", ["model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]
)
def test_a_damaged_checkpoint_is_named_and_the_run_continues_from_the_one_before(
    file: str, undisturbed: Path, stopped: Path, place: Path, cli: Cli
) -> None:
    shutil.copytree(stopped, place / "runs")
    folder = place / "runs/tiny/tiny/checkpoints"
    newest, _ = latest_checkpoint(folder)
    assert newest is not None
    content = (newest / file).read_bytes()
    middle = (
        0 if file == "manifest.json" else len(content) // 2
    )  # elsewhere in it are the hashes of the others
    (newest / file).write_bytes(content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :])
    code, out, err = cli("run", "tiny.toml")
    assert code == 0, err
    assert "note: damaged checkpoint passed over: " in out
    assert f"{newest.name}/{file}" in out
    assert "continues at step 2 of 6" in out
    assert outcome(place) == outcome(undisturbed)


def test_a_clock_that_goes_backwards_orders_nothing(
    undisturbed: Path, place: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(2_000_000_000, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(now)))
    train(place / "tiny.toml", place / "runs", until=4)
    for age, checkpoint in enumerate(sorted((place / "runs/tiny/tiny/checkpoints").glob("step-*"))):
        os.utime(checkpoint, (10_000 - age, 10_000 - age))  # the newest by step is the oldest by its date
    code, out, err = cli("run", "tiny.toml")
    assert code == 0, err
    assert "continues at step 4 of 6" in out
    assert outcome(place) == outcome(undisturbed)
    walls = [row["wall_time_sec"] for row in find_run("tiny/tiny", place / "runs").evaluations()]
    assert walls == sorted(walls)
    assert walls[0] > 0


def test_a_second_writer_is_refused_with_who_and_since_when_and_touches_nothing(
    place: Path, cli: Cli
) -> None:
    train(place / "tiny.toml", place / "runs", until=2)
    folder = place / "runs/tiny/tiny"
    with writing(folder):
        before = contents(folder)
        code, _, err = cli("run", "tiny.toml")
        assert code == 1
        assert f"is being written by process {os.getpid()} on " in err
        assert " since 20" in err
        assert contents(folder) == before
    assert cli("run", "tiny.toml")[0] == 0


def test_the_lock_of_a_killed_owner_is_free(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from fvlm_core.utils.folder_lock import writing\n"
        "with writing(Path(sys.argv[1])):\n    print('mine', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "mine\n"
    with pytest.raises(FvlmError, match=f"is being written by process {owner.pid} on "), writing(tmp_path):
        pass
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    with writing(tmp_path):
        assert json.loads((tmp_path / ".owner.json").read_text())["pid"] == os.getpid()


FULL_DISK = """
import json, sys, torch
from pathlib import Path
from fvlm_core.utils.errors import FvlmError
from fvlm_core.runs.checkpoint import Checkpoint, clear_unfinished, latest_checkpoint, rehearse, save_checkpoint
from fvlm_core.runs.metrics import MetricsWriter, read_metrics

disk = Path(sys.argv[1])
told = {}

def attempt(name, action):
    try:
        action()
        told[name] = None
    except FvlmError as error:
        told[name] = str(error)

def checkpoint(step, numbers):
    return Checkpoint({"w": torch.full((numbers,), float(step))}, {"exp_avg.w": torch.zeros(8)}, {"step": step})

attempt("rehearsal that fits", lambda: rehearse(disk / "c", 1_000_000))
attempt("rehearsal", lambda: rehearse(disk / "c", 3_000_000))
attempt("first", lambda: save_checkpoint(disk / "c", checkpoint(1, 100_000)))
attempt("second", lambda: save_checkpoint(disk / "c", checkpoint(2, 600_000)))
newest, damaged = latest_checkpoint(disk / "c")
told["newest"], told["damaged"] = newest.name, damaged
told["left"] = [p.name for p in (disk / "c").iterdir() if p.name.startswith(".tmp")]
with MetricsWriter(disk / "m.jsonl", "r", 0) as metrics:
    metrics.write("train", step=1, note="x")
    (disk / "ballast").write_bytes(b"")
    with (disk / "ballast").open("wb", buffering=0) as out:
        try:
            while out.write(bytes(4096)):
                pass
        except OSError:
            pass
    def rows():
        for step in range(2, 2000):
            metrics.write("train", step=step, note="y" * 200)
    attempt("metrics", rows)
told["rows"] = [row["step"] for row in read_metrics(disk / "m.jsonl")][:1]
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def full_disk(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What happened on a disk of 2 MB, in a mount namespace of its own."""
    folder = tmp_path_factory.mktemp("disk")
    script = folder / "full.py"
    script.write_text(FULL_DISK)
    (folder / "disk").mkdir()
    mount = f"mount -t tmpfs -o size=2m tmpfs {folder / 'disk'}"
    if subprocess.run(["unshare", "-rm", "sh", "-c", mount], capture_output=True).returncode != 0:
        pytest.skip("no mount namespaces here: a small disk cannot be made")
    command = f"{mount} && exec {sys.executable} {script} {folder / 'disk'}"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", command], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_full_disk_says_what_is_needed_and_what_there_is_and_harms_nothing(
    full_disk: dict[str, Any],
) -> None:
    assert full_disk["first"] is None
    assert "it needs 2.4 MB, has 1." in full_disk["second"]
    assert "disk/c" in full_disk["second"]
    assert (full_disk["newest"], full_disk["damaged"], full_disk["left"]) == ("step-00000001", [], [])


def test_a_rehearsal_finds_a_full_disk_before_the_first_step(full_disk: dict[str, Any]) -> None:
    assert full_disk["rehearsal that fits"] is None
    assert "it needs 3.0 MB, has 2." in full_disk["rehearsal"]


def test_metrics_that_find_no_room_stop_the_run_with_the_place(full_disk: dict[str, Any]) -> None:
    assert "m.jsonl" in full_disk["metrics"]
    assert "No space left on device" in full_disk["metrics"] or "the disk is full" in full_disk["metrics"]
    assert full_disk["rows"] == [1]


def test_a_quota_stops_the_run_with_the_last_checkpoint_intact(undisturbed: Path, place: Path) -> None:
    """The end of a quota, as RLIMIT_FSIZE makes it: no file may grow beyond 100 kB; a checkpoint needs 205 kB."""
    train(place / "tiny.toml", place / "runs", until=2)
    before = contents(place / "runs/tiny/tiny/checkpoints")
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "sys.argv = ['fvlm', 'run', 'tiny.toml']\n"
        "from fvlm_core.cli.main import main; sys.exit(main())"
    )
    done = subprocess.run([warm.python(), "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "no checkpoint could be written: it needs 0.2 MB" in done.stderr
    assert "runs/tiny/tiny/checkpoints" in done.stderr
    assert contents(place / "runs/tiny/tiny/checkpoints") == before
    train(place / "tiny.toml", place / "runs")
    assert outcome(place) == outcome(undisturbed)

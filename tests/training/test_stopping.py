"""Ctrl-C in a step that takes longer than the grace: it is said how long, the step is finished and saved."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import grids
import pytest
import warm
from tiny import RECIPE

from fvlm_core.runs.checkpoint import latest_checkpoint
from fvlm_core.training.signals import Stopped

SLOW = """
import ctypes, sys, time
from fvlm_core.cli.main import main
from fvlm_core.training import gradient, signals
how, seconds, at, plain, made = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), gradient._step, []
signals.ECHO, signals.LONG = 0.5, 0.5
libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)  # zeroes are an unlocked mutex
libc.pthread_mutex_lock(mutex)
def block(seconds):  # it is locked by this thread: waits until the deadline, and no signal interrupts it
    whole, fraction = divmod(time.time() + seconds, 1)
    libc.pthread_mutex_timedlock(mutex, (ctypes.c_long * 2)(int(whole), int(fraction * 1e9)))
def slow(stream):
    made.append(1)
    print("step", len(made), flush=True)
    lasts = seconds if len(made) == at else 1.6
    if how == "python":
        time.sleep(lasts)
    else:  # the main thread in one long call, as in a backward pass
        block(lasts)
    return plain(stream)
gradient._step = slow
sys.argv = ["fvlm", "run", "tiny.toml", "-o", *(sys.argv[4:] or ["checkpoints.grace=0.5"])]
sys.exit(main())
"""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start(tmp_path: Path, cache: Path) -> Start:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "slow.py").write_text(SLOW)

    def run(how: str, seconds: float, at: int, *overrides: str) -> subprocess.Popen[str]:
        """A run whose step of this number takes so many seconds, the others 1.6."""
        return subprocess.Popen(
            [warm.python(), "slow.py", how, str(seconds), str(at), *overrides],
            cwd=tmp_path,
            env={**os.environ, "FVLM_CACHE": str(cache)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return run


def until(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout is not None
    for said in process.stdout:
        if said.strip() == line:
            time.sleep(0.2)
            return
    raise AssertionError(process.communicate()[1])


@pytest.mark.parametrize(
    ("number", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 75), ("SIGUSR2", 75)]
)
def test_a_stop_has_the_exit_code_that_shells_and_schedulers_know(number: str, code: int) -> None:
    """128 + the signal's number; EX_TEMPFAIL of sysexits.h for the signals by which Slurm asks for a requeue."""
    assert Stopped(getattr(signal, number)).exit_code == code


@pytest.mark.parametrize("how", [pytest.param("python", marks=pytest.mark.soak), "library"])
def test_ctrl_c_waits_for_a_step_longer_than_the_grace_says_so_and_saves_it(
    how: str, start: Start, tmp_path: Path
) -> None:
    process = start(how, 1.5, 2)
    until(process, "step 2")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "SIGINT: finishing this step (0 s so far, the last one took " in said
    assert " s) and saving; a second signal leaves at once" in said
    assert "abandoned" not in said
    newest, damaged = latest_checkpoint(tmp_path / "runs/tiny/tiny/checkpoints")
    assert (newest and newest.name, damaged) == ("step-00000002", [])


def test_a_second_signal_leaves_at_once_even_in_the_middle_of_one_long_call(
    start: Start, tmp_path: Path
) -> None:
    process = start("library", 15, 1)
    until(process, "step 1")
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    begun = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - begun < 8
    assert process.returncode == 130
    assert "left at once, without saving" in said
    assert latest_checkpoint(tmp_path / "runs/tiny/tiny/checkpoints") == (None, [])


def test_sigterm_in_such_a_step_ends_with_the_grace_and_that_is_said_first(start: Start) -> None:
    process = start("library", 6, 2)
    until(process, "step 2")
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - begun < 5
    assert process.returncode == 143
    assert "and saving, which is abandoned after 0.5 s (checkpoints.grace)" in said
    assert "not saved within 0.5 s of the signal: abandoned; the checkpoint before it is intact" in said


def test_in_a_job_of_slurm_signals_save_however_many_come(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGTERM once more after the time in which it is an echo is another wish elsewhere, and leaves unsaved."""
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    process = start("library", 1.5, 1, "checkpoints.grace=20")
    until(process, "step 1")
    for number, pause in ((signal.SIGTERM, 0.7), (signal.SIGTERM, 0.1), (signal.SIGUSR2, 0)):
        process.send_signal(number)
        time.sleep(pause)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    assert "and saving; further ones change nothing" in said
    newest, _ = latest_checkpoint(tmp_path / "runs/tiny/tiny/checkpoints")
    assert newest
    assert newest.name == "step-00000001"


def test_data_workers_outlive_a_sigterm_to_every_process(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("steps = 6", "steps = 4000\nlog_every = 1"))
    env = {**os.environ, "FVLM_CACHE": str(cache)}
    process = warm.start("run", "tiny.toml", "-o", "training.workers=2", cwd=tmp_path, env=env)
    run = tmp_path / "runs/tiny/tiny"
    grids.until(lambda: grids.step(run) > 2, 60)
    trainer, *workers = warm.below(process)
    assert len(workers) == 2
    for one in workers:
        one.terminate()
    time.sleep(0.5)
    trainer.terminate()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 143, said
    newest, _ = latest_checkpoint(run / "checkpoints")
    assert newest
    assert int(newest.name.removeprefix("step-")) == grids.step(run)

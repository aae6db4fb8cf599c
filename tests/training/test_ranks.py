"""Two ranks: batches and losses of one process, checkpoints for any number of ranks, failures that all share.

The checks are the functions of `pair.py`; both processes are started once for all of them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import warm
from grids import until
from tiny import RECIPE, run_cli

PAIR = Path(__file__).parents[1] / "helpers" / "pair.py"
CHECKS = [
    line.removeprefix("def ").partition("(")[0]
    for line in PAIR.read_text().splitlines()
    if line.startswith("def ") and line.endswith("(pair: Pair) -> None:")
]
LONG = "the_other_parallel_modes_and_policies_change_no_weight_either"
CHECKS.remove(LONG)


def checked(folder: Path, *names: str) -> dict[str, str]:
    file = folder / "results.json"
    out = subprocess.run(
        [warm.python(), str(PAIR), str(file), *names],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert file.exists(), out.stderr
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return checked(tmp_path_factory.mktemp("pair"), *CHECKS)


@pytest.mark.parametrize("check", CHECKS)
def test_two_ranks(check: str, results: dict[str, str]) -> None:
    assert results.get(check, "never reached") == ""


@pytest.mark.soak
def test_every_parallel_mode_under_every_policy(tmp_path: Path) -> None:
    assert checked(tmp_path, LONG) == {LONG: ""}


def test_torchrun_stops_on_sigterm_and_one_process_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    text = RECIPE.replace("steps = 6", "steps = 30").replace("every = 2", "every = 15")
    (tmp_path / "tiny.toml").write_text(text)
    log = tmp_path / "log.txt"
    launched = [warm.python(), "-m", "torch.distributed.run", "--nproc-per-node", "2", "--no-python"]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*launched, warm.folder() / "fvlm", "run", "tiny.toml"],
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    metrics = tmp_path / "runs" / "tiny" / "tiny" / "metrics.jsonl"
    end = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < end and not metrics.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    assert log.read_text().count("stopped by SIGTERM; the same command continues from here") == 1
    (saved,) = (metrics.parent / "checkpoints").glob("step-*")
    step = int(saved.name.removeprefix("step-"))
    assert 0 < step < 30
    code, said, error = run_cli(["run", "tiny.toml", "-o", f"training.steps={step + 1}"], monkeypatch, capsys)
    assert code == 2, said + error  # another length is another schedule
    code, said, error = run_cli(["run", "tiny.toml"], monkeypatch, capsys)
    assert code == 0, said + error
    assert f"continues at step {step} of 30" in said
    assert "continues with another world size: 2 -> 1" in said
    assert "continues with another parallel mode: ddp -> single" in said


def test_tasks_of_srun_are_ranks_and_one_that_is_killed_is_named_by_the_other(tmp_path: Path) -> None:
    """The variables that srun 22.05 gives two tasks on one node; the second gets SIGKILL, which it cannot tell of."""
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("steps = 6", "steps = 4000\nlog_every = 1"))
    step = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_NODES": "1"}
    of_both = {**os.environ, **step, "SLURM_STEP_NUM_TASKS": "2", "FVLM_CACHE": str(tmp_path / "cache")}
    tasks = [
        warm.start(
            "run", "tiny.toml", cwd=tmp_path, env={**of_both, "SLURM_PROCID": rank, "SLURM_LOCALID": rank}
        )
        for rank in "01"
    ]
    rows = tmp_path / "runs" / "tiny" / "tiny" / "metrics.jsonl"
    until(lambda: rows.exists() and len(rows.read_text().splitlines()) > 4, 120)
    warm.below(tasks[1])[0].kill()
    said, _ = tasks[0].communicate(timeout=60)
    assert tasks[0].returncode == 1
    assert said.splitlines()[-1].startswith(
        "lost contact with rank 1 of 2; its own message or that of what started it"
    )
    tasks[1].communicate(timeout=60)


def test_tasks_of_srun_with_other_command_lines_are_told_how_to_be_runs_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    step = {"SLURM_JOB_ID": str(os.getpid() + 1), "SLURM_STEP_ID": "0", "SLURM_STEP_NUM_NODES": "1"}
    of_both = {**os.environ, **step, "SLURM_STEP_NUM_TASKS": "2", "FVLM_CACHE": str(tmp_path / "cache")}
    tasks = [
        warm.start(
            *("run", "tiny.toml", "-o", f"name=tiny{rank}"),
            cwd=tmp_path,
            env={**of_both, "SLURM_PROCID": rank, "SLURM_LOCALID": rank},
        )
        for rank in "01"
    ]
    said = [task.communicate(timeout=120)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [1, 1]
    assert "were given different command lines" in said[0]
    assert "WORLD_SIZE=1" in said[0]
    # torch 2.10's Gloo tells on stdout that it is connected.
    assert not [line for line in said[1].splitlines() if not line.startswith("[Gloo]")]

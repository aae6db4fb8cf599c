"""Jobs of SLURM, as far as scripts can play it: what is submitted, found, waited for, and told."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fvlm_slurm.config import Slurm
from fvlm_slurm.launcher import SlurmLauncher
from grids import ended, recipe, shell, slurm_job, until
from tiny import run_cli

from fvlm_core.plugin_api import Ended, FvlmError, NotNow


def test_slurm_is_asked_for_what_the_settings_say_and_pickles_nothing_of_ours(
    cluster: Path, tmp_path: Path
) -> None:
    settings = Slurm(
        partition="gpu", account="lab", time=120, mem=16, cpus=8, gpus=1, signal=45,
        sbatch=("exclusive", "reservation=x"),
    )  # fmt: skip
    launcher = SlurmLauncher(settings)
    launcher.open()
    task = launcher.start(shell(tmp_path / "log" / "start-1.txt", "echo said; exit 75"), 0)
    assert ended(task) == Ended(75, "job 101")
    assert (tmp_path / "log" / "start-1.txt").read_text() == "said\n"
    script = (cluster / "101.sh").read_text()
    for line in (
        *("partition=gpu", "account=lab", "time=120", "mem=16GB", "cpus-per-task=8", "gpus-per-node=1"),
        *("signal=USR2@45", "no-requeue", "exclusive", "reservation=x", "job-name=grid/r1"),
    ):
        assert f"#SBATCH --{line}\n" in script
    pickled = (tmp_path / "log" / "submitit" / "101_submitted.pkl").read_bytes()
    assert b"execv" in pickled
    assert b"fvlm_core" not in pickled


def test_a_slurm_job_gets_one_signal_however_many_are_sent(cluster: Path, tmp_path: Path) -> None:
    text = "trap 'echo TERM' TERM; trap 'echo USR2; sleep 0.5; exit 75' USR2; echo ready; while :; do sleep 0.05; done"
    log = tmp_path / "log" / "start-1.txt"
    task = SlurmLauncher(Slurm()).start(shell(log, text), 0)
    until(lambda: log.exists() and "ready" in log.read_text(), 30)
    job = slurm_job(log)
    job.send_signal(signal.SIGUSR2)
    time.sleep(0.2)
    job.send_signal(signal.SIGTERM)
    assert ended(task).code == 75
    assert log.read_text() == "ready\nUSR2\n"


def test_a_slurm_job_that_vanishes_counts_as_killed_and_one_that_is_cancelled_saves(
    cluster: Path, tmp_path: Path
) -> None:
    launcher = SlurmLauncher(Slurm())
    logs = [tmp_path / name / "log" / "start-1.txt" for name in ("a", "b")]
    text = "trap 'echo saved; exit 143' TERM; echo ready; while :; do sleep 0.05; done"
    tasks = [launcher.start(shell(log, text), slot) for slot, log in enumerate(logs)]
    until(lambda: all(log.exists() and "ready" in log.read_text() for log in logs), 30)
    subprocess.run(["kill", "-9", "--", f"-{(cluster / '101.pid').read_text().strip()}"], check=True)
    (cluster / "101.state").write_text("NODE_FAIL\n")
    tasks[1].stop()
    assert ended(tasks[0]) == Ended(-signal.SIGKILL, "job 101: NODE_FAIL, no exit code")
    assert ended(tasks[1]).code == 143
    assert logs[1].read_text() == "ready\nsaved\n"


def test_jobs_of_an_earlier_command_are_found_in_the_queue(cluster: Path, tmp_path: Path) -> None:
    log = tmp_path / "log" / "start-1.txt"
    job = shell(log, "echo ready; sleep 600")
    SlurmLauncher(Slurm()).start(job, 0)
    later = SlurmLauncher(Slurm())
    found = later.find(job)
    assert found is not None
    assert found.poll() is None
    assert found.place == "job 101 RUNNING"
    until(log.exists, 30)
    found.stop()
    assert ended(found).code != 0
    assert later.find(job) is None


def test_what_sbatch_refuses_is_told(cluster: Path, tmp_path: Path) -> None:
    (cluster / "refuse").write_text("sbatch: error: invalid account")
    with pytest.raises(FvlmError, match=r"grid/r1 cannot be submitted: .*invalid account"):
        SlurmLauncher(Slurm(account="nobody")).start(shell(tmp_path / "log" / "start-1.txt", "true"), 0)


def test_a_cluster_s_and_a_person_s_variables_reach_sbatch_but_not_another_job_s(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that another one submits, of a person who has an account and a partition set."""
    given = {
        "SLURM_CONF": "/etc/here.conf",
        "SBATCH_ACCOUNT": "lab",
        "SBATCH_PARTITION": "cpu",
        "SBATCH_EXCLUSIVE": "1",
    }
    others = {
        "SLURM_JOB_ID": "7",
        "SLURM_NTASKS": "8",
        "SLURM_MEM_PER_NODE": "3",
        "RANK": "3",
        "SBATCH_TIMELIMIT": "1",
    }
    for name, value in (given | others).items():
        monkeypatch.setenv(name, value)
    task = SlurmLauncher(Slurm(partition="gpu")).start(shell(tmp_path / "log" / "start-1.txt", "true"), 0)
    seen = dict(line.partition("=")[::2] for line in (cluster / "101.env").read_text().splitlines())
    assert {name: seen.get(name) for name in given} == given | {
        "SBATCH_PARTITION": None
    }  # -l partition=gpu wins
    assert not {*others} & {*seen}
    assert {name: os.environ[name] for name in given | others} == given | others
    assert ended(task).code == 0


def test_a_job_in_the_queue_is_found_however_old_it_is_and_says_what_it_waits_for(
    cluster: Path, tmp_path: Path
) -> None:
    """Without accounting, which is asked at most once and complains to nobody."""
    (cluster / "pend").touch()
    (cluster / "reason").write_text("QOSMaxJobsPerUserLimit")
    job = shell(tmp_path / "log" / "start-1.txt", "true")
    SlurmLauncher(Slurm()).start(job, 0)
    os.utime(tmp_path / "log" / "start-1.json", (1, 1))
    later = SlurmLauncher(Slurm())
    found = later.find(job)
    assert found is not None
    assert found.poll() is None
    assert found.place == "job 101 PENDING (QOSMaxJobsPerUserLimit)"
    (cluster / "away").touch()  # the controller: nothing is known, and nothing concluded
    assert SlurmLauncher(Slurm()).find(job) is not None
    until(lambda: found.poll() or "contact" in found.place, 30)
    assert found.place == (
        "job 101 PENDING (QOSMaxJobsPerUserLimit) when last seen; squeue: slurm_load_jobs error: Unable to contact "
        "slurm controller"
    )
    (cluster / "away").unlink()
    (cluster / "101.state").unlink()  # it has left the queue
    assert ended(found) == Ended(-signal.SIGKILL, "job 101: GONE, no exit code")
    assert later.find(job) is None
    assert (cluster / "accounting").read_text() == "asked\n"


@pytest.mark.parametrize(
    "said",
    [
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates "
        "accounting/QOS policy (job submit limit, user's size and/or time limits)",
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
    ],
)
def test_what_sbatch_takes_later_is_no_failure(said: str, cluster: Path, tmp_path: Path) -> None:
    (cluster / "refuse").write_text(said)
    with pytest.raises(NotNow):
        SlurmLauncher(Slurm()).start(shell(tmp_path / "log" / "start-1.txt", "true"), 0)
    (cluster / "refuse").write_text(
        "sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission failed: Job violates "
        "accounting/QOS policy (job submit limit, user's size and/or time limits)"
    )
    with pytest.raises(FvlmError) as caught:
        SlurmLauncher(Slurm()).start(shell(tmp_path / "log" / "start-1.txt", "true"), 0)
    assert not isinstance(caught.value, NotNow)


def test_a_job_that_slurm_starts_again_leaves_the_run_to_whoever_waits_for_it(
    cluster: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log" / "start-1.txt"
    assert ended(SlurmLauncher(Slurm()).start(shell(log, "echo ran; exit 75"), 0)).code == 75
    again = subprocess.run([sys.executable, "-m", "fvlm_slurm.job", log.with_suffix(".json")], check=False)
    assert (again.returncode, log.read_text()) == (0, "ran\n")


def test_sbatch_is_not_told_what_would_start_a_run_twice() -> None:
    for option in ("requeue", "--requeue", "array=1-3", "wait"):
        with pytest.raises(ValueError, match="the launcher decides it"):
            Slurm(sbatch=("exclusive", option))


def test_an_array_is_one_submission_whose_jobs_end_each_by_itself(cluster: Path, tmp_path: Path) -> None:
    launcher = SlurmLauncher(Slurm(array=True), slots=2)
    logs = [tmp_path / name / "log" / "start-1.txt" for name in ("a", "b", "c")]
    tasks = launcher.start_together(
        [shell(log, f"echo {number}; exit {70 + number}") for number, log in enumerate(logs)]
    )
    assert [task.place for task in tasks] == ["job 101_0", "job 101_1", "job 101_2"]
    assert [ended(task).code for task in tasks] == [70, 71, 72]
    assert [log.read_text() for log in logs] == ["0\n", "1\n", "2\n"]
    script = (cluster / "101.sh").read_text()
    assert re.search(r"^#SBATCH --array='?0-2%2'?$", script, re.MULTILINE)
    assert "#SBATCH --job-name=grid\n" in script


def test_runs_that_wait_in_a_queue_are_listed_as_queued_until_they_begin_or_are_given_up(
    cluster: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def listed() -> dict[str, str]:
        code, out, _ = run_cli(["runs", "list", "--json"], monkeypatch, capsys)
        assert code == 0
        return {entry["run"]: entry["state"] for entry in json.loads(out)}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    recipe(tmp_path / "grid.toml", 3)
    (cluster / "pend").touch()
    command = ["run", "grid.toml", "--launcher", "slurm", "--detach"]
    code, out, _ = run_cli(command, monkeypatch, capsys)
    assert (code, "r1: started: job 101" in out) == (0, True)
    assert listed() == {"grid/r1": "queued"}
    code, out, _ = run_cli(command, monkeypatch, capsys)
    assert (code, "r1: found under way: job 101 PENDING" in out) == (0, True)
    (cluster / "refuse").write_text("sbatch: error: invalid account")
    (cluster / "101.state").write_text("CANCELLED")
    code, _, err = run_cli(command, monkeypatch, capsys)
    assert (code, "invalid account" in err) == (1, True)
    assert listed() == {}

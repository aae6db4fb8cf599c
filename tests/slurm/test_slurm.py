"""Runs on SLURM as it is: whatever it does to a job, the same weights come of it, and a person is told why it waits."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psutil
import pytest
from campaigns import decided
from campaigns import recipe as campaign
from grids import history, kill_run, outcome, slurm_job, step, worker
from slurm_grid import CASE, PATIENCE, Grid, until
from videos import write_video

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(3 * PATIENCE)]

Record = Callable[[str, Any], None]


def test_a_job_is_found_in_the_queue_and_listed_as_queued_and_says_what_it_waits_for(
    plain: Grid, record_property: Record
) -> None:
    """Held by its owner, older than any accounting would need, its file two hours old."""
    hold = ("--only", "r1", "-l", 'sbatch=["hold"]')
    plain.said(plain.start(*hold, "--detach"))
    os.utime(plain.run("r1") / "log" / "start-1.json", (time.time() - 7200,) * 2)
    listed = plain.said(plain.fvlm("runs", "list"))
    assert re.search(r"grid/r1 +queued", listed)
    second = plain.start(*hold)
    jobs = [job for job in plain.cluster.jobs() if job[1] == "grid/r1"]
    plain.hear(second, f"found under way: job {jobs[0][0]} PENDING (JobHeldUser)")
    plain.cluster.ask("scontrol", "release", plain.job("r1"))
    said = plain.said(second)
    assert (len(jobs), history(plain.run("r1"))["logs"]) == (1, 1)
    assert "sacct" not in said
    assert "accounting" not in said
    assert plain.equal("r1")
    record_property(CASE, ("a job held in the queue for two hours, no accounting", "one job, found; equal"))


def test_a_pending_job_says_the_reason(plain: Grid, record_property: Record) -> None:
    """A partition that allows half an hour, and an hour asked for."""
    process = plain.start("--only", "r1", "-l", "partition=short")
    until(lambda: any(reason == "PartitionTimeLimit" for *_, reason in plain.cluster.jobs()))
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    said = plain.said(process, 130)
    assert re.search(r"r1: job \d+ PENDING \(PartitionTimeLimit\)", said)
    assert plain.job("r1") == ""
    listed = plain.said(plain.fvlm("runs", "list"))
    assert "queued" not in listed
    record_property(
        CASE, ("a job that no partition takes", "told: PENDING (PartitionTimeLimit); Ctrl-C cancels it")
    )


def test_a_job_that_vanished_is_made_again_without_accounting(plain: Grid, record_property: Record) -> None:
    process = plain.start("--only", "r1", real=True)
    until(lambda: step(plain.run("r1")) >= 15)
    trainer = worker(plain.run("r1"))
    job = plain.job("r1")
    slurm_job(plain.run("r1") / "log" / "start-1.txt").kill()  # which would write the exit code
    with suppress(psutil.NoSuchProcess):
        trainer.kill()
    said = plain.said(process)
    assert re.search(
        rf"r1: ended by SIGKILL \(job {job}: [A-Z]+, no exit code\); continues from step \d+", said
    )
    assert plain.equal("r1")
    record_property(
        CASE, ("everything of a job killed, no accounting", "noticed by squeue, made again; equal")
    )


def test_a_controller_that_is_away_is_waited_for(plain: Grid, record_property: Record) -> None:
    plain.cluster.stop_controller()
    process = plain.start("--only", "r1")
    time.sleep(8)
    assert process.poll() is None
    plain.cluster.start_controller()
    until(lambda: step(plain.run("r1")) >= 15)
    plain.cluster.stop_controller()  # while the job runs
    time.sleep(8)
    plain.cluster.start_controller()
    said = plain.said(process)
    assert said.count("Unable to contact slurm controller") <= 3  # sbatch's, and squeue's when it begins
    assert "r1: not yet: grid/r1 cannot be submitted: sbatch: error:" in said
    assert history(plain.run("r1"))["logs"] == 1
    assert plain.equal("r1")
    record_property(
        CASE, ("the controller away at the submission, and again while a job runs", "one job; equal")
    )


def test_a_node_that_dies_costs_the_steps_since_a_checkpoint(plain: Grid, record_property: Record) -> None:
    process = plain.start("--only", "r1", real=True)
    until(lambda: step(plain.run("r1")) >= 15)
    node = plain.cluster.ask("squeue", "-h", "-o", "%N", "-j", plain.job("r1")).strip()
    plain.cluster.kill_node(node)
    said = plain.said(process)
    plain.cluster.start_node(node)
    until(lambda: plain.cluster.states() == ["idle", "idle"])
    told = history(plain.run("r1"))
    assert "NODE_FAIL" in said
    assert told["twice"] < 20
    assert plain.equal("r1")
    what = f"made again on the other node from its checkpoint, {told['twice']} steps twice; equal"
    record_property(CASE, ("a node killed, its daemon too", what))


def test_a_job_that_slurm_requeues_leaves_the_run_to_the_command(
    plain: Grid, record_property: Record
) -> None:
    """Jobs carry --no-requeue; an administrator may allow it all the same."""
    process = plain.start("--only", "r1")
    until(lambda: step(plain.run("r1")) >= 15)
    job = plain.job("r1")
    assert "disabled" in plain.cluster.ask("scontrol", "requeue", job)
    plain.cluster.ask("scontrol", "update", f"JobId={job}", "Requeue=1")
    plain.cluster.ask("scontrol", "requeue", job)
    said = plain.said(process)
    told = history(plain.run("r1"))
    assert "complete" in said
    assert (told["twice"], told["logs"]) == (0, 2)
    assert plain.equal("r1")
    record_property(CASE, ("requeued by an administrator", "saved; trained on by one job of the two; equal"))


def test_an_array_is_one_job_of_slurm_which_keeps_to_the_slots(plain: Grid, record_property: Record) -> None:
    names = ("r1", "r2", "r3", "r4")
    chosen = [part for name in names for part in ("--only", name)]
    process = plain.start(*chosen, "--slots", "2", "-l", "array=true")
    seen: list[list[tuple[str, str, str, str]]] = []
    until(lambda: seen.append(plain.cluster.jobs()) or plain.run("r4").joinpath("summary.json").exists())
    said = plain.said(process)
    ids = {re.search(rf"{name}: started: job (\d+)_\d", said)[1] for name in names}  # type: ignore[index]
    at_once = max(sum(state == "RUNNING" for *_, state, _ in jobs) for jobs in seen)
    assert (len(ids), at_once) == (1, 2)
    assert re.search(r"r4: job \d+_3 PENDING \(JobArrayTaskLimit\)", said)
    assert plain.equal(*names)
    record_property(CASE, ("four runs as one array, two slots", f"{at_once} at once; all equal"))


def test_nine_runs_disturbed_at_twenty_random_moments(plain: Grid, record_property: Record) -> None:
    generator = random.Random(11)
    process = plain.start("--slots", "2", "--retries", "20")
    done = {"scancel": 0, "USR2": 0, "SIGKILL": 0}
    while sum(done.values()) < 20 and process.poll() is None:
        time.sleep(generator.uniform(0.2, 1.6))
        running = [job for job in plain.cluster.jobs() if job[2] == "RUNNING"]
        how = generator.choice([kind for kind, count in done.items() if count < 8])
        if not running:
            continue
        id, name, _, _ = generator.choice(running)
        if how == "SIGKILL":
            try:
                kill_run(plain.run(name.partition("/")[2]))
            except (OSError, psutil.NoSuchProcess):  # it has not begun to train
                continue
        else:
            plain.cluster.ask("scancel", *(["--signal=USR2"] if how == "USR2" else []), id)
        done[how] += 1
    said = plain.said(process)
    names = [f"r{number}" for number in range(1, 10)]
    starts = sum(history(plain.run(name))["logs"] for name in names)
    assert sum(done.values()) == 20, said
    assert plain.equal(*names)
    told = ", ".join(f"{count} {how}" for how, count in done.items())
    record_property(CASE, (f"nine runs over two slots, {told}", f"{starts} starts; all nine equal"))


def test_a_pack_in_eight_parts_of_which_two_are_killed_is_that_of_one_go(
    untrained: Grid, record_property: Record
) -> None:
    """One by SIGKILL, as a machine that runs out of memory does, one by scancel."""
    (untrained.folder / "clips").mkdir()
    for number in range(32):
        write_video(
            untrained.folder / "clips" / f"{number:02d}.mp4", 40, fps=10, width=64, height=64
        ).with_suffix(".txt").write_text(f"clip {number}")
    line = ("data", "pack", "clips", "-o", f"path={untrained.folder / 'clips'}", "-o", "holdout=0.0", "--size", "48",
            "--samples", "2", "--split", "train", "--processes", "1", "--to")  # fmt: skip
    untrained.said(untrained.fvlm(*line, "one"))
    process = untrained.fvlm(*line, "parts", "--parts", "8", "--launcher", "slurm", "--slots", "2")
    folder = untrained.folder / "parts" / "clips" / "train"

    def owner(part: int) -> int:
        try:
            return json.loads((folder / f".packing/parts/{part:05d}/.owner.json").read_text())["pid"]
        except (OSError, ValueError):
            return 0

    until(lambda: owner(3) > 0)
    os.kill(owner(3), signal.SIGKILL)
    until(lambda: owner(6) > 0)
    (job,) = [job for job in untrained.cluster.jobs() if job[1] == "pack/part-6"]
    untrained.cluster.ask("scancel", job[0])
    said = untrained.said(process)
    for part in (3, 6):
        assert re.search(rf"part {part} of 8: ended .*; \d shards are missing, and are made next", said), said
        assert re.search(rf"part {part} of 8: started: job \d+.*, start 2", said), said
    starts = {int(text) for text in re.findall(r"part (\d) of 8: started: [^\n]*, start \d", said)}
    assert starts == {3, 6}
    one = untrained.folder / "one" / "clips" / "train"
    names = sorted(file.name for file in one.iterdir())
    assert names == sorted(file.name for file in folder.iterdir())
    assert len(names) == 16 + 3
    for name in names:
        subprocess.run(["cmp", one / name, folder / name], check=True)
    record_property(
        CASE,
        (
            "a pack in eight parts over two slots, two of them killed",
            "the two made again; cmp equal to one go",
        ),
    )


def test_a_campaign_comes_to_the_verdict_of_one_process(plain: Grid, record_property: Record) -> None:
    campaign(plain.folder)
    for place, how in (("here", ()), ("there", ("--launcher", "slurm", "--slots", "2"))):
        plain.said(plain.fvlm("campaign", "small.toml", "--runs", place, *how))
    assert decided(plain.folder / "there") == decided(plain.folder / "here")
    runs = len(list((plain.folder / "there" / "small").glob("*/log/start-1.json")))
    record_property(
        CASE, ("a campaign over two slots", f"{runs} jobs, the same rounds and verdict as one process")
    )


def test_signals_to_every_process_again_and_again_save(signalling: Grid, record_property: Record) -> None:
    """The trainer and its two data workers get each SIGTERM from SLURM, and the trainer the first from its starter."""
    process = signalling.start("--only", "r1", "-o", "training.workers=2", real=True)
    until(lambda: step(signalling.run("r1")) >= 15)
    job = signalling.job("r1")
    for _ in range(3):
        signalling.cluster.ask("scancel", job)
    said = signalling.said(process)
    told = history(signalling.run("r1"))
    assert "ended after SIGTERM (exit code 143)" in said
    assert (told["logs"], told["twice"]) == (2, 0)
    assert signalling.equal("r1")
    what = "saved at the step, none made twice; equal"
    record_property(
        CASE, ("SIGTERM to all processes of a job three times (linuxproc), two data workers", what)
    )


def test_ranks_save_whoever_gets_the_signal_and_equal_those_of_srun(
    signalling: Grid, record_property: Record
) -> None:
    """Two processes through torchrun, told by USR2 and then by SIGTERM; two tasks of srun, left alone."""
    process = signalling.start("--only", "r1", "-l", "processes=2", real=True)
    for number, options in ((1, ("--signal=USR2",)), (2, ())):
        log = signalling.run("r1") / "log" / f"start-{number}.txt"
        begun = step(signalling.run("r1"))
        until(lambda log=log: log.exists())
        until(lambda begun=begun: step(signalling.run("r1")) >= begun + 15)
        signalling.cluster.ask("scancel", *options, signalling.job("r1"))
    signalling.said(process)
    told = history(signalling.run("r1"))
    command = ("-P", "-m", "fvlm_core", "run", "grid.toml", "--only", "r1", "--runs", "srun")
    signalling.cluster.environment |= {"FVLM_CACHE": signalling.environment["FVLM_CACHE"]}
    said = signalling.cluster.ask(
        "srun",
        "--ntasks=2",
        "--nodes=1",
        f"--chdir={signalling.folder}",
        sys.executable,
        *command,
        timeout=PATIENCE,
    )
    assert "r1" in said
    assert (told["logs"], told["twice"]) == (3, 0)
    assert outcome(signalling.run("r1")) == outcome(signalling.folder / "srun" / "grid" / "r1"), said
    what = "saved each time, none made twice; equal to two tasks of srun left alone"
    record_property(CASE, ("two ranks of torchrun, USR2 and SIGTERM to all processes", what))


def test_a_person_s_account_and_partition_are_those_of_the_job(
    accounted: Grid, record_property: Record
) -> None:
    """By variables of sbatch, and the cluster itself by SLURM_CONF alone."""
    process = accounted.start(
        "--only", "r1", "-l", "time=20", SBATCH_ACCOUNT="lab", SBATCH_PARTITION="short", SBATCH_TIMELIMIT="7"
    )
    until(lambda: accounted.job("r1"))
    asked = accounted.cluster.ask("squeue", "-h", "-o", "%a %P %l", "-j", accounted.job("r1"))
    accounted.said(process)
    assert asked.split() == ["lab", "short", "20:00"]
    assert accounted.equal("r1")
    record_property(CASE, ("SLURM_CONF, SBATCH_ACCOUNT, SBATCH_PARTITION", "those of the job; equal"))


def test_a_full_queue_is_waited_for(accounted: Grid, record_property: Record) -> None:
    modify = ("sacctmgr", "-i", "modify", "user", "root", "set")
    accounted.cluster.ask(*modify, "maxsubmitjobs=1")
    try:
        said = accounted.said(accounted.start("--only", "r1", "--only", "r2", "--slots", "2"))
    finally:
        accounted.cluster.ask(*modify, "maxsubmitjobs=-1")
    assert re.search(r"r2: not yet: .*MaxSubmitJob", said)
    assert said.count("r2: not yet") == 1
    assert accounted.equal("r1", "r2")
    record_property(CASE, ("MaxSubmitJobs=1, two slots", "the second submitted after the first; equal"))


def test_a_job_preempted_by_an_urgent_one_saves_and_comes_back(
    accounted: Grid, record_property: Record
) -> None:
    accounted.cluster.ask("sacctmgr", "-i", "modify", "qos", "normal", "set", "gracetime=20")
    process = accounted.start("--only", "r1", "-l", "cpus=2", "-l", "qos=normal")
    until(lambda: step(accounted.run("r1")) >= 15)
    urgent = ("sbatch", "--qos=urgent", "-N2", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 4")
    assert "Submitted" in accounted.cluster.ask(*urgent)
    said = accounted.said(process)
    told = history(accounted.run("r1"))
    assert "ended after SIGTERM (exit code 143)" in said
    assert re.search(r"r1: job \d+ PENDING \([A-Z]\w+\)", said)
    assert told["twice"] == 0
    assert accounted.equal("r1")
    record_property(CASE, ("preempted by QOS", "saved, waited, none made twice; equal"))


def test_a_job_that_takes_more_memory_than_it_asked_for_fails_and_says_so(
    accounted: Grid, record_property: Record
) -> None:
    said = accounted.said(accounted.start("--only", "r1", "-l", "mem=0.06", "--retries", "1", real=True), 1)
    assert re.search(r"r1: failed: .*2 starts in a row brought no new checkpoint", said)
    reason = re.findall(r"job \d+: ([A-Z_]+), no exit code|out of memory", said)
    assert reason, said
    told = json.dumps(sorted(set(reason)))
    record_property(CASE, ("ended by SLURM for its memory, each time", f"two starts, then failed: {told}"))


def test_nothing_is_left_behind(clusters: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """No file in /etc/slurm, and no daemon once a cluster is down: clusters beside a site's own do not meet it."""
    cluster = clusters("last")
    listening = {
        one.laddr.ip
        for one in psutil.net_connections("tcp")
        if one.status == "LISTEN" and _ours(one, cluster)
    }
    assert listening == {"127.0.0.1"}
    cluster.down()
    assert cluster.processes() == []
    assert not os.path.lexists("/etc/slurm/slurm.conf")


def _ours(one: Any, cluster: Any) -> bool:
    return one.pid in {process.pid for process in cluster.processes()}

"""Runs beside each other: what may start, what starts again, what is never started twice, and what a person is told."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import warm
from attrs import evolve
from filelock import FileLock
from fvlm_local.config import Local
from fvlm_local.launcher import LocalLauncher
from grids import ended, history, kill_run, outcome, preempt, recipe, shell, step, until
from tiny import run_cli, train

from fvlm_core.cli.launch_view import launch_table
from fvlm_core.execution.grid_run import GridRun
from fvlm_core.execution.jobs import CommandLine, earlier_runs, make_job, tail
from fvlm_core.execution.run_progress import Reached, reached
from fvlm_core.execution.scheduler import Pool, RetryPolicy
from fvlm_core.plugin_api import Ended, Job, Launcher, NotNow, Task, tied
from fvlm_core.recipes.read import Recipe, only, read_recipe
from fvlm_core.utils.errors import FvlmError, UsageError

# ---------------------------------------------------------------- a launcher whose jobs end as they are told


class Scripted(Launcher):
    """Ends the starts of each run as written down; a start that ends with 0 has completed its run.

    saves: the runs whose every start leaves a new checkpoint.
    """

    every = 0.0

    def __init__(self, ends: dict[str, list[int]], saves: tuple[str, ...] = ()) -> None:
        self.ends = {name: list(codes) for name, codes in ends.items()}
        self.saves = saves
        self.started: list[str] = []
        self.slots: list[int] = []
        self.alive: dict[str, ScriptedTask] = {}

    def start(self, job: Job, slot: int) -> Task:
        name = job.name.partition("/")[2]
        self.started.append(name)
        self.slots.append(slot)
        folder = job.log.parent.parent
        job.log.write_text(f"start {len(self.started)}\n")
        if name in self.saves:
            (folder / "checkpoints" / f"step-{len(self.started):08d}").mkdir(parents=True)
        self.alive[name] = ScriptedTask(self.ends[name].pop(0), folder)
        return self.alive[name]


class ScriptedTask(Task):
    place = "somewhere"

    def __init__(self, code: int, folder: Path) -> None:
        self.code, self.folder = code, folder
        self.looked = 0
        self.told: list[str] = []

    def poll(self) -> Ended | None:
        self.looked += 1
        if self.looked < 3:
            return None
        if self.code == 0:
            (self.folder / "summary.json").write_text('{"complete": true}')
        return Ended(self.code)

    def stop(self) -> None:
        self.told.append("stop")

    def kill(self) -> None:
        self.told.append("kill")


class Deaf(Scripted):
    """Its jobs never end."""

    def start(self, job: Job, slot: int) -> Task:
        task = super().start(job, slot)
        assert isinstance(task, ScriptedTask)
        task.looked = -(10**9)
        return task


class Heard:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def said(self, entry: GridRun, text: str) -> None:
        self.lines.append(f"{entry.run.id}: {text}")

    def seen(self, entries: Any) -> None:
        pass


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Runs r1, r2, r3; r3 starts from r1."""
    file = tmp_path_factory.mktemp("recipe") / "grid.toml"
    recipe(file, 3)
    return read_recipe(str(file))


def pool(
    read: Recipe,
    root: Path,
    launcher: Launcher,
    *,
    slots: int = 2,
    retries: int = 2,
    ambiguous: tuple[int, ...] = (),
) -> tuple[Pool[GridRun], Heard, dict[str, GridRun]]:
    heard = Heard()
    line = CommandLine("grid.toml", root)
    entries = [GridRun(root / "grid" / run.id, run, after=earlier_runs(read, run, root)) for run in read.runs]
    for entry in entries:
        entry.state = "waiting" if entry.after else "ready"
    made = Pool(
        entries,
        launcher,
        RetryPolicy(slots, retries, ambiguous),
        lambda entry: make_job(read, entry.run, line),
        heard,
    )
    return made, heard, {entry.run.id: entry for entry in entries}


def never() -> bool:
    return False


def test_a_run_waits_for_the_run_it_starts_from_and_slots_are_never_exceeded(
    read: Recipe, tmp_path: Path
) -> None:
    launcher = Scripted({"r1": [0], "r2": [0], "r3": [0]})
    made, heard, entries = pool(read, tmp_path, launcher)
    made.run(never)
    assert launcher.started == ["r1", "r2", "r3"]
    assert launcher.slots == [0, 1, 0]
    assert heard.lines.index("r3: started: somewhere") > heard.lines.index("r1: complete")
    assert {entry.state for entry in entries.values()} == {"complete"}
    one = Scripted({"r1": [0], "r2": [0], "r3": [0]})
    pool(read, tmp_path / "one", one, slots=1)[0].run(never)
    assert one.slots == [0, 0, 0]
    enough = Scripted({"r1": [0], "r2": [0], "r3": [0]})
    made, heard, _ = pool(read, tmp_path / "enough", enough, slots=3)
    made.run(never)  # with a slot free all the time
    assert heard.lines.index("r3: started: somewhere") > heard.lines.index("r1: complete")


@pytest.mark.parametrize(
    "code", [75, -signal.SIGKILL, -signal.SIGUSR2, 128 + signal.SIGTERM, 128 + signal.SIGKILL]
)
def test_what_was_interrupted_starts_again(code: int, read: Recipe, tmp_path: Path) -> None:
    launcher = Scripted({"r1": [code, code, 0], "r2": [0], "r3": [0]})
    made, _, entries = pool(read, tmp_path, launcher)
    made.run(never)
    assert launcher.started.count("r1") == 3
    assert entries["r1"].state == "complete"


@pytest.mark.parametrize("code", [1, 2, 0, 130, -signal.SIGINT])
def test_what_failed_by_itself_does_not_start_again_and_stops_nobody_but_those_that_need_it(
    code: int, read: Recipe, tmp_path: Path
) -> None:
    launcher = Scripted({"r1": [code], "r2": [75, 0]})
    if code == 0:  # ends well without having finished
        launcher.ends["r1"] = [0]
        ScriptedTask_poll = ScriptedTask.poll

        def poll(task: ScriptedTask) -> Ended | None:
            ended = ScriptedTask_poll(task)
            if ended and task.folder.name == "r1":
                (task.folder / "summary.json").write_text('{"complete": false}')
            return ended

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ScriptedTask, "poll", poll)
            made, _, entries = pool(read, tmp_path, launcher)
            made.run(never)
    else:
        made, _, entries = pool(read, tmp_path, launcher)
        made.run(never)
    assert launcher.started.count("r1") == 1
    assert [entries[name].state for name in ("r1", "r2", "r3")] == ["failed", "complete", "failed"]
    assert entries["r3"].note == "not started: it starts from r1, which failed"
    assert entries["r1"].log is not None
    assert tail(entries["r1"].log, 5) == ["start 1"]


def test_starts_that_bring_a_new_checkpoint_are_not_counted_against_a_run(
    read: Recipe, tmp_path: Path
) -> None:
    often = [75] * 7
    launcher = Scripted({"r1": [*often, 0], "r2": often, "r3": [0]}, saves=("r1",))
    made, heard, entries = pool(read, tmp_path, launcher)
    made.run(never)
    assert entries["r1"].state == "complete"
    assert launcher.started.count("r2") == 3  # the first and --retries 2
    assert entries["r2"].state == "failed"
    assert any(
        line.startswith("r2: failed: saved and ended, to be started again (exit code 75); 3 starts in a row")
        for line in heard.lines
    )


def test_under_torchrun_an_exit_code_of_one_may_be_an_interruption(read: Recipe, tmp_path: Path) -> None:
    launcher = Scripted({"r1": [1, 0], "r2": [1, 1, 1], "r3": [0]})
    made, _, entries = pool(read, tmp_path, launcher, ambiguous=(1,))
    made.run(never)
    assert [entries[name].state for name in ("r1", "r2")] == ["complete", "failed"]


def test_a_run_that_somebody_else_writes_is_waited_for_and_not_started(read: Recipe, tmp_path: Path) -> None:
    folder = tmp_path / "grid" / "r2"
    folder.mkdir(parents=True)
    lock = FileLock(folder / ".lock", thread_local=False)
    lock.acquire()

    def finish() -> None:
        time.sleep(0.3)
        (folder / "summary.json").write_text('{"complete": true}')
        lock.release()

    launcher = Scripted({"r1": [0], "r3": [0]})
    made, heard, entries = pool(read, tmp_path, launcher)
    threading.Thread(target=finish).start()
    made.run(never)
    assert "r2" not in launcher.started
    assert entries["r2"].state == "complete"
    assert "r2: being written by another process; it is waited for" in heard.lines


def test_a_job_that_found_its_run_taken_is_no_failure(read: Recipe, tmp_path: Path) -> None:
    class Late(Scripted):
        def start(self, job: Job, slot: int) -> Task:
            task = super().start(job, slot)
            if job.name == "grid/r2" and self.started.count("r2") == 1:
                lock.acquire()
                threading.Timer(0.3, lock.release).start()
            return task

    lock = FileLock(tmp_path / "grid" / "r2" / ".lock", thread_local=False)
    launcher = Late({"r1": [0], "r2": [1, 0], "r3": [0]})
    made, _, entries = pool(read, tmp_path, launcher)
    made.run(never)
    assert launcher.started.count("r2") == 2
    assert entries["r2"].state == "complete"


def test_a_stop_asks_every_job_and_ends_those_that_do_not_listen(
    read: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fvlm_core.execution.scheduler._MARGIN", -24.5)
    launcher = Deaf({"r1": [0], "r2": [0]})
    made, _, entries = pool(read, tmp_path, launcher)
    made.run(lambda: len(launcher.started) == 2)
    assert [task.told for task in launcher.alive.values()] == [["stop", "kill"]] * 2
    assert {entry.state for entry in entries.values()} == {"stopped"}


def test_what_may_be_submitted_later_is_tried_again_and_told_once(
    read: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed(Scripted):
        refusals = 0

        def start(self, job: Job, slot: int) -> Task:
            if len(self.started) == 1 and self.refusals < 3:
                self.refusals += 1
                raise NotNow("the queue is full")
            return super().start(job, slot)

    monkeypatch.setattr("fvlm_core.execution.scheduler._AGAIN", 0.01)
    launcher = Closed({"r1": [0], "r2": [0], "r3": [0]})
    made, heard, entries = pool(read, tmp_path, launcher)
    made.run(never)
    assert {entry.state for entry in entries.values()} == {"complete"}
    assert launcher.refusals == 3
    assert heard.lines.count("r2: not yet: the queue is full; it is tried again") == 1


def test_what_a_job_waits_for_is_told_when_it_changes(read: Recipe, tmp_path: Path) -> None:
    class Waiting(ScriptedTask):
        def poll(self) -> Ended | None:
            ended = super().poll()
            self.place = f"job 1 {'PENDING (Priority)' if self.looked < 2 else 'RUNNING'}"
            return ended

    class Queued(Scripted):
        def start(self, job: Job, slot: int) -> Task:
            task = super().start(job, slot)
            assert isinstance(task, ScriptedTask)
            return Waiting(task.code, task.folder)

    made, heard, _ = pool(read, tmp_path, Queued({"r1": [0], "r2": [0], "r3": [0]}))
    made.run(never)
    of_first = [line for line in heard.lines if line.startswith("r1")]
    assert of_first == [
        *("r1: started: somewhere", "r1: job 1 PENDING (Priority)", "r1: job 1 RUNNING", "r1: complete"),
    ]


def test_what_cannot_be_submitted_ends_all_only_when_it_is_the_first(read: Recipe, tmp_path: Path) -> None:
    class Full(Scripted):
        def start(self, job: Job, slot: int) -> Task:
            if job.name == refused:
                raise FvlmError("the queue is full")
            return super().start(job, slot)

    refused = "grid/r1"
    with pytest.raises(FvlmError, match="the queue is full"):
        pool(read, tmp_path / "first", Full({}))[0].run(never)
    refused = "grid/r2"
    made, _, entries = pool(read, tmp_path / "second", Full({"r1": [0], "r3": [0]}))
    made.run(never)
    assert [entry.state for entry in entries.values()] == ["complete", "failed", "complete"]
    assert entries["r2"].note == "not started: the queue is full"


def test_runs_that_may_start_together_are_handed_over_at_once(read: Recipe, tmp_path: Path) -> None:
    class Together(Scripted):
        together = True
        batches: tuple[list[str], ...] = ()

        def start_together(self, jobs: Any) -> list[Task]:
            self.batches = (*self.batches, [job.name for job in jobs])
            return [self.start(job, 0) for job in jobs]

    launcher = Together({"r1": [0], "r2": [75, 0], "r3": [0]})
    made, heard, entries = pool(read, tmp_path, launcher, slots=1)
    made.run(never)
    assert launcher.batches[0] == ["grid/r1", "grid/r2"]
    assert sorted(name for batch in launcher.batches[1:] for name in batch) == ["grid/r2", "grid/r3"]
    assert {entry.state for entry in entries.values()} == {"complete"}
    assert "r2: started: somewhere, start 2" in heard.lines


# ---------------------------------------------------------------- names, command lines, tables


def test_a_job_is_a_command_line_that_says_everything(read: Recipe, tmp_path: Path) -> None:
    line = CommandLine("grid.toml", tmp_path, ("training.steps=4",), ("training.lr",))
    assert line.of(read.runs[1]) == (
        *(sys.executable, "-P", "-m", "fvlm_core", "run", "grid.toml", "-o", "training.steps=4"),
        *("--allow-drift", "training.lr", "--runs", str(tmp_path), "--only", "r2"),
    )
    several = evolve(line, processes=2).of(read.runs[1])
    assert several[3:11] == (
        *("torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
        *("--signals-to-handle", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1,SIGUSR2", "-m", "fvlm_core"),
    )
    first = make_job(read, read.runs[0], line)
    first.log.touch()
    assert [first.log.name, make_job(read, read.runs[0], line).log.name] == ["start-1.txt", "start-2.txt"]


@pytest.mark.parametrize("start", ["grid/r1", "r1", "folder"])
def test_every_way_to_name_an_earlier_run_is_waited_for(start: str, read: Recipe, tmp_path: Path) -> None:
    named = str(tmp_path / "grid" / "r1") if start == "folder" else start
    third = read.runs[2]
    config = evolve(third.config, training=evolve(third.config.training, init_from=named))
    assert earlier_runs(read, evolve(third, config=config), tmp_path) == ("r1",)
    assert (
        earlier_runs(only(read, ["r3"]), third, tmp_path) == ()
    )  # it must be there, or the job says that it is not


def test_only_keeps_the_place_in_the_recipe_and_names_what_is_near(read: Recipe) -> None:
    chosen = only(read, ["r3", "r2"])
    assert [(run.id, run.order) for run in chosen.runs] == [("r2", 1), ("r3", 2)]
    with pytest.raises(UsageError, match=r'--only r22: .*grid.toml has no such run; did you mean "r2"\?'):
        only(read, ["r22"])


def test_only_takes_patterns_and_names_the_nearest_runs_when_none_matches(read: Recipe) -> None:
    assert [run.id for run in only(read, ["r[12]", "r1"]).runs] == ["r1", "r2"]
    assert [run.id for run in only(read, ["*3"]).runs] == ["r3"]
    for name, said in (
        ("2*", "has no such run; nearest: r2"),
        ("R?", "has no such run; nearest: r1, r2, r3"),
        ("x*", "has no such run; its runs: r1, r2, r3"),
    ):
        with pytest.raises(UsageError) as caught:
            only(read, ["r1", name])
        assert str(caught.value).startswith(f"--only {name}: ")
        assert str(caught.value).endswith(said)


def test_the_table_shows_how_far_each_run_is(read: Recipe, tmp_path: Path) -> None:
    from rich.console import Console

    entries = [GridRun(tmp_path / run.id, run) for run in read.runs]
    entries[0].state, entries[0].task, entries[0].tries = "running", ScriptedTask(0, tmp_path), 2
    entries[0].folder.mkdir()
    (entries[0].folder / "recipe.json").write_text('{"steps": 40}')
    rows = [
        {"event_type": "train", "step": 7, "train_loss": 3.25},
        {"event_type": "eval", "step": 8, "val_loss": 3.5},
    ]
    (entries[0].folder / "metrics.jsonl").write_text(
        "\n".join(map(json.dumps, rows)) + '\n{"event_type": "tr'
    )
    assert reached(entries[0].folder) == Reached(8, 40, 3.25)
    console = Console(width=100, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(launch_table(entries, 40))
    shown = console.export_text().splitlines()
    assert shown[1].split() == ["r1", "running", "8/40", "3.2500", "2", "somewhere"]
    assert shown[-1].strip() == "1 running, 2 ready"
    console.print(launch_table(entries, 5))
    assert "r2" not in console.export_text()


def test_a_dry_run_prints_the_command_lines_and_needs_no_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    recipe(tmp_path / "grid.toml", 3)
    arguments = ["run", "grid.toml", "--dry-run", "--launcher", "slurm", "--slots", "8", "-l", "processes=2"]
    code, out, _ = run_cli(arguments, monkeypatch, capsys)
    assert code == 0
    lines = [line for line in out.splitlines() if " -m fvlm_core run grid.toml --runs " in line]
    assert len(lines) == 3
    assert all("--nproc-per-node 2" in line for line in lines)
    assert lines[2].endswith("--only r3  # after r1")
    assert re.search(
        r"^3 runs in 3 jobs: [\d.e-]+ job hours, were 2 processes 2 times as fast as one$", out, re.M
    )
    assert re.search(
        r"when the last run ends: \S+ \w+ with 1, \S+ \w+ with 2; more than that wait for other runs; a queue",
        out,
    )
    assert "GPU hours" not in out
    code, out, _ = run_cli(
        [*arguments[:-1], "gpus=3", "-l", "time=1", "-l", "signal=59"], monkeypatch, capsys
    )
    assert code == 0
    told = re.search(r"^3 runs in (\d+) jobs: (\S+) job hours, (\S+) GPU hours$", out, re.M)
    assert told
    assert float(told[3]) == pytest.approx(3 * float(told[2]), rel=0.01)
    assert int(told[1]) >= float(told[2]) * 3600  # starts of one second each
    assert not (tmp_path / "runs").exists()
    code, _, err = run_cli(["run", "grid.toml", "--launcher", "slurm"], monkeypatch, capsys)
    assert (code, "there is no SLURM here" in err, "-l executor=local" in err) == (2, True, True)
    monkeypatch.setattr("fvlm_slurm.launcher.find_spec", lambda name: None)
    code, _, err = run_cli(["run", "grid.toml", "--launcher", "slurm"], monkeypatch, capsys)
    assert (code, err) == (
        2,
        "the launcher slurm needs the package submitit: pip install 'fvlm[slurm]'\n",
    )


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--slots", "2"], "--slots: only with --launcher NAME"),
        (
            ["--launcher", "loca"],
            '--launcher loca: name: none of the launchers is called "loca": did you mean "local"?',
        ),
        (["--launcher", "local", "-l", "gpu=1"], '-l gpu=1: gpu: unknown key; did you mean "gpus"?'),
        (["--launcher", "local", "-l", "gpus"], "-l gpus: expected key=value, as in -l processes=2"),
        (["--launcher", "slurm", "-l", 'time="1h"'], '-l time="1h": time: expected int, got "1h"'),
        (["--launcher", "local", "--detach"], "--detach: the jobs of launcher local end with this command"),
        (
            ["--launcher", "local", "--slots", "2", "--gpus", "0,1,2", "-l", "processes=2"],
            "2 slots with 2 processes each need 4 GPUs, got 3 (0,1,2); give --slots 1 or name more with --gpus",
        ),
        (["--only", "r4"], "--only r4: grid.toml has no such run"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_before_anything_starts(
    arguments: list[str],
    text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe(tmp_path / "grid.toml", 3)
    code, _, err = run_cli(["run", "grid.toml", *arguments], monkeypatch, capsys)
    assert (code, text in err) == (2, True), err
    assert not (tmp_path / "runs").exists()


def test_launcher_names_are_completed(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.shell_completion import ShellComplete

    from fvlm_core.cli.main import fvlm as root

    completion = ShellComplete(root, {}, "fvlm", "_FVLM_COMPLETE")
    found = completion.get_completions(["run", "x.toml", "--launcher"], "s")
    assert [item.value for item in found] == ["slurm"]


# ---------------------------------------------------------------- processes


def test_gpus_and_cores_are_dealt_out_to_the_slots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    shown = "echo $CUDA_VISIBLE_DEVICES $OMP_NUM_THREADS"
    launcher = LocalLauncher(Local(gpus="3,5"), 3)
    tasks = [launcher.start(shell(tmp_path / f"{slot}.txt", shown), slot) for slot in range(3)]
    assert [ended(task).code for task in tasks] == [0, 0, 0]
    assert [(tmp_path / f"{slot}.txt").read_text() for slot in range(3)] == ["3 2\n", "5 2\n", "3 2\n"]
    assert tasks[1].place == "slot 2, GPU 5"
    pairs = LocalLauncher(Local(gpus="0,1,2,3", processes=2), 2)
    assert ended(pairs.start(shell(tmp_path / "pair.txt", shown), 1)).code == 0
    assert (tmp_path / "pair.txt").read_text() == "2,3 2\n"


def test_nothing_of_a_job_outlives_it(tmp_path: Path) -> None:
    task = LocalLauncher(Local(), 1).start(shell(tmp_path / "log.txt", "sleep 600 & echo $!; kill -9 $$"), 0)
    assert ended(task) == Ended(-signal.SIGKILL)
    left = int((tmp_path / "log.txt").read_text())
    until(lambda: not psutil.pid_exists(left) or psutil.Process(left).status() == psutil.STATUS_ZOMBIE, 10)


def test_a_command_that_is_tied_is_asked_to_stop_when_its_starter_is_killed(tmp_path: Path) -> None:
    command = "trap 'echo saved > saved; exit' TERM; echo ready > ready; while :; do sleep 0.05; done"
    program = (
        "import subprocess, time\nfrom fvlm_core.plugin_api import tied\n"
        f"subprocess.Popen(tied(['sh', '-c', {command!r}]), start_new_session=True)\ntime.sleep(600)"
    )
    starter = subprocess.Popen([sys.executable, "-c", program], cwd=tmp_path)
    until((tmp_path / "ready").exists, 30)
    starter.kill()
    starter.wait()
    until((tmp_path / "saved").exists, 30)
    absent = subprocess.run(tied(["no-such-program"]), capture_output=True, text=True, check=False)
    assert (absent.returncode, "no-such-program cannot be started" in absent.stderr) == (127, True)


# ---------------------------------------------------------------- the whole of it


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe of three runs, rendered and trained once without a launcher, under "plain"."""
    folder = tmp_path_factory.mktemp("place")
    recipe(folder / "grid.toml", 3, short=("r1", "r3"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        train(folder / "grid.toml", folder / "plain")
    return folder


WARM = """
import sys, types
from fvlm_core.cli.main import main
from fvlm_core.execution import jobs
jobs.sys = types.SimpleNamespace(executable=sys.argv.pop(1))
sys.exit(main())
"""


def started(place: Path, *arguments: str) -> subprocess.Popen[str]:
    """`fvlm run grid.toml ARGUMENTS` as a process of its own, its jobs warm programs as well."""
    return subprocess.Popen(
        [warm.python(), "-c", WARM, warm.python(), "run", "grid.toml", *arguments],
        cwd=place,
        env={**os.environ, "FVLM_CACHE": str(place / "cache"), "COLUMNS": "120"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def cli(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str
) -> tuple[int, str, str]:
    """`fvlm run grid.toml ARGUMENTS`, its jobs warm programs."""
    monkeypatch.setattr("fvlm_core.execution.jobs.sys", SimpleNamespace(executable=warm.python()))
    monkeypatch.chdir(place)
    monkeypatch.setenv("FVLM_CACHE", str(place / "cache"))
    return run_cli(["run", "grid.toml", *arguments], monkeypatch, capsys)


def test_after_kills_the_same_command_finishes_what_is_missing_and_only_that(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--launcher", "local", "--slots", "2", "--runs", "local"]
    runs = place / "local" / "grid"
    first = started(place, *command)
    until(lambda: step(runs / "r2") >= 6)
    kill_run(runs / "r2")
    until(lambda: (runs / "r2" / "log" / "start-2.txt").exists() and (runs / "r1" / "summary.json").exists())
    until(lambda: json.loads((runs / "r1" / "summary.json").read_text())["complete"])
    first.kill()  # its jobs notice, save, and end
    first.wait()
    code, out, err = cli(place, monkeypatch, capsys, *command)
    assert code == 0, err
    assert re.search("grid: [12] of 3 runs are complete", out)  # r2 may have ended before the kill
    told = {name: history(runs / name) for name in ("r1", "r2", "r3")}
    assert (told["r1"]["logs"], told["r1"]["attempts"]) == (1, [(0, 12)])
    assert told["r2"]["twice"] <= 4  # the kill cost the steps since a checkpoint
    for name in told:
        assert outcome(runs / name) == outcome(place / "plain" / "grid" / name)
        records = [
            json.loads((place / root / "grid" / name / "recipe.json").read_text())
            for root in ("plain", "local")
        ]
        assert records[0]["order"] == records[1]["order"]
    code, out, _ = cli(place, monkeypatch, capsys, *command)
    assert (code, out.splitlines()[0]) == (0, "grid: already complete (3 runs)")


def test_a_preempted_job_of_submitit_saves_and_is_submitted_again(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("submitit", reason="the extra fvlm[slurm] is not installed")
    run = place / "submitit" / "grid" / "r2"

    def disturb() -> None:
        until(lambda: step(run) >= 6)
        preempt(run)

    thread = threading.Thread(target=disturb)
    thread.start()
    command = ("--launcher", "slurm", "-l", "executor=local", "--runs", "submitit", "--only", "r2")
    code, out, err = cli(place, monkeypatch, capsys, *command)
    thread.join()
    assert code == 0, err
    assert "r2: saved and ended, to be started again (exit code 75)" in out
    told = history(run)
    assert (told["logs"], told["twice"]) == (2, 0)
    assert outcome(run) == outcome(place / "plain" / "grid" / "r2")


def test_a_failed_run_is_shown_with_the_end_of_its_log(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = place / "failing" / "grid" / "r2"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").mkdir()  # no row can be written
    code, out, err = cli(
        place, monkeypatch, capsys,
        *("--launcher", "local", "--runs", "failing", "--only", "r2"),
    )  # fmt: skip
    assert code == 1
    assert "r2: failed: exit code 1" in out
    assert "failing/grid/r2/log/start-1.txt ends with:" in err
    assert "Is a directory" in err
    assert err.splitlines()[-1] == "1 of 1 runs failed; the same command starts them again"


def test_ctrl_c_lets_every_job_save(place: Path) -> None:
    runs = place / "stopped" / "grid"
    process = started(
        place, "--launcher", "local", "--runs", "stopped", "--only", "r1", "-o", "training.steps=4000"
    )
    until(lambda: step(runs / "r1") >= 2)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "stopped by SIGINT; the same command continues from here" in said
    reached_step = history(runs / "r1")["attempts"][-1][1]
    assert (runs / "r1" / "checkpoints" / f"step-{reached_step:08d}").is_dir()
    assert "stopped by SIGTERM" in (runs / "r1" / "log" / "start-1.txt").read_text()


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_nine_runs_disturbed_on_both_launchers(tmp_path: Path) -> None:
    script = Path(__file__).parents[1] / "helpers" / "grids.py"
    subprocess.run([sys.executable, str(script), str(tmp_path / "told.json")], check=True)
    told = json.loads((tmp_path / "told.json").read_text())
    assert set(told) == {"local", "submitit"}
    for found in told.values():
        assert len(found["table"]) == 11
        assert all("| equal |" in line for line in found["table"][2:])

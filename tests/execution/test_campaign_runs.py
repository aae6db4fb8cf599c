"""Campaigns that train: one folder, one choice for the same points, nothing lost or repeated after a kill."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import warm
from campaigns import RECIPE, decided, recipe, state
from filelock import FileLock
from tiny import run_cli

import fvlm
from fvlm_core.cli.launch_options import LaunchRequest
from fvlm_core.execution.jobs import CommandLine
from fvlm_core.execution.sequential import Outcome
from fvlm_core.recipes.read import Recipe, read_recipe
from fvlm_core.runs.store import open_run
from fvlm_core.utils.errors import FvlmError

COMMAND = ("campaign", "small.toml")


def start(folder: Path, cache: Path, *more: str) -> subprocess.Popen[str]:
    """The command as a process of its own."""
    env = {**os.environ, "FVLM_CACHE": str(cache), "COLUMNS": "120"}
    return warm.start(*COMMAND, *more, cwd=folder, env=env)


def kill(process: subprocess.Popen[str]) -> bool:
    """SIGKILL to what the program is; whether it was there still."""
    for one in warm.below(process)[:1]:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    return process.wait() == -signal.SIGKILL


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a campaign that came to its end in one go."""
    folder = tmp_path_factory.mktemp("campaign")
    recipe(folder)
    process = start(folder, folder / "cache")
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    (folder / "out.txt").write_text(out)
    return folder


def test_a_campaign_is_a_folder_of_ordinary_runs_with_a_record_that_a_person_can_read(
    undisturbed: Path,
) -> None:
    found = state(undisturbed / "runs")
    rounds = found["rounds"]
    assert [one["why"] for one in rounds][:2] == ["pilot", "round 1"]
    runs = [run for one in rounds for run in one["runs"]]
    assert 6 < len(runs) <= 12
    assert {run["size"] for run in runs} == {"a", "b"}
    for run in runs:
        stored = open_run(undisturbed / "runs" / "small" / run["run"])
        assert stored.state == "complete"
        assert stored.total_params == run["N"]
        last = stored.evaluations()[-1]
        assert last["val_loss"] == run["loss"]
        assert last["samples_seen"] == run["D"]
        assert last["flops"] == pytest.approx(run["FLOPs"], rel=0.02)
    seeds = {open_run(undisturbed / "runs" / "small" / run["run"]).record["seed"] for run in runs}
    assert len(seeds) == len(runs)
    assert found["verdict"]["outcome"] in ("budget spent", "nothing helps")
    assert sum(run["FLOPs"] for run in runs) <= 2.4e8
    assert "pilot: 6 runs" in (undisturbed / "out.txt").read_text()


def test_its_recipe_stands_alone_and_gives_the_same_runs(undisturbed: Path) -> None:
    file = undisturbed / "runs" / "small" / "campaign.toml"
    found = [run for one in state(undisturbed / "runs")["rounds"] for run in one["runs"]]
    read = read_recipe(str(file))
    assert [run.id for run in read.runs] == [run["run"] for run in found]
    assert [run.config.training.steps for run in read.runs] == [run["D"] // 4 for run in found]


def test_the_same_command_again_trains_nothing_and_says_the_same(
    undisturbed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(undisturbed)
    before = (undisturbed / "runs" / "small" / "campaign.json").read_bytes()
    code, out, _ = run_cli([*COMMAND], monkeypatch, capsys)
    assert code == 0
    assert (undisturbed / "runs" / "small" / "campaign.json").read_bytes() == before
    assert state(undisturbed / "runs")["verdict"]["outcome"] in out
    code, out, _ = run_cli([*COMMAND, "--json"], monkeypatch, capsys)
    assert json.loads(out)["rounds"] == state(undisturbed / "runs")["rounds"]


def test_python_says_the_same(undisturbed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(undisturbed)
    result = fvlm.campaign("small.toml")
    found = state(undisturbed / "runs")
    assert result.verdict is not None
    assert result.verdict.outcome == found["verdict"]["outcome"]
    assert list(result.rounds["runs"]) == [len(one["runs"]) for one in found["rounds"]]
    assert list(result.runs["loss"]) == [run["loss"] for one in found["rounds"] for run in one["runs"]]
    assert result.verdict.outcome in repr(result)
    assert "<pre" in result._repr_html_()


def _made(root: Path) -> int:
    """Runs that are complete."""
    return sum(
        json.loads(file.read_text()).get("complete", False) for file in root.glob("small/*/summary.json")
    )


MOMENTS: dict[str, Callable[[Path], bool]] = {
    "the pilot is decided": lambda root: (root / "small" / "campaign.json").exists(),
    "the third run is done": lambda root: _made(root) >= 3,
    "a run of round 1 is done": lambda root: _made(root) >= 7,
}


def _stamps(root: Path) -> dict[str, Any]:
    """Of runs that are complete: how often they were started, and when they were last written."""
    found: dict[str, Any] = {}
    for file in root.glob("small/*/summary.json"):
        if json.loads(file.read_text()).get("complete"):
            folder = file.parent
            attempts = (folder / "attempts.jsonl").read_text().splitlines()
            found[folder.name] = (len(attempts), (folder / "metrics.jsonl").stat().st_mtime_ns)
    return found


def test_killed_at_any_moment_it_goes_on_without_losing_or_repeating_a_run(
    tmp_path: Path, undisturbed: Path
) -> None:
    recipe(tmp_path)
    root = tmp_path / "runs"
    landed: list[str] = []
    for name, come in MOMENTS.items():
        before = _stamps(root)
        process = start(tmp_path, undisturbed / "cache")
        while process.poll() is None and not come(root):
            time.sleep(0.005)
        if kill(process):
            landed.append(name)
        after = _stamps(root)
        assert {run: after.get(run) for run in before} == before
    before = _stamps(root)
    process = start(tmp_path, undisturbed / "cache")
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    after = _stamps(root)
    assert {run: after.get(run) for run in before} == before
    assert len(landed) >= 2
    assert decided(root) == decided(undisturbed / "runs")


@pytest.mark.soak
def test_killed_at_twenty_random_moments_it_comes_to_the_same_verdict(
    tmp_path: Path, undisturbed: Path
) -> None:
    recipe(tmp_path)
    root, generator, kills = tmp_path / "runs", random.Random(24), 0
    process = start(tmp_path, undisturbed / "cache")
    while kills < 20:
        before = _stamps(root)
        try:
            process.wait(generator.uniform(0.3, 6.0))
        except subprocess.TimeoutExpired:
            kills += kill(process)
        after = _stamps(root)
        assert {run: after.get(run) for run in before} == before
        if process.returncode == 0:
            assert decided(root) == decided(undisturbed / "runs")
            shutil.rmtree(root)
        process = start(tmp_path, undisturbed / "cache")
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert decided(root) == decided(undisturbed / "runs")


def _after_the_pilot(undisturbed: Path, folder: Path) -> None:
    """The same campaign as it was when its pilot was done: a start of a run takes seconds in a process of its own."""
    recipe(folder)
    shutil.copytree(undisturbed / "runs", folder / "runs")
    found = state(folder / "runs")
    for later in found["rounds"][1:]:
        for run in later["runs"]:
            shutil.rmtree(folder / "runs" / "small" / run["run"])
    kept = {**found, "rounds": found["rounds"][:1], "verdict": None}
    (folder / "runs" / "small" / "campaign.json").write_text(json.dumps(kept))


@pytest.mark.soak
def test_two_slots_come_to_the_same_verdict_as_one_process(tmp_path: Path, undisturbed: Path) -> None:
    _after_the_pilot(undisturbed, tmp_path)
    process = start(tmp_path, undisturbed / "cache", "--launcher", "local", "--slots", "2")
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    assert decided(tmp_path / "runs") == decided(undisturbed / "runs")


@pytest.mark.soak
def test_two_slots_from_the_first_run_on_come_to_the_same_verdict(tmp_path: Path, undisturbed: Path) -> None:
    recipe(tmp_path)
    process = start(tmp_path, undisturbed / "cache", "--launcher", "local", "--slots", "2")
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0, out
    assert decided(tmp_path / "runs") == decided(undisturbed / "runs")


@pytest.mark.soak
def test_jobs_of_slurm_come_to_the_same_verdict_as_one_process(
    cluster: Path,
    tmp_path: Path,
    undisturbed: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On the SLURM of shell scripts, whose jobs are real processes."""
    _after_the_pilot(undisturbed, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FVLM_CACHE", str(undisturbed / "cache"))
    code, _, err = run_cli([*COMMAND, "--launcher", "slurm", "--slots", "2"], monkeypatch, capsys)
    assert code == 0, err
    assert len(list(cluster.glob("*.state"))) == _made(tmp_path / "runs") - 6
    assert decided(tmp_path / "runs") == decided(undisturbed / "runs")


def test_runs_of_a_round_stand_beside_each_other_as_the_recipe_says(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _after_the_pilot(undisturbed, tmp_path)
    asked: list[LaunchRequest] = []

    def launch(recipe: Recipe, line: CommandLine, request: LaunchRequest) -> tuple[list[Outcome], FvlmError]:
        asked.append(request)
        return [], FvlmError("nothing is started here")

    monkeypatch.setattr("fvlm_core.cli.launch.launch", launch)
    monkeypatch.chdir(tmp_path)
    code, _, err = run_cli([*COMMAND, "-o", "slots=2"], monkeypatch, capsys)
    assert (code, [(one.launcher, one.slots) for one in asked]) == (1, [("local", 2)]), err


def test_two_processes_do_not_drive_one_campaign(
    undisturbed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(undisturbed)
    with FileLock(undisturbed / "runs" / "small" / ".lock"):
        code, _, err = run_cli([*COMMAND], monkeypatch, capsys)
    assert code == 1
    assert "is being written by" in err


CHANGES = {
    "rate": ("lr = 3e-3", "lr = 2e-3", "a: training.lr: 0.003 -> 0.002"),
    "data": ("clips = 32", "clips = 40", "data.sources[0].clips: 32 -> 40"),
    "law": ('law = "joint-tied"', 'law = "kaplan"', "law: joint-tied -> kaplan"),
    "target": ('D = "10k"', 'D = "20k"', "target: "),
    "seeds": ("seeds = 2", "seeds = 3", "seeds: 2 -> 3"),
    "samples": ("[4, 8, 16]", "[4, 8, 16, 32]", "samples: [4, 8, 16] -> [4, 8, 16, 32]"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_it_refuses_a_recipe_that_changed_underneath(
    name: str,
    undisturbed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    was, now, said = CHANGES[name]
    assert RECIPE.count(was) == 1
    recipe(tmp_path, RECIPE.replace(was, now))
    monkeypatch.chdir(tmp_path)
    code, _, err = run_cli([*COMMAND, "--runs", str(undisturbed / "runs")], monkeypatch, capsys)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


BAD = {
    "no target": (re.compile(r"target = .*\n"), "", [], "say what is to be predicted"),
    "no budget": (re.compile(r"budget = .*\n"), "", [], "say what the runs may take"),
    "half a target": (re.compile(r"x^"), "", ["--target", "N=1M"], "D: missing"),
    "no such target": (re.compile(r"x^"), "", ["--target", "M=1M,D=3"], "unknown key"),
    "a target of no run": (re.compile(r"x^"), "", ["--target", "size=bb,D=3"], 'no run is called "bb"'),
    "a target below the pilot": (re.compile(r"x^"), "", ["--target", "size=a,D=4"], "is no larger than the pilot's"),
    "a budget below the pilot": (re.compile(r"x^"), "", ["--budget", "1e8"], "is less than a pilot takes"),
    "an unknown law": (re.compile(r"x^"), "", ["--law", "joint-chinchila"], 'did you mean "joint-chinchilla"'),
    "a law of something else": (re.compile(r"x^"), "", ["--law", "lr-optimum"], "take a law of N and D"),
    "within nothing": (re.compile(r"x^"), "", ["--within", "0"], "expected a part between 0 and 1"),
    "a size that is none": (re.compile(r"seeds = 2"), 'sizes = ["c"]', [], 'no run is called "c"'),
    "samples that are no batches": (re.compile(r"4, 8, 16"), "4, 9", [], "multiples of the batch"),
    "a wrong key": (re.compile(r"seeds = 2"), "seed = 2", [], 'unknown key; did you mean "seeds"'),
    "a budget that a sweep eats": (re.compile(r"\Z"), "[campaign.sweep]\nrates = [1e-3, 2e-3, 4e-3]\nsamples = 16\n",
                                   [], "the budget that the sweep leaves"),
    "two sizes": (re.compile(r"joint-tied"), "joint-chinchilla", [], "at least three model sizes"),
    "a detached launcher": (re.compile(r"x^"), "", ["--launcher", "slurm", "--detach"], "waits for the runs"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_whatever_is_wrong_with_the_question_is_one_message_and_leaves_nothing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pattern, instead, options, said = BAD[name]
    recipe(tmp_path, pattern.sub(instead, RECIPE, count=1))
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli([*COMMAND, *options], monkeypatch, capsys)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
    assert "defect" not in err
    assert out == ""
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"format": 9}', '{"format": 1, "rounds": 3}', '{"format": 1}']
)
def test_a_foreign_record_is_refused_and_stays(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe(tmp_path)
    folder = tmp_path / "runs" / "small"
    folder.mkdir(parents=True)
    (folder / "campaign.json").write_text(text)
    monkeypatch.chdir(tmp_path)
    code, _, err = run_cli([*COMMAND], monkeypatch, capsys)
    assert code == 2
    assert "campaign.json" in err
    assert "Traceback" not in err
    assert (folder / "campaign.json").read_text() == text


def test_a_larger_budget_goes_on_with_what_was_made(undisturbed: Path, tmp_path: Path) -> None:
    shutil.copytree(undisturbed / "runs", tmp_path / "runs")
    recipe(tmp_path)
    before = state(tmp_path / "runs")["rounds"]
    process = start(tmp_path, undisturbed / "cache", "--budget", "2.6e8")
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0, out
    after = state(tmp_path / "runs")
    assert after["settings"]["budget"] == 2.6e8
    assert after["rounds"][: len(before)] == before
    assert len(after["rounds"]) > len(before)


def test_a_dry_run_shows_pilot_and_first_choice_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, out, _ = run_cli([*COMMAND, "--dry-run"], monkeypatch, capsys)
    assert code == 0
    assert "pilot: 6 runs" in out
    assert "FLOPs" in out
    assert "after it" in out
    assert not (tmp_path / "runs").exists()


def test_it_is_played_against_a_known_truth_without_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe(tmp_path)
    monkeypatch.chdir(tmp_path)
    law = "joint-tied:E=1,A=400,B=4,alpha=.5,noise=.002"
    code, out, _ = run_cli([*COMMAND, "--simulate", law, "--json"], monkeypatch, capsys)
    assert code == 0
    found = json.loads(out)
    assert found["truth"]["loss"] == pytest.approx(1 + 400 * 1e6**-0.5 + 4 * 1e4**-0.5)
    assert found["verdict"]["outcome"]
    assert not (tmp_path / "runs").exists()


SWEEP = RECIPE.replace("2.4e8", "2.6e8") + "[campaign.sweep]\nrates = [1e-3, 3e-3, 9e-3]\nsamples = 4\n"


def test_a_sweep_of_rates_is_made_first_is_no_fit_point_and_sets_the_rates_of_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], undisturbed: Path
) -> None:
    """The losses of the sweep are made up, with best rates of 2e-3 and 4e-3, because six steps tell none."""
    recipe(tmp_path, SWEEP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FVLM_CACHE", str(undisturbed / "cache"))
    import numpy as np

    import fvlm_core.api.campaign as api

    best = {"a": 2e-3, "b": 4e-3}

    def told(done: Any, batch: int) -> Any:
        done.losses = {
            run.run: 4 + 0.1 * np.log(done.rates[run.run] / best[run.size]) ** 2 for run in done.runs
        }
        from fvlm_core.scaling.campaign.rates import best_rate

        return best_rate(done, batch)

    monkeypatch.setattr(api, "best_rate", told)
    code, _, err = run_cli([*COMMAND], monkeypatch, capsys)
    assert code == 0, err
    root = tmp_path / "runs" / "small"
    swept = {run["run"]: run["lr"] for run in state(tmp_path / "runs")["sweep"]["runs"]}
    assert swept == {f"{size}-4-lr{lr:g}": lr for size in "ab" for lr in (1e-3, 3e-3, 9e-3)}
    for run, rate in swept.items():
        record = open_run(root / run).record
        assert record["resolved"]["training"]["lr"] == rate
        assert not record["in_fits"]
    for size, rate in best.items():
        assert open_run(root / f"{size}-8-0").record["resolved"]["training"]["lr"] == pytest.approx(
            rate, rel=1e-3
        )


def test_a_signal_from_the_keyboard_ends_it_and_the_same_command_goes_on(
    tmp_path: Path, undisturbed: Path
) -> None:
    _after_the_pilot(undisturbed, tmp_path)
    process = start(tmp_path, undisturbed / "cache")
    while process.poll() is None and _made(tmp_path / "runs") < 7:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=100)
    again = start(tmp_path, undisturbed / "cache")
    out, _ = again.communicate(timeout=300)
    assert again.returncode == 0, out
    assert decided(tmp_path / "runs") == decided(undisturbed / "runs")

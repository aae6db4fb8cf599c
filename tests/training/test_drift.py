"""A run continues under its own recipe, or under changes that somebody accepted by name; both are recorded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tiny import RECIPE, run_cli, train

from fvlm_core.runs import fingerprint as identity
from fvlm_core.runs.attempts import begin_attempt, read_attempts
from fvlm_core.runs.checkpoint import latest_checkpoint

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that was stopped after step 2 of 6."""
    folder = tmp_path_factory.mktemp("half")
    (folder / "tiny.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        train(folder / "tiny.toml", folder / "runs", until=2)
    return folder


@pytest.fixture(scope="module")
def whole(half: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, trained to its end."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(half, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(half / "cache"))
        train(folder / "tiny.toml", folder / "runs")
    return folder


@pytest.fixture
def place(half: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the stopped run, which is the current folder."""
    shutil.copytree(half, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FVLM_CACHE", str(half / "cache"))
    return tmp_path


@pytest.fixture
def complete(place: Path, whole: Path) -> Path:
    """A copy of the complete one."""
    shutil.rmtree(place / "runs")
    shutil.copytree(whole / "runs", place / "runs")
    return place


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli(list(arguments), monkeypatch, capsys)


def change_record(place: Path, change: Callable[[dict[str, Any]], None]) -> None:
    file = place / "runs/tiny/tiny/recipe.json"
    record = json.loads(file.read_text())
    change(record)
    file.write_text(json.dumps(record))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("training.seed=7", "seed      seed: 42 -> 7"),
        ("model.connector.query_dim=4", "model  model.connector.query_dim: 8 -> 4"),
        ("data.max_text_tokens=64", "data  data.max_text_tokens: 512 -> 64"),
        ("training.batch_size=8", "batch  training.batch_size: 4 -> 8"),
        ("training.micro_batch_size=4", "batch  training.micro_batch_size: 2 -> 4"),
        ("training.steps=60", "schedule  training.steps: 6 -> 60"),
        ("training.lr=0.5", "schedule  training.lr: 0.001 -> 0.5"),
        ("training.clip=0.5", "training  training.clip: 1.0 -> 0.5"),
        ("eval.samples=4", "evaluation  eval.samples: 8 -> 4"),
    ],
)
def test_a_changed_identity_is_refused_by_class_and_key_and_nothing_is_touched(
    override: str, told: str, place: Path, cli: Cli
) -> None:
    before = contents(place / "runs")
    code, _, err = cli("run", "tiny.toml", "-o", override)
    assert code == 2
    assert " ".join(told.split()) in " ".join(err.split())
    key = told.split()[1].rstrip(":")
    assert f"--allow-drift {key}" in err
    assert contents(place / "runs") == before


def test_another_decoder_or_plugin_version_is_refused(place: Path, cli: Cli) -> None:
    def older(record: dict[str, Any]) -> None:
        record["software"]["decoder"] = "av 1.0"
        record["software"]["plugins"]["foveated"] = "fvlm 0.0.1"

    change_record(place, older)
    code, _, err = cli("run", "tiny.toml")
    assert code == 2
    assert f"software  software.decoder: av 1.0 -> av {identity.version('av')}" in err
    assert "software  software.plugins.foveated: fvlm 0.0.1 -> fvlm " in err


def test_other_data_at_the_same_place_are_refused(place: Path, cli: Cli) -> None:
    change_record(place, lambda record: record["data"]["train"][0].update(fingerprint="0000"))
    code, _, err = cli("run", "tiny.toml")
    assert code == 2
    assert "data  data.seen.train[0].fingerprint: 0000 -> " in err


def test_runtime_keys_are_free_and_recorded(place: Path, cli: Cli) -> None:
    changes = ["training.workers=1", "training.log_every=3", "training.device=cpu", "checkpoints.keep_last=3"]
    code, out, _ = cli("run", "tiny.toml", *(text for change in changes for text in ("-o", change)))
    assert code == 0
    assert "continues at step 2 of 6" in out
    last = read_attempts(place / "runs/tiny/tiny")[-1]
    assert last["drift"] == []
    assert {change["key"] for change in last["runtime"]} == {change.partition("=")[0] for change in changes}


def test_accepted_drift_is_recorded_with_what_when_from_to_and_attempt_and_shown(
    place: Path, cli: Cli
) -> None:
    arguments = ["run", "tiny.toml", "-o", "training.lr=0.5", "-o", "training.clip=2.0"]
    code, _, err = cli(*arguments, "--allow-drift", "training.lr")
    assert code == 2
    assert "training.clip: 1.0 -> 2.0" in err
    assert "training.lr:" not in err
    code, out, _ = cli(*arguments, "--allow-drift", "training.lr", "--allow-drift", "training.clip")
    assert code == 0
    assert "note: continues under another recipe, as accepted: training.lr: 0.001 -> 0.5" in out
    run = place / "runs/tiny/tiny"
    (entry,) = [attempt for attempt in read_attempts(run) if attempt["drift"]]
    assert (entry["attempt"], entry["drift"][0]) == (
        2,
        {"key": "training.lr", "kind": "schedule", "from": 0.001, "to": 0.5},
    )
    assert entry["at"].startswith("20")
    recorded = json.loads((run / "summary.json").read_text())["drift"]
    assert [change["key"] for change in recorded] == ["training.lr", "training.clip"]
    assert "tiny: training.lr changed from 0.001 to 0.5 at attempt 2" in out
    code, out, _ = cli(*arguments)  # accepted once; the record now has these values, and still says so
    assert code == 0
    assert "already complete" in out
    assert "training.lr changed from 0.001 to 0.5" in out


def test_a_complete_run_trains_on_when_more_steps_are_accepted(complete: Path, cli: Cli) -> None:
    code, out, _ = cli("run", "tiny.toml", "-o", "training.steps=8", "--allow-drift", "training.steps")
    assert code == 0
    assert "continues at step 6 of 8" in out


def test_accepting_another_model_lists_the_shapes_that_do_not_fit(place: Path, cli: Cli) -> None:
    override = "model.connector.query_dim=4"
    code, _, err = cli("run", "tiny.toml", "-o", override, "--allow-drift", "model.connector")
    assert code == 2
    assert "connector.q_static: expected shape" in err
    assert "Traceback" not in err


def test_a_key_that_does_not_exist_cannot_be_accepted(place: Path, cli: Cli) -> None:
    code, _, err = cli("run", "tiny.toml", "--allow-drift", "training.lrr")
    assert code == 2
    assert '--allow-drift training.lrr: no such key; did you mean "training.lr"?' in err


def test_another_world_size_or_parallel_mode_is_said_and_recorded(place: Path) -> None:
    run = place / "runs/tiny/tiny"
    begin_attempt(run, "cpu", [], world=2, parallel="ddp")
    said = begin_attempt(run, "cpu", [], world=1, parallel="single")
    assert said == [
        "continues with another world size: 2 -> 1",
        "continues with another parallel mode: ddp -> single",
    ]
    assert [(a["world"], a["parallel"]) for a in read_attempts(run)] == [
        (1, "single"),
        (2, "ddp"),
        (1, "single"),
    ]


def test_a_torn_line_of_the_attempts_costs_only_itself(place: Path) -> None:
    file = place / "runs/tiny/tiny/attempts.jsonl"
    file.write_bytes(file.read_bytes()[:-20])
    begin_attempt(file.parent, "cpu", [])
    assert len(read_attempts(file.parent)) == 1


def test_data_that_moved_and_are_the_same_are_no_drift(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clip folder has a path in the recipe; the fingerprint says whether what is there is the same."""
    from videos import write_video

    monkeypatch.chdir(tmp_path)
    for name in ("here", "there/here"):
        for number in range(4):
            folder = tmp_path / name
            folder.mkdir(parents=True, exist_ok=True)
            write_video(folder / f"{number}.mp4", frames=2)
            (folder / f"{number}.txt").write_text(f"clip number {number}")
    clips = '[[data.sources]]\nname = "clips"\npath = "here"\nholdout = 0.0\n'
    text = RECIPE.split("[[data.sources]]")[0] + clips + RECIPE[RECIPE.index("[training]") :]
    (tmp_path / "tiny.toml").write_text(text)
    train(tmp_path / "tiny.toml", tmp_path / "runs", until=2)
    (tmp_path / "tiny.toml").write_text(text.replace("here", "there/here"))
    code, out, err = cli("run", "tiny.toml")
    assert code == 0, err
    assert "note: continues with data.sources[0].path: " in out
    (tmp_path / "there/here/3.txt").write_text("something else")
    code, _, err = cli("run", "tiny.toml", "-o", "training.steps=12", "--allow-drift", "training.steps")
    assert code == 2
    assert "fingerprint" in err


def test_the_checkpoint_of_a_refused_start_is_intact(place: Path, cli: Cli) -> None:
    assert cli("run", "tiny.toml", "-o", "training.lr=0.5")[0] == 2
    newest, damaged = latest_checkpoint(place / "runs/tiny/tiny/checkpoints")
    assert newest is not None
    assert (newest.name, damaged) == ("step-00000002", [])


def test_a_component_that_is_frozen_from_some_step_on_leaves_its_moments_behind(
    place: Path, cli: Cli
) -> None:
    override = 'training.frozen=["encoder"]'
    code, out, err = cli("run", "tiny.toml", "-o", override, "--allow-drift", "training.frozen")
    assert code == 0, err
    assert "continues at step 2 of 6" in out


def test_a_complete_run_that_is_killed_under_more_steps_is_complete_no_more(
    complete: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("run", "tiny.toml", "-o", "training.steps=8")

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fvlm_core.execution.attempt.train", killed)
        assert cli(*more, "--allow-drift", "training.steps")[0] == 130
    code, out, _ = cli(*more)
    assert code == 0
    assert "continues at step 6 of 8" in out


def test_a_key_that_has_come_since_a_run_began_is_no_change_at_its_default(place: Path, cli: Cli) -> None:
    def older(record: dict[str, Any]) -> None:
        del record["resolved"]["training"]["max_skipped"]
        del record["resolved"]["data"]["sources"][0]["pairs"]

    change_record(place, older)
    code, _, err = cli("run", "tiny.toml", "-o", "training.max_skipped=3")
    assert code == 2
    assert "training.max_skipped: not set -> 3" in err
    assert "pairs" not in err
    code, _, err = cli("run", "tiny.toml")
    assert (code, err) == (0, "")


def test_checkpoints_without_their_record_are_not_continued(place: Path, cli: Cli) -> None:
    (place / "runs/tiny/tiny/recipe.json").unlink()
    before = contents(place / "runs")
    code, _, err = cli("run", "tiny.toml")
    assert code == 2
    assert "has checkpoints but no recipe.json" in err
    assert contents(place / "runs") == before

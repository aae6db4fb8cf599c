"""Data that cannot be used are named where a person looks: under the table of runs, and in the dry run."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import warm
from tiny import CONNECTOR, ENCODER, LLM, TRAINING, run_cli
from videos import write_video

SOURCE = '[[data.sources]]\nname = "clips"\npath = "own"\nholdout = 0.3\nmax_frames = 2\n'
RUNS = '[[runs]]\nid = "a"\n[[runs]]\nid = "b"\ntraining.seed = 7\n'
WHY = "corrupt, cut short, or not a video"


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """16 clips. Of those to train on 5 is no video, of those to validate 7 is none; 3 has no caption."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    (tmp_path / "own").mkdir()
    for number in range(16):
        clip = write_video(tmp_path / "own" / f"c{number:02}.mp4", 4, first=number)
        if number in (5, 7):
            clip.write_bytes(b"no video" * 99)
        if number != 3:
            clip.with_suffix(".txt").write_text(f"clip {number}")
    training = TRAINING.replace("steps = 6", "steps = 4")
    text = 'name = "own"\nslots = 2\n' + ENCODER + CONNECTOR + LLM + SOURCE + training + RUNS
    (tmp_path / "own.toml").write_text(text)
    return tmp_path / "own.toml"


def test_a_run_through_a_pool_of_jobs_names_the_data_it_could_not_use(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fvlm_core.execution.jobs.sys", SimpleNamespace(executable=warm.python()))
    command = ["run", "own.toml", "-o", "data.max_bad=0.5", "--runs", "runs"]
    for _ in range(2):  # when it was trained, and whenever it is asked for again
        code, out, err = run_cli(command, monkeypatch, capsys)
        assert code == 0, err
        [unusable] = [line for line in out.splitlines() if "could not be used" in line]
        assert unusable.startswith(f"2 samples could not be used: clips:own/c05.mp4 ({WHY}")
        assert f"clips:own/c07.mp4 ({WHY}" in unusable
        assert unusable.endswith("; see fvlm data check own.toml -o data.max_bad=0.5 --decode")
        [left_out] = [line for line in out.splitlines() if "left out of the data" in line]
        assert left_out.startswith("1 sample left out of the data: ")
        assert "c03.mp4: no caption: c03.txt" in left_out
    summary = json.loads((recipe.parent / "runs/own/b/summary.json").read_text())
    assert list(summary["bad_validation_samples"]) == ["clips:own/c07.mp4"]


def test_the_dry_run_names_what_it_sees_of_them(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run_cli(["run", "own.toml", "--dry-run"], monkeypatch, capsys)
    assert code == 0, err
    [unusable] = [line for line in out.splitlines() if "could not be used" in line]
    assert unusable.startswith(
        f"- 1 sample of the first 256 of training could not be used: clips:own/c05.mp4 ({WHY}"
    )
    assert "- 1 sample left out of the data: " in out
    code, out, err = run_cli(["run", "own.toml", "--dry-run", "--json"], monkeypatch, capsys)
    plan = json.loads(out)["runs"][0]["plan"]
    assert (list(plan["bad_samples"]), plan["left_out"]) == (["clips:own/c05.mp4"], 1)
    assert plan["first_left_out"][0].endswith("c03.mp4: no caption: c03.txt: No such file or directory")


def test_of_many_the_first_are_named_and_the_rest_are_counted(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(10, 16):
        (recipe.parent / "own" / f"c{number}.txt").unlink()
    _, out, _ = run_cli(["run", "own.toml", "--dry-run"], monkeypatch, capsys)
    [line] = [line for line in out.splitlines() if "left out of the data" in line]
    assert line.startswith("- 7 samples left out of the data: ")
    assert line.endswith(" and 4 more; see fvlm data check own.toml")
    assert line.count("no caption") == 3

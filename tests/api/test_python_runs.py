"""`import fvlm` alone drives `captions_small`, shortened: recipe, plan, training, captions, gaze, metrics, exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from tiny import run_cli

import fvlm

pytestmark = pytest.mark.usefixtures("quick_fits")

SHORT = (
    "training.samples=64",
    "training.batch_size=8",
    "training.micro_batch_size=8",
    "training.workers=0",
    "eval.every=2",
    "eval.samples=8",
    "data.sources.shapes.clips=32",
    "data.sources.shapes.validation_clips=8",
)


class Watching:
    """A callback with some of the methods of an observer."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.begun: list[str] = []

    def started(self, run: Any, step: int, steps: int) -> None:
        """A run begins."""
        self.begun.append(run.id)

    def stepped(self, step: int, row: dict[str, Any] | None) -> None:
        """A step is done."""
        self.steps.append(step)


@pytest.fixture(scope="module")
def shortened(tmp_path_factory: pytest.TempPathFactory, quick_fits: None) -> Any:
    """The folder, the recipe, what came of it, and what callbacks were told."""
    folder = tmp_path_factory.mktemp("shortened")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        patch.setenv("FVLM_RUNS", str(folder / "runs"))
        rows: list[dict[str, Any]] = []
        watching = Watching()
        recipe = fvlm.Recipe("captions_small").override(*SHORT)
        done = fvlm.train(recipe, callbacks=[watching, rows.append])
        yield folder, recipe, done, watching, rows


@pytest.fixture
def clip(shortened: Any) -> Path:
    return sorted(shortened[0].glob("cache/**/validation/**/*.mp4"))[0]


@pytest.fixture
def trained(shortened: Any) -> Any:
    return shortened[2]["48"]


def test_a_plan_says_what_it_costs_before(shortened: Any) -> None:
    plan = fvlm.plan(shortened[1], mfu=0.3)
    assert list(plan.table["run"]) == ["32", "48", "96", "48-blind", "48-coarse-only"]
    assert (plan.table["steps"] == 8).all()
    assert plan.to_dict()["totals"]["runs"] == 5
    assert "FLOPs a sample" in repr(plan)
    assert "<pre" in plan._repr_html_()


def test_training_gives_runs_and_fits_and_tells_callbacks(shortened: Any) -> None:
    _, _, done, watching, rows = shortened
    assert watching.begun == done.runs == ["32", "48", "96", "48-blind", "48-coarse-only"]
    assert watching.steps == [*range(1, 9)] * 5
    assert sum("val_loss" in row for row in rows) == 5 * 4
    assert [one.report.model.name for one in done.fits] == ["per-size", "joint-chinchilla"]
    assert "48-blind" in repr(done)
    assert "<pre" in done._repr_html_()


def test_a_callback_that_raises_ends_the_run_which_then_continues(
    shortened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(shortened[0] / "cache"))
    recipe = shortened[1].override("checkpoints.every=2").only("32")

    def stop(row: dict[str, Any]) -> None:
        if row["step"] >= 4:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        fvlm.train(recipe, runs=tmp_path, callbacks=[stop])
    assert list(fvlm.runs(root=tmp_path)["state"]) == ["failed"]
    again = Watching()
    fvlm.train(recipe, runs=tmp_path, callbacks=[again])
    assert again.steps[-1] == 8
    assert again.steps[0] > 1
    assert list(fvlm.runs(root=tmp_path)["state"]) == ["complete"]


def test_training_again_does_nothing(shortened: Any) -> None:
    again = fvlm.train(shortened[1])
    assert all(outcome.skipped for outcome in again.outcomes)


def test_runs_are_a_table_of_what_the_command_line_lists(
    shortened: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run_cli(["runs", "list", "--json"], monkeypatch, capsys)
    listed = json.loads(out)
    table = fvlm.runs()
    pd.testing.assert_frame_equal(table, pd.DataFrame(listed))
    _, out, _ = run_cli(["runs", "list", "--json", "--where", "model.blind=true"], monkeypatch, capsys)
    assert list(fvlm.runs("model.blind = true")["run"]) == [row["run"] for row in json.loads(out)]
    assert fvlm.runs(["model.blind = true", "seed = 1"]).empty


def test_a_caption_is_the_command_line_s(
    trained: Any, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["caption", str(clip), "--run", trained.name, "--tokens", "6"]
    _, out, _ = run_cli(asked, monkeypatch, capsys)
    assert trained.caption(clip, tokens=6) == json.loads(out)["caption"]
    _, out, _ = run_cli([*asked, "--prompt", "What is red?", "--max-frames", "2"], monkeypatch, capsys)
    assert trained.caption(clip, "What is red?", tokens=6, max_frames=2) == json.loads(out)["caption"]


def test_frames_can_be_asked_about_as_well(trained: Any, clip: Path) -> None:
    frames = trained.frames(clip)
    assert (frames.dtype, frames.shape[1:]) == (np.uint8, (3, 42, 42))
    assert (
        trained.generate(frames, tokens=6)
        == trained.generate(clip, tokens=6)
        == trained.caption(clip, tokens=6)
    )
    assert isinstance(trained.generate(frames[:0], "Say something.", tokens=3), str)
    assert trained.generate(frames, tokens=6, temperature=None) == trained.generate(frames, tokens=6)


def test_a_stream_says_after_each_frame_what_the_frames_so_far_give(trained: Any, clip: Path) -> None:
    """The frames so far, in the connector's own frame-by-frame mode, all at once."""
    frames = trained.frames(clip)
    stream = trained.stream()
    assert stream.incremental
    for count, frame in enumerate(frames, 1):
        stream.push(frame)
        expected = trained.generate(frames[:count], tokens=5, mode="autoregressive")
        assert stream.text(tokens=5) == expected
    assert stream.count == len(frames)
    assert "frame by frame" in repr(stream)


def test_a_connector_that_cannot_stream_is_shown_all_frames_anew(
    trained: Any, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(trained.restored.model.connector), "stream", lambda *_: None)
    stream = trained.stream()
    frames = trained.frames(clip)
    for frame in frames[:2]:
        stream.push(frame)
    assert not stream.incremental
    assert stream.text(tokens=5) == trained.generate(frames[:2], tokens=5)


def test_gaze_is_arrays_of_each_pass_and_a_figure(trained: Any, clip: Path, tmp_path: Path) -> None:
    gaze = trained.gaze(clip)
    frames = trained.frames(clip)
    assert {name: array.shape for name, array in gaze.arrays.items()} == {
        "coarse": (len(frames), 3, 3),
        "fine": (len(frames), 3, 3),
    }
    assert isinstance(gaze.figure(), Figure)
    assert len(gaze.figure(most=2).axes) == 2
    assert "data:image/png;base64," in gaze._repr_html_()
    gaze.save(tmp_path / "gaze.png")
    assert (tmp_path / "gaze.png").is_file()


def test_metrics_are_the_rows_in_force(trained: Any) -> None:
    metrics = trained.metrics()
    assert isinstance(metrics, pd.DataFrame)
    evaluations = metrics[metrics["event_type"] == "eval"]
    assert list(evaluations["step"]) == [2, 4, 6, 8]
    assert evaluations["val_loss"].min() == pytest.approx(trained.summary["best_val_loss"])


def test_superseded_rows_are_left_out_of_the_metrics(tmp_path: Path) -> None:
    from run_folders import write_run

    from fvlm_core.runs.metrics import MetricsWriter

    write_run(tmp_path, "phase/A", curve=[(1, 3.0), (2, 2.5), (3, 2.4)])
    with MetricsWriter(tmp_path / "phase/A/metrics.jsonl", "A", 2) as metrics:
        metrics.write("eval", step=3, val_loss=2.0)
    found = fvlm.load("phase/A", root=tmp_path).metrics()
    assert list(found[found["step"] == 3]["val_loss"]) == [2.0]


def test_the_recipe_of_a_run_is_that_of_training(shortened: Any, trained: Any) -> None:
    from fvlm_core.recipes.resolved import resolved

    [run] = trained.recipe.checked.runs
    [of_training] = [one for one in shortened[1].checked.runs if one.id == "48"]
    assert (run.id, run.seed) == ("48", of_training.seed)
    assert resolved(run.config) == resolved(of_training.config)
    assert "<td>captions_small/48</td>" in trained._repr_html_()
    assert trained.folder == shortened[0] / "runs" / "captions_small" / "48"


def test_an_evaluation_is_the_command_line_s(
    trained: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, out, _ = run_cli(["eval", trained.name, "--mode", "all", "--json"], monkeypatch, capsys)
    found = fvlm.evaluate(trained.folder, modes=["all"])
    assert found.to_dict() == json.loads(out)
    assert list(found.table["mode"]) == list(json.loads(out)["modes"])
    assert "words" in repr(found)


def test_answers_are_the_command_line_s_and_a_bare_text_is_one(
    trained: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["--mode", "all", "--metric", "exact-match", "--beams", "2", "--tokens", "3", "--answers", "2"]
    _, out, _ = run_cli(["eval", trained.name, *asked, "--json"], monkeypatch, capsys)
    how = {"beams": 2, "limit": 3, "samples": 2, "temperature": None}
    found = fvlm.evaluate(trained.folder, modes="all", metrics="exact-match", generation=how)
    assert found.to_dict() == json.loads(out)


def test_a_comparison_is_the_command_line_s(
    shortened: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = ["captions_small/48", "captions_small/48-blind"]
    _, out, _ = run_cli(["runs", "compare", *named, "--format", "json"], monkeypatch, capsys)
    found = fvlm.compare(*named)
    assert found.to_dict() == json.loads(out)[0] if out.startswith("[") else json.loads(out)
    assert list(found.table["kind"]) == ["variant", "variant"]
    assert "48-blind" in repr(found)


def test_an_export_is_the_command_line_s(
    shortened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_cli(["export", "captions_small/48", "--to", str(tmp_path / "theirs")], monkeypatch, capsys)
    files = fvlm.export(tmp_path / "ours", "captions_small/48")
    assert {file.name for file in files} >= {"all_eval_points.csv", "run_summaries.csv", "scaling_fits.json"}
    for file in files:
        assert file.read_bytes() == (tmp_path / "theirs" / file.name).read_bytes()


def test_what_to_run_next_is_the_command_line_s(
    shortened: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    asked = ["--budget", "1e13", "--target-budget", "1e14", "--fresh", "--max-runs", "3"]
    _, out, _ = run_cli(
        ["suggest", "captions_small", *asked, "--out", "theirs.toml", "--json"], monkeypatch, capsys
    )
    found = fvlm.suggest(
        "captions_small", budget=1e13, target_budget="1e14", fresh=True, max_runs=3, out="ours.toml"
    )
    theirs = json.loads(out)
    assert json.loads(json.dumps(found.to_json())) == theirs | {"recipe": "ours.toml"}
    assert not Path("ours.toml").exists()
    found.save()
    assert len(fvlm.Recipe("ours.toml").runs) == len(fvlm.Recipe("theirs.toml").runs)
    assert "what to run next" in repr(found)

    again = fvlm.suggest(
        "captions_small", budget=1e13, target_budget="1e14", fresh=True, max_runs=3, out="ours.toml"
    )  # the cell is run once more
    again.save()
    Path("ours.toml").write_text("# mine\n")
    with pytest.raises(fvlm.FvlmError, match=r"ours.toml is there already"):
        again.save()
    assert Path("ours.toml").read_text() == "# mine\n"

"""Whatever is wrong is one exception class, with the sentence that the command line prints."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from measured import grid
from tiny import RECIPE, run_cli

import fvlm

TABLE = pd.DataFrame({"N": [1e6, 2e6], "D": [1e6, 2e6], "val": [3.0, 2.0]})
FULL = TABLE.rename(columns={"val": "loss"})

WRONG: list[tuple[str, Callable[[], Any], list[str]]] = [
    (
        "a law's name mistyped",
        lambda: fvlm.fit(FULL, "joint-chinchila"),
        ["fit", "--data", "full.csv", "--model", "joint-chinchila"],
    ),
    ("a run that is not there", lambda: fvlm.load("grid/41k"), ["caption", "x.mp4", "--run", "grid/41k"]),
    ("no file of points", lambda: fvlm.fit("none.csv"), ["fit", "--data", "none.csv"]),
    ("no condition", lambda: fvlm.runs("best_loss"), ["runs", "list", "--where", "best_loss"]),
    ("an unknown key", lambda: fvlm.runs("best_los < 1"), ["runs", "list", "--where", "best_los < 1"]),
    ("no recipe", lambda: fvlm.plan("quickstrat"), ["run", "quickstrat", "--dry-run"]),
    ("a wrong key of a recipe", lambda: fvlm.train("wrong.toml"), ["run", "wrong.toml"]),
    (
        "runs that are not there",
        lambda: fvlm.compare("grid/41k"),
        ["runs", "compare", "grid/41k"],
    ),
    ("a model that is not there", lambda: fvlm.evaluate("grid/41k"), ["eval", "grid/41k"]),
    (
        "an unknown column",
        lambda: fvlm.fit("table.csv", columns={"loss": "vall"}),
        ["fit", "--data", "table.csv", "--columns", "loss=vall"],
    ),
    (
        "no recipe to suggest for",
        lambda: fvlm.suggest("quickstrat", budget=1, target_budget=1),
        ["suggest", "quickstrat", "--budget", "1", "--target-budget", "1"],
    ),
]


SAID = {
    "a law's name mistyped": 'did you mean "joint-chinchilla"?',
    "a run that is not there": 'no run folder and no run under runs is called "grid/41k"; did you mean "grid/40k"?',
    "no file of points": "none.csv: there is no such file",
    "no recipe": 'no shipped recipe "quickstrat"; did you mean "quickstart"?',
    "a wrong key of a recipe": 'training.stepps: unknown key; did you mean "steps"?',
}
"""What some of the sentences say."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FVLM_RUNS", raising=False)
    grid(tmp_path / "runs")
    TABLE.to_csv("table.csv", index=False)
    FULL.to_csv("full.csv", index=False)
    Path("wrong.toml").write_text(RECIPE.replace("steps = 6", "stepps = 6"))


@pytest.mark.parametrize(("what", "asked", "command"), WRONG, ids=[one[0] for one in WRONG])
def test_the_sentence_is_the_command_line_s(
    what: str,
    asked: Callable[[], Any],
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, _, err = run_cli(command, monkeypatch, capsys)
    assert code
    with pytest.raises(fvlm.FvlmError) as told:
        asked()
    said = err.rstrip("\n")
    assert said == str(told.value) or said.startswith(f"{told.value}\n")  # then the line of the recipe
    assert SAID.get(what, "") in str(told.value)


def test_a_data_frame_without_the_column_is_told_as_a_file_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, err = run_cli(["fit", "--data", "table.csv"], monkeypatch, capsys)
    with pytest.raises(fvlm.FvlmError) as told:
        fvlm.fit(TABLE)
    assert str(told.value) == err.rstrip("\n").replace("table.csv:1", "the DataFrame")


def test_a_video_that_is_none_is_told_as_by_fvlm_gaze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tiny import trained

    trained(tmp_path)
    Path("broken.mp4").write_bytes(b"no video")
    for video, said in (("broken.mp4", "not a video"), ("none.mp4", "none.mp4")):
        _, _, err = run_cli(["gaze", video, "--run", "tiny"], monkeypatch, capsys)
        for ask in (fvlm.load("tiny").gaze, fvlm.load("tiny").caption):
            with pytest.raises(fvlm.FvlmError, match=said) as told:
                ask(video)
            assert str(told.value) == err.splitlines()[-1]


def test_frames_of_another_shape_are_told_what_is_expected(tmp_path: Path) -> None:
    from tiny import trained

    trained(tmp_path)
    model = fvlm.load("tiny")
    with pytest.raises(fvlm.FvlmError, match=r"expected uint8 \[T, 3, 42, 42\], got float64 \[1, 3, 8, 8\]"):
        model.generate(np.zeros((1, 3, 8, 8)))
    with pytest.raises(fvlm.FvlmError, match="no frame was pushed yet"):
        model.stream().text()
    with pytest.raises(fvlm.FvlmError, match=r'mode: expected one of .*did you mean "coarse_only"'):
        model.generate(np.zeros((1, 3, 42, 42), np.uint8), mode="coarse")


def test_a_bad_cell_of_a_data_frame_is_named_by_its_row() -> None:
    table = FULL.assign(loss=[3.0, -1.0])
    with pytest.raises(
        fvlm.FvlmError, match="the DataFrame: row 2, loss: expected a finite, positive number"
    ):
        fvlm.fit(table)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            lambda: fvlm.fit(FULL, objective="log-hubber"),
            'objective: expected one of .* did you mean "log-huber"',
        ),
        (lambda: fvlm.fit(3.5), "expected points: a DataFrame, files, .*got float"),
        (lambda: fvlm.fit(FULL, n_kind="all"), "n_kind: expected one of"),
        (lambda: fvlm.compare(), "name the runs to compare"),
        (
            lambda: fvlm.suggest(budget=1e15, target_budget="much"),
            "target_budget: expected a positive number",
        ),
        (lambda: fvlm.suggest(target_budget=1e15), "--budget FLOPS or --hours"),
        (lambda: fvlm.train("wrong.toml", callbacks=[3]), "callbacks: expected functions, .*got 3"),
        (lambda: fvlm.train("wrong.toml", callbacks=3), "callbacks: expected functions, .*got 3"),
        (lambda: fvlm.train("wrong.toml", callbacks=print), "training.stepps: unknown key"),
        (lambda: fvlm.plan("quickstart", mfu=0.0), "mfu: expected a number above 0 and at most 1, got 0.0"),
        (lambda: fvlm.plan("quickstart", mfu=40), "mfu: expected a number above 0 and at most 1, got 40"),
        (lambda: fvlm.suggest(target_budget=1e15, hours=math.inf), "hours: expected a positive number"),
        (lambda: fvlm.suggest(target_budget=1e15, budget=math.nan), "budget: expected a positive number"),
        (lambda: fvlm.suggest(target_budget=[1], budget=1e15), "target_budget: expected a positive number"),
        (lambda: fvlm.suggest(budget=1e15, max_runs=0), "max_runs: expected a whole number of at least 1"),
        (
            lambda: fvlm.suggest(budget=1e15, largest_share=1.5),
            "largest_share: expected .* at most 1, got 1.5",
        ),
        (lambda: fvlm.suggest(budget=1e15, noise="a lot"), "noise: expected a number above 0"),
        (
            lambda: fvlm.evaluate("grid/40k", samples=0),
            "samples: expected a whole number of at least 1, got 0",
        ),
        (lambda: fvlm.evaluate("grid/40k", samples=1.5), "samples: expected a whole number"),
        (
            lambda: fvlm.evaluate("grid/40k", max_bad=2),
            "max_bad: expected a number of at least 0 and at most 1",
        ),
        (lambda: fvlm.fit(FULL, draws=1), "draws: expected a whole number of at least 2 and at most 100,000"),
        (lambda: fvlm.fit(FULL, delta=math.nan), "delta: expected a number above 0, got nan"),
        (lambda: fvlm.fit(FULL, fixed="bta=alpha"), '"?bta'),
        (lambda: fvlm.evaluate("grid/40k", generation={"beams": 2}), "nothing is answered without a metric"),
        (lambda: fvlm.load("grid/40k", device="cpi"), 'device: expected one of .*did you mean "cpu"'),
        (
            lambda: fvlm.suggest(
                data="grid/41k", root="new", budget=1e15, target_budget=1e16, cost="6ND", sizes="1M"
            ),
            "new: no runs are kept there",
        ),
        (lambda: fvlm.export("file.csv/inside", objective="x"), "objective: expected one of"),
    ],
)
def test_arguments_are_checked_with_what_is_expected(asked: Callable[[], Any], said: str) -> None:
    with pytest.raises(fvlm.FvlmError, match=said):
        asked()


def test_a_place_that_cannot_be_written_is_told_with_the_way_out() -> None:
    Path("file").write_text("")
    with pytest.raises(fvlm.FvlmError, match="file/inside: cannot be written: Not a directory"):
        fvlm.export("file/inside", "grid")


def test_a_defect_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("fvlm_core.api.fit.fit_points", broken)
    with pytest.raises(ZeroDivisionError):
        fvlm.fit(FULL)


@pytest.mark.parametrize("ask", [lambda: fvlm.plan("none", root="kept"), lambda: fvlm.train("none", "kept")])
def test_recipes_are_read_with_the_runs_that_are_meant(ask: Callable[[], Any]) -> None:
    """A component that names a run looks for it where the call says that runs are kept."""
    from fvlm_core.utils.paths import runs_folder

    with pytest.raises(fvlm.FvlmError, match='no shipped recipe "none"'):
        ask()
    assert runs_folder() == Path("kept")
    fvlm.runs()
    assert runs_folder() == Path("runs")


def test_a_gpu_that_is_not_there_is_told_when_the_run_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(fvlm.FvlmError, match="torch sees no GPU"):
        fvlm.load("grid/40k", device="cuda")
    assert fvlm.load("grid/40k", device="auto").name == "grid/40k"


def test_runs_outside_the_store_are_points_to_suggest_from() -> None:
    from fvlm_core.api.points import requested
    from fvlm_core.api.suggest import measured_rate, points_there

    chosen = [str(file.parent) for file in sorted(Path("runs/grid").glob("*/recipe.json"))]
    inside = points_there(requested(None, Path("runs")), print)
    outside = points_there(requested(chosen, Path("elsewhere")), print)
    assert inside is not None
    assert outside is not None
    assert sorted(outside.table["loss"]) == sorted(inside.table["loss"])
    one = points_there(requested(chosen[:1], Path("runs")), print)
    assert one is not None
    assert len(one.table) < len(inside.table)
    assert measured_rate(requested(chosen, Path("elsewhere"))) == measured_rate(requested(None, Path("runs")))


def test_a_picture_of_gaze_is_saved_like_other_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    gaze = fvlm.GazeMaps(np.zeros((1, 3, 42, 42), np.uint8), {"coarse": np.ones((1, 3, 3), np.float32)})
    monkeypatch.setenv("HOME", str(Path.cwd() / "home"))
    gaze.save("~/deep/gaze.png")
    assert Path("home/deep/gaze.png").is_file()
    Path("file").write_text("")
    for to in ("file/gaze.gif", "file/gaze.mp4"):
        with pytest.raises(fvlm.FvlmError, match=f"{to}: cannot be written: "):
            gaze.save(to)
    Path("taken.mp4").mkdir()
    with pytest.raises(fvlm.FvlmError, match=r"taken.mp4: cannot be written: Is a directory"):
        gaze.save("taken.mp4")
    with pytest.raises(fvlm.FvlmError, match="expected a file name ending in"):
        gaze.save("gaze.jpg")

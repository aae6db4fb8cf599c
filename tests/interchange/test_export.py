"""The export keeps its format, byte for byte where scripts read it, and can be read back."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from coarse import coarse_figures
from measured import SIZES, STEPS, TRUTH, grid, run
from PIL import Image
from tiny import run_cli

from fvlm_core.interchange.export import export
from fvlm_core.runs.store import list_runs
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.points.files import read_points
from fvlm_core.scaling.points.points_from_runs import from_runs
from fvlm_core.utils.errors import UsageError

POINTS_HEADER = (
    "model_size,run_id,lr_schedule,step,samples_seen,val_loss,train_loss,lr,throughput_sps,attention_entropy"
)
SUMMARIES_HEADER = (
    "run_id,model_size,total_params,lr_schedule,total_samples,total_steps,best_val_loss,best_val_step,"
    "final_train_loss,wall_time_hours"
)


AS_THEY_ARE = (
    "test_the_same_runs_give_the_same_bytes_elsewhere_and_whenever",
    "test_the_four_files_have_the_published_columns_and_keys",
)


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fitted lies near enough to its law, and nobody looks at most plots."""
    if request.node.name not in AS_THEY_ARE:
        monkeypatch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)
        monkeypatch.setattr("fvlm_core.scaling.fit.sensitivity.MOST", 0)
        coarse_figures(monkeypatch, 40)


@pytest.fixture
def unfitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the tables are looked at."""
    monkeypatch.setattr("fvlm_core.interchange.export.EXPORTED", ())


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as text:
        return list(csv.DictReader(text))


def digests(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.iterdir())}


def test_the_same_runs_give_the_same_bytes_elsewhere_and_whenever(tmp_path: Path) -> None:
    grid(tmp_path / "runs")
    run(tmp_path / "runs", "a", recipe="first")
    export(list_runs(tmp_path / "runs"), tmp_path / "out")
    moved = shutil.copytree(tmp_path / "runs", tmp_path / "another/place", copy_function=shutil.copyfile)
    elsewhere = {
        "TZ": "Pacific/Kiritimati",
        "PYTHONHASHSEED": "7",
        "SOURCE_DATE_EPOCH": "86400",  # another day, to whatever would write one
        "LC_ALL": "C",
        "COLUMNS": "40",
        "FVLM_RUNS": str(moved),
    }
    names = ["first/a", "grid/400k", "grid/blind", str(moved / "grid/40k"), "120k"]
    done = subprocess.run(
        [Path(sys.executable).with_name("fvlm"), "export", *names, "--to", "o"],
        cwd=tmp_path / "another",
        env={**os.environ, **elsewhere},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "exported 5 runs: first (1: a), grid (4: 40k, 120k, 400k, blind)" in done.stderr
    assert digests(tmp_path / "another/o") == digests(tmp_path / "out")


def test_no_path_and_no_order_of_arguments_gets_into_the_files(tmp_path: Path) -> None:
    run(tmp_path / "runs", "b", losses=[])
    run(tmp_path / "runs", "a", losses=[])
    runs = list_runs(tmp_path / "runs")
    export(runs, tmp_path / "out")
    export([*runs[::-1], runs[0]], tmp_path / "another/out")
    assert digests(tmp_path / "out") == digests(tmp_path / "another/out")


@pytest.mark.usefixtures("unfitted")
def test_runs_are_chosen_by_recipe_id_pattern_and_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid(tmp_path / "runs")
    run(tmp_path / "runs", "40k", recipe="second")
    monkeypatch.setenv("FVLM_RUNS", str(tmp_path / "runs"))

    def exported(*names: str) -> list[str]:
        code, _, err = run_cli(["export", *names, "--to", str(tmp_path / "out")], monkeypatch, capsys)
        assert code == 0, err
        return [row["run_id"] for row in rows(tmp_path / "out/run_summaries.csv")]

    assert exported() == ["grid/40k", "120k", "400k", "blind", "second/40k"]
    assert exported("grid") == ["40k", "120k", "400k", "blind"]
    assert exported("blind", "grid/?00k", "blind") == ["400k", "blind"]
    assert exported("*40k") == ["grid/40k", "second/40k"]
    assert exported(str(tmp_path / "runs/second/40k"), "second") == ["40k"]


def test_unknown_and_ambiguous_runs_are_named_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid(tmp_path / "runs")
    run(tmp_path / "runs", "40k", recipe="second")
    arguments = ["export", "40k", "blnd", "third/*", "--to", str(tmp_path / "out")]
    code, _, err = run_cli([*arguments, "--runs", str(tmp_path / "runs")], monkeypatch, capsys)
    assert (code, (tmp_path / "out").exists()) == (2, False)
    root = tmp_path / "runs"
    assert err.splitlines() == [
        f'"40k" is the name of several runs under {root}: {root}/grid/40k, {root}/second/40k; name one by its folder',
        f'no run or recipe under {root} is called "blnd": did you mean "blind"?',
        f'no run or recipe under {root} is called "third/*"; `fvlm runs list` shows them',
    ]


def test_the_four_files_have_the_published_columns_and_keys(tmp_path: Path) -> None:
    to = tmp_path / "out"
    assert [file.name for file in export(grid(tmp_path / "runs"), to)] == [
        "all_eval_points.csv",
        "in_fits.csv",  # for the control
        "run_summaries.csv",
        "scaling_fits.json",
        "scaling_law_plot.png",
    ]
    points, summaries = (to / "all_eval_points.csv").read_text(), (to / "run_summaries.csv").read_text()
    assert points.splitlines()[0] == POINTS_HEADER
    assert summaries.splitlines()[0] == SUMMARIES_HEADER
    assert len(points.splitlines()) == 1 + 4 * len(STEPS)  # the control is exported, too
    first = 3.0
    assert f"120k,blind,constant,20,640,{first},2.02,0.001,45.25,2.25" in points.splitlines()
    assert "blind,120k,120000,constant,7680,240,2.89,240,2.24,0.0125" in summaries.splitlines()
    fits = json.loads((to / "scaling_fits.json").read_text(), parse_constant=pytest.fail)
    assert list(fits) == ["per_size_fits", "joint_chinchilla_fit", "chinchilla_reference", "not_in_fits"]
    assert list(fits["per_size_fits"]) == list(SIZES)
    assert list(fits["per_size_fits"]["40k"]) == ["a", "b", "E", "n_points", "rmse", "lr_schedule", "note"]
    assert list(fits["joint_chinchilla_fit"]) == [
        "form",
        "E",
        "A",
        "B",
        "alpha",
        "beta",
        "rmse",
        "n_points",
        "note",
    ]
    assert fits["joint_chinchilla_fit"]["form"] == "L(N,D) = E + A/N^alpha + B/D^beta"
    assert fits["chinchilla_reference"] == {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28}
    assert fits["joint_chinchilla_fit"]["n_points"] == 36  # the control is not fitted
    assert fits["joint_chinchilla_fit"]["alpha"] == pytest.approx(TRUTH["alpha"], rel=1e-3)
    assert Image.open(to / "scaling_law_plot.png").size == (1600, 1000)


def test_columns_and_keys_are_those_of_the_published_export(tmp_path: Path, shared: Path) -> None:
    published = shared / "data/phase1b_export"
    export([run for run in grid(tmp_path / "runs") if run.in_fits], tmp_path)
    for name in ("all_eval_points.csv", "run_summaries.csv"):
        ours, theirs = ((folder / name).read_text().splitlines()[0] for folder in (tmp_path, published))
        assert ours == theirs

    def keys(folder: Path, size: str) -> list[list[str]]:
        fits: dict[str, Any] = json.loads((folder / "scaling_fits.json").read_text())
        return [list(fits), *(list(fits[key]) for key in list(fits)[1:]), list(fits["per_size_fits"][size])]

    assert keys(tmp_path, "40k") == keys(published, "135M")


def test_what_is_exported_is_read_back_and_fits_the_same(tmp_path: Path) -> None:
    runs = grid(tmp_path / "runs")
    fitted = [run for run in runs if run.in_fits]
    export(fitted, tmp_path)
    direct = from_runs(runs, "runs")
    back = read_points([tmp_path / "all_eval_points.csv"])
    columns = ["size", "run", "schedule", "n", "d", "loss", "step", "lr"]
    assert back.table[columns].equals(direct.table[columns])
    law = load_model("per-size")
    one, other = (fit_points(points, law, draws=10) for points in (direct, back))
    assert [fit.to_json() for fit in one.fits] == [fit.to_json() for fit in other.fits]


@pytest.mark.usefixtures("unfitted")
def test_the_training_loss_is_of_the_closest_preceding_step(tmp_path: Path) -> None:
    folder = run(tmp_path / "runs", "a")
    log = folder / "metrics.jsonl"
    kept = [json.loads(line) for line in log.read_text().splitlines()]
    kept = [row for row in kept if row["event_type"] != "train" or row["step"] in (39, 99)]
    log.write_text("".join(json.dumps(row) + "\n" for row in kept))
    export(list_runs(tmp_path / "runs"), tmp_path)
    losses = {row["step"]: row["train_loss"] for row in rows(tmp_path / "all_eval_points.csv")}
    assert losses["20"] == ""  # nothing was logged before it
    assert (losses["40"], losses["80"], losses["100"], losses["240"]) == ("2.04", "2.04", "2.1", "2.1")


@pytest.mark.usefixtures("unfitted")
def test_unknown_values_are_empty_cells_and_never_nan(tmp_path: Path) -> None:
    run(tmp_path / "runs", "a", losses=[3.0, None, 2.0])
    (tmp_path / "runs/grid/a/summary.json").unlink()
    export(list_runs(tmp_path / "runs"), tmp_path)
    assert [row["val_loss"] for row in rows(tmp_path / "all_eval_points.csv")] == ["3.0", "", "2.0"]
    (summary,) = rows(tmp_path / "run_summaries.csv")
    assert (summary["run_id"], summary["total_params"], summary["total_samples"]) == ("a", "40000", "")
    written = "".join((tmp_path / name).read_text() for name in ("all_eval_points.csv", "run_summaries.csv"))
    assert "nan" not in written.lower()


@pytest.mark.usefixtures("unfitted")
def test_text_that_a_spreadsheet_would_run_is_defused_and_read_back(tmp_path: Path) -> None:
    run(tmp_path / "runs", "=cmd|A1", size="+big, small")
    export(list_runs(tmp_path / "runs"), tmp_path)
    assert "\"'+big, small\",'=cmd|A1,constant" in (tmp_path / "all_eval_points.csv").read_text()
    points = read_points([tmp_path / "all_eval_points.csv"])
    assert (points.sizes, set(points.table["run"])) == (["+big, small"], {"=cmd|A1"})
    assert set(points.table["n"]) == {40_000.0}


@pytest.mark.usefixtures("unfitted")
def test_two_recipes_with_runs_of_one_id_stay_apart(tmp_path: Path) -> None:
    run(tmp_path / "runs", "a", recipe="first")
    run(tmp_path / "runs", "a", recipe="second")
    export(list_runs(tmp_path / "runs"), tmp_path)
    assert {row["run_id"] for row in rows(tmp_path / "run_summaries.csv")} == {"first/a", "second/a"}


def test_withheld_values_are_null_and_the_note_says_why(tmp_path: Path) -> None:
    for size, n in list(SIZES.items())[:2]:
        losses = [TRUTH["E"] + 60 / (step * 32) ** 0.6 for step in STEPS]
        run(tmp_path / "runs", size, size=size, n=n, losses=losses)
    run(tmp_path / "runs", "400k", size="400k", n=400_000, losses=[2.5])
    export(list_runs(tmp_path / "runs"), tmp_path)
    fits = json.loads((tmp_path / "scaling_fits.json").read_text())
    joint = fits["joint_chinchilla_fit"]
    assert [joint[name] for name in ("E", "A", "alpha")] == [None, None, None]
    assert "A rests on its bound 0" in joint["note"]
    lone = fits["per_size_fits"]["400k"]
    assert (lone["a"], lone["rmse"], lone["n_points"]) == (None, None, 1)
    assert "not identifiable from 1 point" in lone["note"]


def test_runs_without_an_evaluation_are_exported_and_the_fits_say_so(tmp_path: Path) -> None:
    run(tmp_path / "runs", "a", losses=[])
    export(list_runs(tmp_path / "runs"), tmp_path)
    assert (tmp_path / "all_eval_points.csv").read_text() == POINTS_HEADER + "\n"
    fits = json.loads((tmp_path / "scaling_fits.json").read_text())
    assert fits["per_size_fits"] == {}
    assert "no evaluation to fit (runs: 1, meant for fits: 1)" in fits["joint_chinchilla_fit"]["note"]
    assert (tmp_path / "scaling_law_plot.png").is_file()


def test_nothing_to_export_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run"):
        export([], tmp_path)


@pytest.mark.usefixtures("unfitted")
def test_the_command_names_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FVLM_RUNS", raising=False)
    code, out, _ = run_cli(["export", "--to", "a/b"], monkeypatch, capsys)
    assert code == 0
    assert out.split() == [f"a/b/{file.name}" for file in sorted((tmp_path / "a/b").iterdir())]
    code, _, err = run_cli(["export", "--to", "c", "--runs", "none"], monkeypatch, capsys)
    assert (code, Path("c").exists()) == (2, False)
    assert "none: no runs are kept there" in err

"""Measurements made elsewhere become runs: nothing lost, nothing made up, and the same tables come out again."""

from __future__ import annotations

import csv
import json
import re
import shutil
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from coarse import coarse_figures
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import SIZES, TRUTH, chinchilla, grid
from raw_metrics import BATCH, RAW_HEADER, loss_of, two_starts, write_start, write_summary
from tiny import RECIPE, run_cli

from fvlm_core.comparison import compare, table
from fvlm_core.interchange.export import export
from fvlm_core.interchange.export_tables import POINT_COLUMNS, SUMMARY_COLUMNS, write_tables
from fvlm_core.interchange.overrides import Given
from fvlm_core.interchange.raw import RAW_FORMAT
from fvlm_core.interchange.sources import find_sources, read_source
from fvlm_core.interchange.write_runs import ImportedGroup, keep, plan
from fvlm_core.runs.listing import list_entries
from fvlm_core.runs.metrics import MetricsWriter
from fvlm_core.runs.store import StoredRun, list_runs, open_run
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.points.files import read_points
from fvlm_core.scaling.points.points_from_runs import from_runs, stored_runs
from fvlm_core.utils.errors import FvlmError, MissingWeights, Problems, UsageError
from fvlm_core.utils.folder_lock import writing
from fvlm_core.weights.init_from import find_initial
from fvlm_core.weights.restore import restore


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is fitted lies near enough to its law, and nobody looks at the plots."""
    monkeypatch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)
    monkeypatch.setattr("fvlm_core.scaling.fit.sensitivity.MOST", 0)
    coarse_figures(monkeypatch, 40)


POINTS, SUMMARIES = "all_eval_points.csv", "run_summaries.csv"


def import_(
    *paths: Path, root: Path, name: str | None = None, replace: bool = False, **options: Any
) -> ImportedGroup:
    """What the command does: into the store `root`."""
    in_fits = options.pop("in_fits", True)
    (source,) = find_sources(paths, name)
    group = plan(
        read_source(source),
        root,
        in_fits=in_fits,
        given=Given(**options),
        replace=replace,
        named=name is not None,
    )
    keep(group)
    return group


def tables(root: Path, to: Path) -> tuple[bytes, bytes]:
    """Both tables of everything in a store."""
    to.mkdir(exist_ok=True)
    write_tables(list_runs(root), to)
    return (to / POINTS).read_bytes(), (to / SUMMARIES).read_bytes()


def point(run: str = "a", step: int = 100, **cells: str) -> str:
    row = {
        "model_size": "40k",
        "run_id": run,
        "lr_schedule": "constant",
        "step": str(step),
        "samples_seen": str(step * 32),
        "val_loss": "2.5",
        "train_loss": "2.75",
        "lr": "0.001",
        "throughput_sps": "45.25",
        "attention_entropy": "2.25",
    }
    return ",".join((row | cells).values())


def points_file(folder: Path, *rows: str, name: str = POINTS, header: str = ",".join(POINT_COLUMNS)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text("\n".join([header, *rows]) + "\n")
    return file


def summaries_file(folder: Path, *rows: str) -> Path:
    return points_file(folder, *rows, name=SUMMARIES, header=",".join(SUMMARY_COLUMNS))


def named(runs: list[StoredRun]) -> dict[str, StoredRun]:
    return {run.id: run for run in runs}


@pytest.fixture(autouse=True)
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """How sure an exported fit is is no matter here."""
    quick = partial(fit_points, draws=10, options=Options(sensitivity=False))
    monkeypatch.setattr("fvlm_core.interchange.export.fit_points", quick)


# What comes in goes out


def test_the_founding_export_comes_out_equal_row_by_row_and_cell_by_cell(
    tmp_path: Path, shared: Path
) -> None:
    published = shared / "data/phase1b_export"
    group = import_(published, root=tmp_path / "runs")
    assert (len(group.read.runs), sum(len(run.evaluations) for run in group.read.runs)) == (5, 169)
    ours = tables(tmp_path / "runs", tmp_path / "out")
    for name, text in zip((POINTS, SUMMARIES), ours, strict=True):
        theirs = (published / name).read_bytes()
        assert list(csv.reader(text.decode().splitlines())) == list(csv.reader(theirs.decode().splitlines()))
        assert text == theirs.replace(b"\r\n", b"\n")  # all but the ends of its lines
    assert b"1.00e-03" in ours[0]
    assert b",157600000," in ours[1]  # typed in by hand there, and kept


def test_imported_runs_are_listed_and_compared_as_such(tmp_path: Path, shared: Path) -> None:
    import_(shared / "data/phase1b_export", root=tmp_path / "runs")
    assert {entry.state for entry in list_entries(tmp_path / "runs")} == {"imported"}
    found = table(compare(list_runs(tmp_path / "runs"), "135M-C3-F"))
    assert [row[0] for row in found.texts("variant")][:2] == ["135M-C3-F", "135M-C1-F"]
    assert any("no interval is possible" in note for note in found.notes)
    assert not any("not complete" in note for note in found.notes)


def test_fits_of_the_imported_points_are_those_of_the_table(tmp_path: Path, shared: Path) -> None:
    file = shared / "data/phase1b_export" / POINTS
    import_(file.parent, root=tmp_path / "runs")
    stored, read = from_runs(list_runs(tmp_path / "runs"), "runs"), read_points([file])
    assert stored.table.equals(read.table)
    assert stored.fingerprint() == read.fingerprint()
    for law in ("per-size", "joint-chinchilla"):
        one, other = (
            fit_points(points, load_model(law), "mse", draws=10, options=Options(sensitivity=False))
            for points in (stored, read)
        )
        assert [fit.to_json() for fit in one.fits] == [fit.to_json() for fit in other.fits]
        assert (one.status, one.reasons) == (other.status, other.reasons)
        if law == "per-size":
            expected = json.loads((file.parent / "expected.json").read_text())["per_size"]
            for fit, key in zip(one.fits, ("r135M", "r360M"), strict=True):
                assert round(fit.values["b"], 4) == expected[key]["b"]
                assert round(fit.rmse, 6) == expected[key]["rmse"]


def test_runs_mixed_in_the_table_and_summaries_in_another_order_keep_their_places(tmp_path: Path) -> None:
    rows = [point(run, step) for step in (100, 200, 300) for run in ("b", "a", "c")]
    points_file(tmp_path / "in", *rows, point("a", 50))
    summaries_file(
        tmp_path / "in",
        "d,40k,40000,cosine,,,,,,",
        "c,40K,40001.0,Constant,9600,300,2.5,100,2.75,0.5",
        "a,40k,4e4,constant,9600,300,nan,,inf,",
    )
    before = tuple((tmp_path / "in" / name).read_bytes() for name in (POINTS, SUMMARIES))
    group = import_(tmp_path / "in", root=tmp_path / "runs")
    assert tables(tmp_path / "runs", tmp_path / "out") == before
    said = " ".join(group.read.remarks)
    assert "no summary, and none is made up: b" in said
    assert "run d has a summary and no points" in said


def test_a_run_without_a_summary_has_none_afterwards_and_its_best_is_told_from_its_points(
    tmp_path: Path,
) -> None:
    points_file(tmp_path / "in", point("a", 100), point("a", 200, val_loss="2.25"), point("b"))
    summaries_file(tmp_path / "in", "b,40k,40000,constant,3200,100,2.5,100,2.75,0.5")
    import_(tmp_path / "in", root=tmp_path / "runs")
    runs = named(list_runs(tmp_path / "runs"))
    assert (runs["a"].summary["best_val_loss"], runs["a"].summary["best_val_step"]) == (2.25, 200)
    assert "total_samples" not in runs["a"].summary
    assert runs["a"].total_params == 40_000  # of its size, as for a table; its own summary stays missing
    assert [line.split(b",")[0] for line in tables(tmp_path / "runs", tmp_path / "out")[1].split()[1:]] == [
        b"b"
    ]


@pytest.mark.parametrize(
    "cells",
    [
        {"val_loss": "1.00e-03", "lr": "1E-3", "throughput_sps": "45"},
        {"val_loss": "", "lr": "", "attention_entropy": "", "train_loss": "", "samples_seen": ""},
        {"val_loss": "nan", "train_loss": "inf", "lr": "NA"},
        {"step": "100.0", "samples_seen": "3.2e3", "val_loss": "+2.50"},
        {"val_loss": "0.1000000000000000055511151231257827", "lr": "-0.0"},
        {"model_size": "", "lr_schedule": ""},
        {"run_id": "'=cmd|' /C calc'!A0", "model_size": "'+big"},
        {"run_id": "''=x", "model_size": '"a, ""b"""'},
        {"run_id": "007", "model_size": "nan", "lr_schedule": "1e3"},
        {"run_id": "../../etc/passwd"},
        {"run_id": "Ünïcode 走 run"},
    ],
    ids=str,
)
def test_every_cell_comes_out_as_it_was_written(tmp_path: Path, cells: dict[str, str]) -> None:
    file = points_file(tmp_path / "in", point(**cells), point("z"))
    import_(file, root=tmp_path / "runs")
    assert tables(tmp_path / "runs", tmp_path / "out")[0] == file.read_bytes()
    for run in list_runs(tmp_path / "runs"):
        assert run.folder.resolve().parent == (tmp_path / "runs/in").resolve()


def test_more_runs_than_are_read_without_the_cache_come_out_the_same(tmp_path: Path) -> None:
    rows = [point(f"run-{n}", step, lr="1.00e-03", val_loss="2") for n in range(33) for step in (100, 200)]
    file = points_file(tmp_path / "in", *rows)
    import_(file, root=tmp_path / "runs")
    (tmp_path / "out").mkdir()
    write_tables(stored_runs(tmp_path / "runs"), tmp_path / "out")
    assert (tmp_path / "runs/.cache").is_dir()
    assert (tmp_path / "out" / POINTS).read_bytes() == file.read_bytes()


_TEXT = st.text(st.sampled_from("aB7._+-=@'\"/,; é走~#"), min_size=1, max_size=8).map(str.strip).filter(bool)
_REAL = st.none() | st.floats(allow_nan=False, allow_infinity=False)
_COUNT = st.none() | st.integers(0, 2**60)
_STEPS = st.lists(st.integers(0, 10**6), unique=True, max_size=4).map(sorted)
_RUN = st.fixed_dictionaries(
    {
        "size": _TEXT | st.just(""),
        "schedule": _TEXT,
        "n": st.none() | st.integers(1, 2**53),
        "evals": _STEPS.flatmap(
            lambda steps: st.tuples(*(st.tuples(st.just(step), _COUNT, *[_REAL] * 5) for step in steps))
        ),
        "trains": _STEPS.flatmap(
            lambda steps: st.tuples(*(st.tuples(st.just(step), _REAL) for step in steps))
        ),
        "summary": st.none() | st.tuples(_COUNT, _COUNT, _REAL, _COUNT, _REAL, _REAL),
    }
)


def _on_disk(root: Path, recipe: str, name: str, order: int, about: dict[str, Any]) -> None:
    folder = root / recipe / str(order)
    folder.mkdir(parents=True)
    with MetricsWriter(folder / "metrics.jsonl", name, 0) as metrics:
        for step, loss in about["trains"]:
            metrics.write("train", step=step, train_loss=loss, lr_connector=1e-3, throughput_samples_sec=None)
        for step, seen, loss, lr, speed, entropy, draft in about["evals"]:
            row = {"lr_connector": lr, "throughput_samples_sec": speed, "attention_entropy": entropy}
            row |= {"val_loss_draft": draft}
            metrics.write("eval", step=step, samples_seen=seen, val_loss=loss, **row)
    if about["summary"] is not None:
        summary = dict(zip(SUMMARY_COLUMNS[4:], about["summary"], strict=True))
        (folder / "summary.json").write_text(json.dumps(summary))
    record = {"id": name, "recipe": recipe, "size": about["size"], "total_params": about["n"]}
    record |= {"schedule": about["schedule"], "in_fits": True, "order": order, "resolved": {}}
    (folder / "recipe.json").write_text(json.dumps(record))


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.tuples(st.sampled_from(["r", "s"]), _TEXT), _RUN, min_size=1, max_size=4))
def test_any_export_imported_and_exported_again_is_equal(runs: dict[tuple[str, str], dict[str, Any]]) -> None:
    with TemporaryDirectory() as place:
        root, again, first = Path(place) / "runs", Path(place) / "again", Path(place) / "first"
        for order, ((recipe, name), about) in enumerate(runs.items()):
            _on_disk(root, recipe, name, order, about)
        before = tables(root, first)
        import_(first, root=again)
        assert tables(again, Path(place) / "second") == before


def test_losses_of_other_connectors_come_out_as_they_came_in_and_texts_beside_them_are_told(
    tmp_path: Path,
) -> None:
    head = "model_size,run_id,lr_schedule,step,samples_seen,val_loss,train_loss,lr,throughput_sps,attention_entropy"
    file = tmp_path / "in" / POINTS
    file.parent.mkdir()
    file.write_text(
        f"{head},val_loss_draft,val_loss_mood\n10M,r,cosine,1,8,3.5,,,,,1.50e0,low\n10M,r,cosine,2,16,3.25,,,,,nan,\n"
    )
    (remark,) = [
        one for one in import_(file.parent, root=tmp_path / "runs").read.remarks if "exported" in one
    ]
    assert remark.endswith("kept in the record and not exported: val_loss_mood")
    points, _ = tables(tmp_path / "runs", tmp_path / "out")
    assert points.decode() == file.read_text().replace(",val_loss_mood", "").replace(",low\n", "\n").replace(
        "nan,\n", "nan\n"
    )


def test_metrics_of_answers_come_out_as_they_came_in_and_half_an_interval_is_none(tmp_path: Path) -> None:
    head = "model_size,run_id,lr_schedule,step,samples_seen,val_loss,train_loss,lr,throughput_sps,attention_entropy"
    own = "chrf,chrf_low,chrf_high,exact_match,exact_match_low,exact_match_high"
    file = tmp_path / "in" / POINTS
    file.parent.mkdir()
    rows = "10M,r,cosine,1,8,3.5,,,,,41.5,40.25,42.75,0.0,-0.5,0.5\n10M,r,cosine,2,16,3.25,,,,,50.0,,,0.25,0.0,0.5\n"
    file.write_text(f"{head},{own}\n{rows}")
    assert not [one for one in import_(file.parent, root=tmp_path / "runs").read.remarks if "exported" in one]
    points, _ = tables(tmp_path / "runs", tmp_path / "out")
    assert points.decode() == file.read_text()
    file.write_text(f"{head},bleu,bleu_low\n10M,r,cosine,1,8,3.5,,,,,1.5,1.0\n")
    (remark,) = [
        one for one in import_(file.parent, root=tmp_path / "half").read.remarks if "exported" in one
    ]
    assert remark.endswith("kept in the record and not exported: bleu, bleu_low")


# Raw metrics


def test_raw_metrics_have_the_published_columns() -> None:
    assert ",".join(RAW_FORMAT.columns) == RAW_HEADER


def test_two_starts_are_one_run_whose_later_start_counts(tmp_path: Path) -> None:
    group = import_(two_starts(tmp_path / "raw"), root=tmp_path / "runs")
    (run,) = list_runs(tmp_path / "runs")
    assert (run.id, run.size, run.total_params, run.state) == (
        "135M-scaling",
        "135M",
        157_600_000,
        "imported",
    )
    evaluations = run.evaluations()
    assert [row["step"] for row in evaluations] == list(range(100, 1001, 100))
    for row in evaluations:  # step 600 was measured by both: the resumed one is what the weights came from
        assert row["val_loss"] == loss_of(row["step"], int(row["step"] > 500))
    assert [row["step"] for row in run.train_rows()] == list(range(50, 1001, 50))
    assert (
        len((run.folder / "metrics.jsonl").read_text().splitlines()) == 2 + 13 + 6 + 10 + 5
    )  # nothing is lost
    assert run.train_rows()[0]["lr_encoder"] == 1e-5
    assert evaluations[0]["val_loss_ratio"] == 0.0
    assert "start 2 of 135M-scaling, from step 550" in group.read.remarks[0]
    assert "superseded (up to 650)" in group.read.remarks[0]
    points, summaries = tables(tmp_path / "runs", tmp_path / "out")
    row = points.decode().splitlines()[1].split(",")
    assert row[:4] == ["135M", "135M-scaling", "constant", "100"]
    assert row[5:9] == [repr(loss_of(100, 0)), repr(loss_of(100, 0) + 0.5), "0.001", "42.5"]
    said = json.loads((tmp_path / "raw/run_summary_135M-scaling.json").read_text())
    assert summaries.decode().splitlines()[1] == ",".join(map(str, said.values()))


def test_starts_are_in_the_order_of_their_names_with_numbers_by_value(tmp_path: Path) -> None:
    for start, steps in {"": (100, 200), "_2": (200, 300), "_10": (300,)}.items():
        number = int(start[1:] or 1)
        write_start(tmp_path / f"raw/metrics_a{start}.csv", "a", steps, start=number)
    import_(tmp_path / "raw", root=tmp_path / "runs")
    (run,) = list_runs(tmp_path / "runs")
    expected = [loss_of(100, 1), loss_of(200, 2), loss_of(300, 10)]
    assert [row["val_loss"] for row in run.evaluations()] == expected


def test_starts_appended_to_one_file_are_told_by_their_steps(tmp_path: Path) -> None:
    one = write_start(tmp_path / "metrics_a.csv", "a", range(50, 651, 50))
    other = write_start(tmp_path / "other.csv", "a", range(550, 801, 50), start=1)
    one.write_text(one.read_text() + other.read_text().split("\n", 1)[1])
    import_(one, root=tmp_path / "runs")
    (run,) = list_runs(tmp_path / "runs")
    expected = [loss_of(step, int(step > 500)) for step in range(100, 801, 100)]
    assert [row["val_loss"] for row in run.evaluations()] == expected


def test_an_interrupted_run_has_a_torn_line_and_no_summary_and_nothing_is_made_up(tmp_path: Path) -> None:
    write_start(tmp_path / "raw/metrics_135M-C4-F.csv", "135M-C4-F", range(50, 301, 50), torn=True)
    group = import_(tmp_path / "raw", root=tmp_path / "runs")
    (run,) = list_runs(tmp_path / "runs")
    assert (run.size, run.schedule, run.total_params, len(run.train_rows())) == ("", "", None, 6)
    said = " ".join(group.read.remarks)
    assert "a last line that was cut short, left out" in said
    assert "none is made up: 135M-C4-F" in said
    points, summaries = tables(tmp_path / "runs", tmp_path / "out")
    assert points.decode().splitlines()[1].startswith(",135M-C4-F,,100,3200,")
    assert len(summaries.splitlines()) == 1


def test_what_the_user_knows_is_added_recorded_and_exported(tmp_path: Path) -> None:
    write_start(tmp_path / "raw/metrics_135M-C4-F.csv", "135M-C4-F", range(50, 301, 50))
    write_start(tmp_path / "raw/metrics_x.csv", "x", [100])
    given = {"size": ("135M-*=135M",), "schedule": ("135M-C4-F=cosine",), "total_params": ("135M=157310976",)}
    import_(tmp_path / "raw", root=tmp_path / "runs", **given)
    run = named(list_runs(tmp_path / "runs"))["135M-C4-F"]
    assert (run.size, run.schedule, run.total_params) == ("135M", "cosine", 157_310_976)
    assert run.record["imported"]["given_here"] == {
        "model_size": "135M",
        "lr_schedule": "cosine",
        "total_params": 157_310_976,
    }
    summaries = tables(tmp_path / "runs", tmp_path / "out")[1].decode().splitlines()
    assert summaries[1:] == ["135M-C4-F,135M,157310976,cosine,,,,,,"]


def test_a_summary_with_infinity_as_an_unevaluated_run_left_it_is_read_as_no_value(tmp_path: Path) -> None:
    write_start(tmp_path / "raw/metrics_a.csv", "a", [50])
    write_summary(tmp_path / "raw", "a", best_val_loss=float("inf"), host="gpu-7")
    import_(tmp_path / "raw", root=tmp_path / "runs")
    (run,) = list_runs(tmp_path / "runs")
    assert run.summary["best_val_loss"] is None
    assert run.summary["extra"] == {"host": "gpu-7"}


# The store


def test_the_record_says_imported_with_names_and_hashes(tmp_path: Path, shared: Path) -> None:
    published = shared / "data/phase1b_export"
    import_(published, root=tmp_path / "runs")
    run = named(list_runs(tmp_path / "runs"))["135M-C1-F"]
    assert (run.recipe, run.state, run.in_fits) == ("phase1b_export", "imported", True)
    about = run.record["imported"]
    assert (about["kind"], about["file"], list(about["files"])) == (
        "measurements",
        POINTS,
        [POINTS, SUMMARIES],
    )
    assert len(about["sha256"]) == 64


def test_the_same_files_again_change_nothing(tmp_path: Path) -> None:
    file = points_file(tmp_path / "in", point())
    assert import_(file, root=tmp_path / "runs").outcome == "new"
    metrics = tmp_path / "runs/in/a/metrics.jsonl"
    before = metrics.stat().st_mtime_ns
    assert import_(file, root=tmp_path / "runs").outcome == "there"
    moved = shutil.copytree(tmp_path / "in", tmp_path / "elsewhere/in")
    assert import_(moved, root=tmp_path / "runs").outcome == "there"
    other = shutil.copytree(tmp_path / "in", tmp_path / "other-name")
    again = import_(other, root=tmp_path / "runs")
    assert (again.outcome, again.folder) == ("there", tmp_path / "runs/in")
    with pytest.raises(UsageError, match="already imported as in: twice in the store"):
        import_(other, root=tmp_path / "runs", name="other")
    assert metrics.stat().st_mtime_ns == before


def test_changed_files_or_options_under_a_name_are_refused_until_replaced(tmp_path: Path) -> None:
    file, root = points_file(tmp_path / "in", point(), point("b")), tmp_path / "runs"
    import_(file, root=root)
    for options in ({"in_fits": False}, {"total_params": ("40k=40000",)}):
        with pytest.raises(UsageError, match="with other options: --replace"):
            import_(file, root=root, **options)
    points_file(tmp_path / "in", point(val_loss="2.25"))
    with pytest.raises(UsageError, match=rf"changed since: {POINTS} \(sha256 .*--replace puts"):
        import_(file, root=root)
    assert len(list_runs(root)) == 2
    assert import_(file, root=root, replace=True, in_fits=False).outcome == "replaced"
    (run,) = list_runs(root)
    assert (run.evaluations()[0]["val_loss"], run.in_fits) == (2.25, False)
    assert sorted(path.name for path in root.iterdir()) == [".importing", "in"]
    assert {path.name for path in (root / ".importing").iterdir()} <= {
        ".lock"
    }  # which some filelocks take away


def test_runs_removed_since_are_said_and_brought_back(tmp_path: Path) -> None:
    file, root = points_file(tmp_path / "in", point(), point("b")), tmp_path / "runs"
    import_(file, root=root)
    shutil.rmtree(root / "in/a")
    with pytest.raises(UsageError, match="holds 1 of the 2 runs of these files"):
        import_(file, root=root)
    import_(file, root=root, replace=True)
    assert len(list_runs(root)) == 2


def test_an_import_never_replaces_runs_that_were_trained(tmp_path: Path) -> None:
    grid(tmp_path / "runs")
    file = points_file(tmp_path / "grid", point())
    for replace in (False, True):
        with pytest.raises(UsageError, match="not imported from tables: choose another name with --name"):
            import_(file, root=tmp_path / "runs", replace=replace)
    assert len(list_runs(tmp_path / "runs")) == 4


def test_an_import_that_fails_half_way_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, root = points_file(tmp_path / "in", point(), point("b")), tmp_path / "runs"
    import_(file, root=root)
    points_file(tmp_path / "in", point(val_loss="2.25"), point("b"))
    written: list[str] = []

    def fail(*arguments: Any) -> None:
        written.append(str(arguments[0]))
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        arguments[0].write_text(json.dumps(arguments[1]))

    monkeypatch.setattr("fvlm_core.interchange.write_runs.write_json", fail)
    with pytest.raises(OSError, match="No space"):
        import_(file, root=root, replace=True)
    assert [run.evaluations()[0]["val_loss"] for run in list_runs(root)] == [2.5, 2.5]
    assert sorted(path.name for path in root.iterdir()) == [".importing", "in"]
    assert {path.name for path in (root / ".importing").iterdir()} <= {
        ".lock"
    }  # which some filelocks take away


def test_what_a_kill_in_the_middle_of_replacing_took_away_is_put_back(tmp_path: Path) -> None:
    file, root = points_file(tmp_path / "in", point()), tmp_path / "runs"
    import_(file, root=root)
    (root / ".importing/old").mkdir()
    (root / "in").rename(root / ".importing/old/in")
    assert list_runs(root) == []
    import_(points_file(tmp_path / "other", point("b")), root=root)
    assert [run.id for run in list_runs(root)] == ["a", "b"]


def test_two_imports_at_once_do_not_mix(tmp_path: Path) -> None:
    file, root = points_file(tmp_path / "in", point()), tmp_path / "runs"
    (root / ".importing").mkdir(parents=True)
    with writing(root / ".importing"), pytest.raises(FvlmError, match="is being written by process"):
        import_(file, root=root)
    assert import_(file, root=root).outcome == "new"


def test_points_without_a_count_of_samples_are_kept_exported_and_not_fitted(tmp_path: Path) -> None:
    file = points_file(tmp_path / "in", point(), point(step=200, samples_seen=""))
    import_(file, root=tmp_path / "runs")
    points = from_runs(list_runs(tmp_path / "runs"), "runs")
    assert len(points.table) == 1
    assert "run a: evaluations without training samples left out: 1" in points.remarks
    assert tables(tmp_path / "runs", tmp_path / "out")[0] == file.read_bytes()


def test_imported_and_own_runs_are_fitted_and_exported_together(tmp_path: Path) -> None:
    rows = [point("old", step, model_size="1M", val_loss=str(2 + 9 / step)) for step in range(100, 900, 100)]
    points_file(tmp_path / "in", *rows)
    import_(tmp_path / "in", root=tmp_path / "runs", total_params=("1M=1000000",))
    runs = [*grid(tmp_path / "runs")]
    assert [run.id for run in runs][-1] == "old"
    points = from_runs(runs, "runs")
    assert points.sizes == ["40k", "120k", "400k", "1M"]
    export(runs, tmp_path / "out")
    fits = json.loads((tmp_path / "out/scaling_fits.json").read_text())
    assert fits["per_size_fits"]["1M"]["n_points"] == 8
    assert fits["joint_chinchilla_fit"]["n_points"] == 36 + 8


def test_without_a_count_per_size_fits_are_made_and_the_joint_one_says_how_to_give_it(tmp_path: Path) -> None:
    rows = [point("a", step, val_loss=str(2 + 9 / step)) for step in range(100, 900, 100)]
    file = points_file(tmp_path / "in", *rows)
    import_(file, root=tmp_path / "runs")
    export(list_runs(tmp_path / "runs"), tmp_path / "out")
    fits = json.loads((tmp_path / "out/scaling_fits.json").read_text())
    assert fits["per_size_fits"]["40k"]["b"] == pytest.approx(1.0, abs=0.01)
    assert "--total-params SIZE=N --replace" in fits["joint_chinchilla_fit"]["note"]


def test_points_that_are_not_in_fits_are_left_out_of_them(tmp_path: Path) -> None:
    import_(points_file(tmp_path / "in", point()), root=tmp_path / "runs", in_fits=False)
    with pytest.raises(UsageError, match="no evaluation to fit"):
        from_runs(list_runs(tmp_path / "runs"), "runs")


def test_a_file_of_fits_is_no_summary_and_the_tables_are_pointed_to(tmp_path: Path) -> None:
    (tmp_path / "scaling_fits.json").write_text('{"per_size_fits": {}}')
    with pytest.raises(UsageError, match=r"no summary of a run.*give the folder or its tables"):
        import_(tmp_path / "scaling_fits.json", root=tmp_path / "runs")


def test_what_needs_weights_says_that_there_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import_(points_file(tmp_path / "in", point()), root=tmp_path / "runs")
    with pytest.raises(UsageError, match="in/a is imported: no weights"):
        restore(open_run(tmp_path / "runs/in/a"))
    with pytest.raises(MissingWeights, match="in/a is imported: no weights") as told:
        find_initial("in/a", tmp_path / "runs")
    assert "train it first" not in str(told.value)
    monkeypatch.chdir(tmp_path)
    for command in (
        ["eval", "in/a"],
        ["weights", "export", "in/a", "--to", "w"],
        ["gaze", "v.mp4", "--run", "in/a"],
        ["caption", "v.mp4", "--run", "in/a"],
    ):
        code, _, err = run_cli([*command, "--runs", str(tmp_path / "runs")], monkeypatch, capsys)
        assert (code, "in/a is imported: no weights" in err) == (2, True), (command, err)


def test_a_recipe_is_not_trained_on_top_of_an_import(tmp_path: Path) -> None:
    from fvlm_core.execution.sequential import check_drift
    from fvlm_core.recipes.read import read_recipe

    (tmp_path / "tiny.toml").write_text(RECIPE)
    recipe = read_recipe(str(tmp_path / "tiny.toml"))
    import_(points_file(tmp_path / "in", point(recipe.runs[0].id)), root=tmp_path / "runs", name=recipe.name)
    with pytest.raises(UsageError, match=f"holds measurements imported from {re.escape(POINTS)}"):
        check_drift(recipe, tmp_path / "runs", ())


# What is refused, and how it is said


def message(*paths: Path, root: Path) -> str:
    with pytest.raises(UsageError) as caught:
        import_(*paths, root=root)
    assert not root.exists()
    return str(caught.value)


def test_a_missing_or_misspelt_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    header = ",".join(POINT_COLUMNS).replace("val_loss", "val_los").replace(",attention_entropy", "")
    file = points_file(tmp_path, "40k,a,c,1,32,2,2,1,1", header=header)
    said = message(tmp_path, root=tmp_path / "runs")
    assert f'{file}:1: val_loss: no column "val_loss"' in said
    assert 'did you mean it by "val_los"?' in said
    assert (
        f'{file}:1: attention_entropy: no column "attention_entropy", which evaluation points have, empty'
        in said
    )


def test_a_table_of_something_else_is_told_what_is_read(tmp_path: Path) -> None:
    file = points_file(tmp_path, "1,2", name="x.csv", header="epoch,accuracy")
    said = message(file, root=tmp_path / "runs")
    assert "Found: epoch, accuracy" in said
    assert "evaluation points: model_size, run_id" in said


def test_cells_that_are_no_numbers_are_named_with_their_lines(tmp_path: Path) -> None:
    file = points_file(
        tmp_path,
        point(step=100),
        "",
        point(step=200, val_loss="oops", lr="1_000"),
        point(step=300, samples_seen="1.5"),
        point("", 400),
        point(step=500) + ",7",
        point("b", 1).replace(",1,", ",,"),
        point("c", 1).replace(",1,", ",-1,"),
    )
    assert message(file, root=tmp_path / "runs").splitlines() == [
        f'{file}:4: val_loss: expected a number, got "oops"',
        f'{file}:4: lr: expected a number, got "1_000"',
        f'{file}:5: samples_seen: expected a whole number, not negative, got "1.5"',
        f"{file}:6: run_id: expected a value, got an empty cell",
        f"{file}:7: expected 10 cells, as the header has, got 11",
        f"{file}:8: step: expected a value, got an empty cell",
        f'{file}:9: step: expected a whole number, not negative, got "-1"',
    ]


def test_a_loss_that_cannot_be_one_is_named_and_kept_out_of_fits(tmp_path: Path) -> None:
    losses = ["-1.5", "nan", "inf", "0", "", "NA", "2.5", "-1", "-2"]
    rows = [point(step=100 * (at + 1), val_loss=loss) for at, loss in enumerate(losses)]
    file = points_file(tmp_path, *rows)
    group = import_(file, root=tmp_path / "runs")
    expected, kept = "val_loss: expected a finite, positive number", "; kept as written, and left out of fits"
    assert [remark for remark in group.read.remarks if "val_loss" in remark] == [
        *[f'{file}:{line}: {expected}, got "{losses[line - 2]}"{kept}' for line in (2, 3, 4, 5, 9)],
        f"{file}:10: {expected}: 1 more like this{kept}",
    ]
    runs = list_runs(tmp_path / "runs")
    assert from_runs(runs, "").table["loss"].tolist() == [2.5]
    assert runs[0].summary["best_val_loss"] == 2.5
    assert tables(tmp_path / "runs", tmp_path / "out")[0] == file.read_bytes()


def test_one_step_with_two_values_is_refused_and_an_exact_copy_is_left_out(tmp_path: Path) -> None:
    file = points_file(tmp_path / "in", point(), point("b"), point(val_loss="2.6"))
    said = message(file, root=tmp_path / "runs")
    assert said.startswith(
        f"{file}:4: run a has step 100 here and in line 2, with different values (val_loss 2.6"
    )
    points_file(tmp_path / "in", point(), point("b"), point())
    group = import_(file, root=tmp_path / "runs")
    assert group.read.remarks == [f"{file}: rows that are exact copies of earlier ones, left out: 1"]
    assert len(list_runs(tmp_path / "runs")[0].evaluations()) == 1


def test_a_run_of_two_sizes_or_with_two_summaries_is_refused(tmp_path: Path) -> None:
    points_file(tmp_path, point(), point(step=200, model_size="1M"))
    summaries_file(tmp_path, *["a,40k,40000,constant,1,1,1,1,1,1"] * 2)
    said = message(tmp_path, root=tmp_path / "runs")
    assert f'{tmp_path / POINTS}:3: model_size: run a has "1M" here and "40k" in line 2' in said
    assert f"{tmp_path / SUMMARIES}:3: run_id: run a has a summary here and in line 2" in said


def test_a_summary_of_another_spelling_is_a_run_of_its_own_and_the_likely_one_is_said(tmp_path: Path) -> None:
    points_file(tmp_path / "in", point("135M-C1-F"))
    summaries_file(tmp_path / "in", "135m-c1-f,40k,40000,constant,1,1,1,1,1,1")
    group = import_(tmp_path / "in", root=tmp_path / "runs")
    assert 'did you mean "135M-C1-F"?' in " ".join(group.read.remarks)
    assert len(list_runs(tmp_path / "runs")) == 2
    folders = {run.folder.name.lower() for run in list_runs(tmp_path / "runs")}
    assert len(folders) == 2  # also where case does not count


@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("\ufeff", ""), ("", "\r"), ("\ufeff", "\r")],
    ids=["lf", "bom", "crlf", "both"],
)
def test_byte_order_marks_line_ends_and_quotes_are_read(tmp_path: Path, before: str, after: str) -> None:
    quoted = ",".join(f'"{cell}"' for cell in point().split(","))
    text = "\n".join(line + after for line in [",".join(POINT_COLUMNS), quoted, point(step=200)]) + "\n"
    (tmp_path / "in").mkdir()
    file = tmp_path / "in" / POINTS
    file.write_bytes((before + text).encode())
    import_(file, root=tmp_path / "runs")
    plain = points_file(tmp_path / "plain", point(), point(step=200))
    assert tables(tmp_path / "runs", tmp_path / "out")[0] == plain.read_bytes()


@pytest.mark.parametrize(("mark", "name"), [(";", "semicolons"), ("\t", "tabs")])
def test_other_separators_and_decimal_commas_are_read_and_said(tmp_path: Path, mark: str, name: str) -> None:
    header = ",".join(POINT_COLUMNS).replace(",", mark)
    file = points_file(tmp_path / "in", point().replace(",", mark).replace(".", ","), header=header)
    group = import_(file, root=tmp_path / "runs")
    assert f"{file}: columns separated by {name}, decimal commas" in group.read.remarks
    plain = points_file(tmp_path / "plain", point())
    assert tables(tmp_path / "runs", tmp_path / "out")[0] == plain.read_bytes()


def test_what_is_no_text_is_refused_with_its_line(tmp_path: Path) -> None:
    file = points_file(tmp_path, *[point(step=step) for step in range(5000)], point("x", 1))
    file.write_bytes(file.read_bytes() + b"\xff\xfe\n")
    assert "not UTF-8 text (invalid start byte in line 5003" in message(file, root=tmp_path / "runs")


def test_raw_rows_of_an_unknown_kind_and_a_misspelt_summary_are_named(tmp_path: Path) -> None:
    file = write_start(tmp_path / "metrics_a.csv", "a", [50, 100])
    file.write_text(file.read_text().replace(",eval,", ",evl,"))
    summary = write_summary(tmp_path, "a", total_steps="many")
    summary.write_text(summary.read_text().replace("best_val_loss", "best_val_los"))
    said = message(tmp_path, root=tmp_path / "runs")
    assert f'{file}:4: event_type: expected "train" or "eval", got "evl": did you mean "eval"?' in said
    summary.unlink()
    file.write_text(file.read_text().replace(",evl,", ",eval,"))
    summary = write_summary(tmp_path, "a", total_steps="many")
    summary.write_text(summary.read_text().replace("best_val_loss", "best_val_los"))
    said = message(tmp_path, root=tmp_path / "runs")
    assert f'{summary}: best_val_loss: no key "best_val_loss": did you mean "best_val_los"?' in said
    assert f'{summary}: total_steps: expected a number or null, got "many"' in said


def test_folders_that_hold_nothing_or_too_much_are_told_apart(tmp_path: Path) -> None:
    root = tmp_path / "runs"
    (tmp_path / "none").mkdir()
    (tmp_path / "none/notes.txt").touch()
    assert f"expected {POINTS} or {SUMMARIES}" in message(tmp_path / "none", root=root)
    assert "there is no such file or folder" in message(tmp_path / "nowhere", root=root)
    points_file(tmp_path / "both", point())
    write_start(tmp_path / "both/metrics_a.csv", "a", [50])
    assert "of an export and raw metrics (metrics_a.csv): name the files" in message(
        tmp_path / "both", root=root
    )


def test_a_count_for_nobody_is_refused_with_the_nearest(tmp_path: Path) -> None:
    file = points_file(tmp_path / "in", point(model_size="360M"))
    for text, said in (
        ("350M=1", 'no run and no size is called "350M": did you mean "360M"?'),
        ("360M=many", 'expected a whole number of parameters, got "many"'),
        ("384912384", "expected KEY=VALUE, such as 360M=384912384"),
    ):
        with pytest.raises(Problems) as caught:
            import_(file, root=tmp_path / "runs", total_params=(text,))
        assert said in str(caught.value)


# The command


def test_the_command_shows_what_it_imports_and_a_dry_run_writes_nothing(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FVLM_RUNS", str(tmp_path / "runs"))
    published = str(shared / "data/phase1b_export")
    code, out, _ = run_cli(["import", published, "--name", "founding", "--dry-run"], monkeypatch, capsys)
    assert code == 0
    assert "runs: 5, points: 169" in out
    assert f"would be imported: {tmp_path / 'runs/founding'}" in out
    assert "nothing was written" in out
    assert not (tmp_path / "runs").exists()
    code, out, _ = run_cli(["import", published, "--name", "founding"], monkeypatch, capsys)
    assert (code, out.splitlines()[-1]) == (0, f"imported: {tmp_path / 'runs/founding'}")
    code, out, _ = run_cli(["import", published, "--name", "founding"], monkeypatch, capsys)
    assert (code, out.splitlines()[-1]) == (0, f"already imported: {tmp_path / 'runs/founding'}")
    alone = points_file(tmp_path / "alone", point())
    code, out, _ = run_cli(["import", str(alone)], monkeypatch, capsys)
    assert (code, "N is not known of a: laws that compare sizes need it" in out) == (0, True)
    code, _, err = run_cli(["import", published, str(alone), "--name", "x"], monkeypatch, capsys)
    assert (code, "import them one by one" in err) == (2, True)
    code, _, err = run_cli(["import", published, "--name", "../x"], monkeypatch, capsys)
    assert (code, 'got "../x"' in err) == (2, True)


def test_predict_reads_imported_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        point(label, step, model_size=label, val_loss=repr(float(chinchilla(n, step * BATCH, **TRUTH))))
        for label, n in SIZES.items()
        for step in range(20, 260, 20)
    ]
    points_file(tmp_path / "in", *rows)
    counts = tuple(f"{label}={n}" for label, n in SIZES.items())
    import_(tmp_path / "in", root=tmp_path / "runs", total_params=counts)
    arguments = ["predict", "--n", "100k", "--d", "3200", "--json", "--runs", str(tmp_path / "runs")]
    code, out, err = run_cli(arguments, monkeypatch, capsys)
    assert code == 0, err
    assert json.loads(out)["prediction"]["loss"]["value"] == pytest.approx(chinchilla(100_000, 3200, **TRUTH))

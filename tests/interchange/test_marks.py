"""Runs that are no fit points stay so outside the store: exported, imported, or fitted from the exported tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from measured import grid, run
from tiny import run_cli

from fvlm_core.interchange.export import export
from fvlm_core.interchange.export_tables import POINT_COLUMNS, SUMMARY_COLUMNS
from fvlm_core.interchange.overrides import Given
from fvlm_core.interchange.sources import find_sources, read_source
from fvlm_core.interchange.write_runs import ImportedGroup, keep, plan
from fvlm_core.runs.store import StoredRun, list_runs
from fvlm_core.scaling.points.files import read_points
from fvlm_core.scaling.points.points import Points
from fvlm_core.scaling.points.points_from_runs import from_runs
from fvlm_core.utils.errors import UsageError

COLUMNS = ["size", "run", "schedule", "n", "d", "loss", "step", "lr"]


def imported(path: Path, root: Path, in_fits: bool | None = None) -> ImportedGroup:
    (source,) = find_sources([path])
    group = plan(read_source(source), root, in_fits=in_fits, given=Given(), replace=False, named=False)
    keep(group)
    return group


def rows(points: Points) -> list[list[Any]]:
    """The points of a fit, whatever they were read from."""
    return sorted(points.table[COLUMNS].astype(object).to_numpy().tolist(), key=repr)


RUNS = st.lists(
    st.tuples(
        st.sampled_from(["40k", "120k", "400k"]),
        st.booleans(),
        st.sampled_from(["a", "a, b", "=c", "1", "007", "true", "größe", 'say "x"', "b/c d"]),
        st.sampled_from([(), ("control",), ("x", "y")]),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda of: of[2],
)


def make(folder: Path, runs: list[tuple[str, bool, str, tuple[str, ...], int]]) -> list[StoredRun]:
    for order, (size, in_fits, name, tags, points) in enumerate(runs):
        of = run(
            folder,
            f"r{order}",
            size=size,
            n=40_000,
            in_fits=in_fits,
            order=order,
            losses=[3.0 - order / 10] * points,
        )
        record = json.loads((of / "recipe.json").read_text())
        (of / "recipe.json").write_text(json.dumps({**record, "id": name}))
        if tags:
            (of / "tags.json").write_text(json.dumps(list(tags)))
    return list_runs(folder)


@pytest.fixture(scope="module", autouse=True)
def unplotted() -> Iterator[None]:
    """Nobody looks at the plots, and what is fitted lies near enough to its law."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fvlm_core.report.figures.scaling_law_plot", lambda reports, file, *said: file.touch())
        patch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)
        patch.setattr("fvlm_core.scaling.fit.sensitivity.MOST", 0)
        yield


@settings(max_examples=8, deadline=None)
@given(RUNS)
def test_the_points_of_a_fit_are_the_same_before_and_after_an_export(
    runs: list[tuple[str, bool, str, tuple[str, ...], int]],
) -> None:
    with TemporaryDirectory() as name:
        folder = Path(name)
        before = make(folder / "runs", runs)
        export(before, folder / "out", reports=[])
        assert (folder / "out/all_eval_points.csv").read_text().splitlines()[0] == ",".join(POINT_COLUMNS)
        assert (folder / "out/run_summaries.csv").read_text().splitlines()[0] == ",".join(SUMMARY_COLUMNS)
        controls = [name for _, in_fits, name, _, _ in runs if not in_fits]
        assert (folder / "out/in_fits.csv").exists() == bool(controls)
        imported(folder / "out", folder / "again")
        after = list_runs(folder / "again")
        assert {one.id: one.in_fits for one in after} == {one.id: one.in_fits for one in before}
        if len(controls) == len(runs):
            for read in (lambda: from_runs(after, ""), lambda: read_points([folder / "out"])):
                with pytest.raises(UsageError, match=r"fit"):
                    read()
            return
        expected = rows(from_runs(before, ""))
        assert rows(from_runs(after, "")) == expected
        for path in (folder / "out", folder / "out/all_eval_points.csv"):
            assert rows(read_points([path])) == expected
        export(after, folder / "out2", reports=[])
        for one in ("all_eval_points.csv", "run_summaries.csv", *(["in_fits.csv"] if controls else [])):
            assert (folder / "out2" / one).read_bytes() == (folder / "out" / one).read_bytes()


def test_the_mark_is_also_in_the_fits_and_read_from_there(tmp_path: Path) -> None:
    files = export(grid(tmp_path / "runs"), tmp_path / "out")
    assert "in_fits.csv" in {file.name for file in files}
    assert json.loads((tmp_path / "out/scaling_fits.json").read_text())["not_in_fits"] == ["blind"]
    (tmp_path / "out/in_fits.csv").unlink()
    points = read_points([tmp_path / "out"])
    assert "blind" not in set(points.table["run"])
    (remark,) = [one for one in points.remarks if "not meant for fits" in one]
    assert remark.endswith("(" + str(tmp_path / "out/scaling_fits.json") + "): blind")
    group = imported(tmp_path / "out", tmp_path / "again")
    assert [one.id for one in group.read.runs if not one.in_fits] == ["blind"]
    assert "scaling_fits.json" in group.origins["blind"]["files"]


def test_an_export_without_controls_leaves_no_mark_of_an_earlier_one(tmp_path: Path) -> None:
    runs = grid(tmp_path / "runs")
    export(runs, tmp_path / "out", reports=[])
    export([one for one in runs if one.in_fits], tmp_path / "out", reports=[])
    assert not (tmp_path / "out/in_fits.csv").exists()
    assert "not_in_fits" not in json.loads((tmp_path / "out/scaling_fits.json").read_text())


def test_what_is_said_by_hand_goes_before_the_mark(tmp_path: Path) -> None:
    export(grid(tmp_path / "runs"), tmp_path / "out", reports=[])
    for in_fits in (True, False):
        imported(tmp_path / "out", tmp_path / f"{in_fits}", in_fits)
        assert {one.in_fits for one in list_runs(tmp_path / f"{in_fits}")} == {in_fits}


BAD = {
    "run_id,in_fits\na,maybe\n": 'in_fits.csv:2: expected a run, and true or false, got "maybe"',
    "run_id,in_fits\na,true\na,false\n": "in_fits.csv: run a is there twice, as true and as false",
    "run,fits\na,true\n": 'in_fits.csv:1: no column "run_id"; found run, fits',
}


@pytest.mark.parametrize("content", BAD)
def test_a_mark_that_cannot_be_read_is_an_error_and_not_ignored(content: str, tmp_path: Path) -> None:
    export(grid(tmp_path / "runs"), tmp_path, reports=[])
    (tmp_path / "in_fits.csv").write_text(content)
    for read in (lambda: read_points([tmp_path]), lambda: read_source(*find_sources([tmp_path]))):
        with pytest.raises(UsageError) as caught:
            read()
        assert BAD[content] in str(caught.value)


def test_the_commands_say_which_runs_are_no_fit_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("fvlm_core.interchange.export.EXPORTED", ())
    grid(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    code, out, err = run_cli(["export", "--to", "out"], monkeypatch, capsys)
    assert code == 0
    assert "not meant for fits, and marked so in in_fits.csv and scaling_fits.json: blind" in err
    assert "out/in_fits.csv" in out
    code, out, _ = run_cli(["import", "out", "--name", "again"], monkeypatch, capsys)
    assert code == 0
    assert "not meant for fits: blind" in out


def test_either_table_may_tell_the_size_and_schedule_of_the_runs(tmp_path: Path) -> None:
    export([one for one in grid(tmp_path / "runs") if one.in_fits], tmp_path / "out", reports=[])
    for table in ("run_summaries.csv", "all_eval_points.csv"):
        for column in ("lr_schedule", "model_size"):
            place = tmp_path / table / column
            place.mkdir(parents=True)
            for name in ("all_eval_points.csv", "run_summaries.csv"):
                lines = [line.split(",") for line in (tmp_path / "out" / name).read_text().splitlines()]
                at = lines[0].index(column) if name == table else len(lines[0])
                cut = [[cell for which, cell in enumerate(line) if which != at] for line in lines]
                (place / name).write_text("".join(",".join(line) + "\n" for line in cut))
            group = imported(place, tmp_path / "store" / table / column)
            assert f"{place / table}: no column {column}; taken from" in " ".join(group.read.remarks)
            export(list_runs(tmp_path / "store" / table / column), place / "out", reports=[])
            for name in ("all_eval_points.csv", "run_summaries.csv"):
                assert (place / "out" / name).read_text() == (tmp_path / "out" / name).read_text()
            (place / ({"run_summaries.csv", "all_eval_points.csv"} - {table}).pop()).unlink()
            with pytest.raises(UsageError, match=f'no column "{column}"'):
                read_source(*find_sources([place]))

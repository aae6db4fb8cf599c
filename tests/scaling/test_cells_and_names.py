"""Cells and names of tables are read alike in every kind of file, or there is a way out that the error names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_table_dialects import put, told
from tiny import run_cli

import fvlm
from fvlm_core.interchange.sources import ImportSource, read_source
from fvlm_core.scaling.points.columns import ColumnChoices
from fvlm_core.scaling.points.files import read_points
from fvlm_core.scaling.points.point_selection import PointSelection, apply
from fvlm_core.utils.errors import FvlmError

pytestmark = pytest.mark.usefixtures("quick_fits")

EITHER = {
    ";": ("N;D;loss\n1,234;1;3\n", [1234.0, 1.234]),
    "points": ("N;D;loss\n1.234;1;3\n", [1.234, 1234.0]),
    "millions": ("N;D;loss\n1,234,567;1;3\n", [1234567.0, None]),
    "german": ("N;D;loss\n1.234.567,5;1;3\n", [None, 1234567.5]),
}


@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("name", EITHER)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_a_decimal_mark_that_is_told_settles_what_a_table_leaves_open(
    kind: str, name: str, decimal: Any, tmp_path: Path
) -> None:
    text, expected = EITHER[name]
    want = expected[decimal == ","]
    file = put(tmp_path, text)
    if kind != "csv":
        header, row = (line.split(";") for line in text.splitlines())
        file = typed(tmp_path, pd.DataFrame([row], columns=header), kind)
    if want is None:
        assert "expected a number" in told(file, ColumnChoices(decimal=decimal))
    else:
        assert read_points([file], ColumnChoices(decimal=decimal)).table["n"].tolist() == [want]


def typed(folder: Path, table: pd.DataFrame, kind: str) -> Path:
    file = folder / f"p.{kind}"
    if kind == "parquet":
        table.to_parquet(file)
    else:
        file.write_text("\n".join(json.dumps(row) for row in table.to_dict("records")))
    return file


@pytest.mark.parametrize(
    "cell", ["10M", "1.5B", "20k", "1e7", " 3e6 ", "1_000", "", "nan", "NA", "ten", "1,234", "5m"]
)
@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_text_cells_are_numbers_wherever_a_csv_file_takes_them(kind: str, cell: str, tmp_path: Path) -> None:
    table = pd.DataFrame({"N": ["7M", cell], "D": ["1e9", "2B"], "loss": ["3.5", "3.25"]})
    csv = tmp_path / "p.csv"
    table.to_csv(csv, index=False)
    results: list[Any] = []
    for file in (csv, typed(tmp_path, table, kind)):
        try:
            results.append(read_points([file]).table[["n", "d", "loss"]].to_numpy().tolist())
        except Exception as error:
            results.append(str(error).partition(", got ")[2].replace('""', "an empty cell"))
    first, second = results
    assert repr(first) == repr(second)


def test_a_mark_that_separates_no_columns_is_named(tmp_path: Path) -> None:
    for mark, name in ((":", "colons"), ("^", "carets"), ("~", "tildes")):
        rows = f"N{mark}D{mark}loss\n1{mark}2{mark}3\n"
        assert f"p.csv:1: the columns are separated by {name}; expected commas" in told(put(tmp_path, rows))


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("empty", ["{0}{0}", " {0} {0} ", '""{0}" "{0}'])
def test_rows_without_a_value_are_no_rows(mark: str, empty: str, tmp_path: Path) -> None:
    blank = empty.format(mark)
    rows = [mark.join(row) for row in (("N", "D", "loss"), ("1e7", "1e9", "4"), ("1e8", "1e9", "3.5"))]
    middle = read_points([put(tmp_path, "\n".join([rows[0], blank, rows[1], blank, rows[2], blank]) + "\n")])
    assert middle.table["n"].tolist() == [1e7, 1e8]
    assert "empty rows between others, left out: 2" in " ".join(middle.remarks)
    end = read_points([put(tmp_path, "\n".join([*rows, blank, blank]))])
    assert end.table["n"].tolist() == [1e7, 1e8]
    assert "empty" not in " ".join(end.remarks)
    bad = told(put(tmp_path, "\n".join([rows[0], blank, rows[1], blank, mark.join(("x", "1e9", "3"))])))
    assert bad.startswith("p.csv:5: N: expected a number")


@pytest.mark.parametrize("name", ["model_size", "size", "Model Size", "model"])
@pytest.mark.parametrize("cells", [("1e7", "1e8"), ("10M", "1.5B"), ("10000000", "100000000")])
def test_a_column_of_sizes_that_holds_counts_is_proposed_as_n(
    name: str, cells: tuple[str, str], tmp_path: Path
) -> None:
    rows = f"{name},tokens,{{}}\n{cells[0]},1e9,4\n{cells[1]},1e9,3.5\n"
    assert f"N={name}" in told(put(tmp_path, rows.format("lossy")))
    points = read_points([put(tmp_path, rows.format("loss"))])
    with pytest.raises(Exception, match="--columns N="):
        points.require(["n"], "some law")


@pytest.mark.parametrize("cells", [("small", "large"), ("2", "12"), ("a7M", "9M")])
def test_a_column_of_labels_is_not_proposed_as_n(cells: tuple[str, str], tmp_path: Path) -> None:
    rows = f"model_size,tokens,lossy\n{cells[0]},1e9,4\n{cells[1]},1e9,3.5\n"
    assert "N=model_size" not in told(put(tmp_path, rows))


@pytest.mark.parametrize(
    ("key", "kept"),
    [
        ("params", 1), ("N", 1), ("Parameters", 1), ("n_params", 1), ("total_params", 1),
    ],
)  # fmt: skip
@pytest.mark.parametrize("header", ["N", "params", "total_params"])
def test_conditions_know_columns_by_every_usual_name(
    header: str, key: str, kept: int, tmp_path: Path
) -> None:
    file = put(tmp_path, f"{header},train/tokens,val/loss\n1e7,1e9,4\n1e8,2e9,3.5\n")
    conditions = (f"{key} > 1e7", "tokens > 1e9", "val/loss < 4", "Val Loss < 4", "loss < 4", "D > 1e9")
    for condition in conditions:
        policy = PointSelection.parse(where=(condition,))
        extras = tuple(one.key for one in policy.where)
        points = apply(policy, read_points([file], ColumnChoices(extras=extras)))
        assert points.table["n"].tolist() == [1e8], condition
    assert 'did you mean "loss"?' in told(file, ColumnChoices(extras=("los",)))


@pytest.mark.parametrize("axis", ["tokens", "train/tokens", "Training Tokens", "samples", "_step", "Step"])
def test_charts_are_imported_over_any_axis_that_counts(axis: str, tmp_path: Path) -> None:
    rows = f'"{axis}","a - val/loss"\n1000,5\n2000,4\n3000,3.5\n'
    (run,) = read_source(ImportSource("chart", (put(tmp_path, rows),))).runs
    counted = {"_step": "step", "Step": "step", "samples": "samples_seen"}.get(axis, "tokens_seen")
    assert [row[counted] for row in run.evaluations] == [1000, 2000, 3000]
    assert [row["val_loss"] for row in run.evaluations] == [5, 4, 3.5]
    if counted != "step":
        assert [row["step"] for row in run.evaluations] == [1, 2, 3]


def test_minus_is_standard_output_or_refused_and_a_full_file_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "N,D,loss\n" + "".join(f"1e8,{d}e9,{3 + 1 / d}\n" for d in (1, 2, 4, 8, 16)))
    fit = ["fit", "--data", "p.csv", "--model", "per-size", "--draws", "2"]
    code, out, err = run_cli([*fit, "--json", "-"], monkeypatch, capsys)
    assert (code, json.loads(out)["reports"][0]["model"]) == (0, "per-size")
    assert "per-size: L = " in err
    code, out, err = run_cli([*fit, "--plot", "-"], monkeypatch, capsys)
    assert code == 2
    assert "./- for one of that name" in err
    code, out, err = run_cli([*fit, "--json", "/dev/full"], monkeypatch, capsys)
    assert code == 1
    assert "/dev/full" in err
    code, out, err = run_cli(["schema", "--out", "-"], monkeypatch, capsys)
    assert (code, "$schema" in json.loads(out)) == (0, True)
    assert not (tmp_path / "-").exists()


def test_isoflop_takes_tables_without_c_by_the_rule_that_the_error_names(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    put(tmp_path, "N,D,loss\n" + "".join(
        f"{n},{c / 6 / n},{3 + (x - 1) ** 2}\n" for c in (1e17, 1e18) for x, n in enumerate((1e7, 3e7, 9e7))
    ))  # fmt: skip
    fit = ["fit", "--data", "p.csv", "--model", "isoflop", "--draws", "2"]
    code, _, err = run_cli(fit, monkeypatch, capsys)
    assert code == 2
    assert "--cost 6ND" in err
    code, out, _ = run_cli([*fit, "--cost", "6ND", "--json", "-"], monkeypatch, capsys)
    fits = json.loads(out)["reports"][0]["fits"]
    assert (code, [one["group"] for one in fits]) == (0, ["1e+17", "1e+18"])
    assert [round(one["parameters"]["N"]["value"] / 1e6) for one in fits] == [30, 30]


def test_isoflop_refuses_logarithms_of_c(tmp_path: Path) -> None:
    """They were fitted, with an interval of D* that did not hold its own value."""
    rows = [
        f"{n:g},{c},{3 + (x - 1) ** 2}" for c in (17, 18, 19) for x, n in enumerate((1e7, 3e7, 9e7, 27e7))
    ]
    file = tmp_path / "table.csv"
    file.write_text("\n".join(["N,C,loss", *rows]))
    with pytest.raises(
        FvlmError, match=r"(?s)C of 12 of 12 points is below N.*logarithm.*--columns C=HEADER"
    ):
        fvlm.fit(file, "isoflop", draws=2)


def test_a_column_that_only_a_feature_reads_is_a_column_of_numbers(tmp_path: Path) -> None:
    """Its bad cells are named by line, and `--columns` says where it is, in which unit."""
    rows = [
        f"{n:g},{d:g},{d / times / 1e9:g},{2 + 60 / n**0.3 + 300 / (d / times**0.3) ** 0.4:.5f}"
        for n in (1e7, 1e8, 1e9)
        for d in (1e9, 1e10)
        for times in (1, 4, 16)
    ]
    file = tmp_path / "table.csv"
    file.write_text("\n".join(["N,D,fresh (B),loss", *rows]))
    columns = "unique=fresh (B)*1e9"
    points = fvlm.fit(file, "repetition", columns=columns, draws=2).points
    assert sorted(set(points["unique"])) == [6.25e7, 2.5e8, 6.25e8, 1e9, 2.5e9, 1e10]
    file.write_text("\n".join(["N,D,unique,loss", *rows[:3], "1e7,1e10,all,2.9"]))
    with pytest.raises(FvlmError, match=r'table.csv:5: unique: expected a number, got "all"'):
        fvlm.fit(file, "repetition")


def test_rows_told_apart_by_a_column_without_a_name_are_said_to_be(tmp_path: Path) -> None:
    """pandas writes its index so: a table with everything twice counts twice, and the remark says why."""
    table = pd.DataFrame({"N": [1e7, 1e8], "D": [1e9, 2e9], "loss": [3.0, 2.5]})
    file = tmp_path / "table.csv"
    pd.concat([table, table], ignore_index=True).to_csv(file)
    said = "points that differ in a column without a name alone, all of which count: 4"
    assert said in read_points([file]).remarks

"""Tables as spreadsheets, scripts and W&B write them: read to the same numbers, or refused by name; never guessed."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import log10
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from tiny import run_cli

from fvlm_core.interchange.export_tables import POINT_COLUMNS, POINTS
from fvlm_core.interchange.overrides import Given
from fvlm_core.interchange.sources import find_sources, read_source
from fvlm_core.interchange.write_runs import keep, plan
from fvlm_core.runs.store import list_runs
from fvlm_core.scaling.points.columns import ColumnChoices, parse_columns
from fvlm_core.scaling.points.files import read_points
from fvlm_core.scaling.points.point_selection import PointSelection, apply
from fvlm_core.scaling.points.points import Points
from fvlm_core.scaling.points.points_from_runs import from_runs
from fvlm_core.utils.errors import UsageError

pytestmark = pytest.mark.usefixtures("quick_fits")

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
ROWS = [("größe 1", "1e7", "1e9", "4.0"), ("b", "1.5e8", "1e9", "3.875"), ("b", "1.5e8", "3e9", "3.25")]


def written(rows: list[tuple[str, ...]], mark: str, decimal: str, encoding: str = "utf-8") -> bytes:
    """Rows, the header first, with cells quoted where the mark is in them."""
    cells = [[cell.replace(".", decimal) if at else cell for at, cell in enumerate(row)] for row in rows]
    quoted = [[f'"{cell}"' if mark in cell else cell for cell in row] for row in cells]
    return "".join(mark.join(row) + "\r\n" for row in quoted).encode(encoding)


def put(folder: Path, content: bytes | str, name: str = "p.csv") -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def told(file: Path, choice: ColumnChoices | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        read_points([file], choice)
    return str(caught.value).replace(f"{file.parent}/", "")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("mark", SEPARATORS)
def test_a_table_is_the_same_under_every_separator_decimal_mark_and_encoding(
    mark: str, decimal: str, encoding: str, tmp_path: Path
) -> None:
    file = put(tmp_path, written([("run", "N", "D", "loss"), *ROWS], mark, decimal, encoding))
    points = read_points([file])
    expected = pd.DataFrame([(run, *map(float, numbers)) for run, *numbers in ROWS])
    got = points.table.sort_values(["run", "d"], ascending=[False, True])[["run", "n", "d", "loss"]]
    assert got.astype({"run": str}).to_numpy().tolist() == expected.to_numpy().tolist()
    said = " ".join(points.remarks)
    assert (f"columns separated by {SEPARATORS[mark]}" in said) == (mark != ",")
    assert ("decimal commas" in said) == (decimal == ",")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("decimal", [".", ","])
@pytest.mark.parametrize("mark", SEPARATORS)
def test_an_export_saved_otherwise_is_imported_to_the_same_runs(
    mark: str, decimal: str, encoding: str, tmp_path: Path
) -> None:
    row = ("135M", "größe", "cosine", "500", "18328", "1.491402", "0.709384", "9.07e-04", "7.7", "3.570994")
    file = put(tmp_path / "in", written([POINT_COLUMNS, row], mark, decimal, encoding), POINTS)
    (run,) = imported(file, root=tmp_path / "runs")
    (measured,) = run.evaluations()
    assert (run.id, run.size, measured["step"], measured["samples_seen"]) == ("größe", "135M", 500, 18328)
    assert (measured["val_loss"], measured["lr_connector"]) == (1.491402, 9.07e-4)


def imported(*paths: Path, root: Path, in_fits: bool | None = None, **given: Any) -> list[Any]:
    for source in find_sources(paths):
        keep(
            plan(read_source(source), root, in_fits=in_fits, given=Given(**given), replace=False, named=False)
        )
    return list_runs(root)


NUMBERS = {
    "10M": 1e7, "1.5B": 1.5e9, "2e9": 2e9, "1_000_000": 1e6, "157.31M": 157.31e6, "20k": 2e4, " 7 ": 7.0, "+3": 3.0,
}  # fmt: skip


@pytest.mark.parametrize("cell", NUMBERS)
def test_a_number_is_read_as_people_write_it(cell: str, tmp_path: Path) -> None:
    points = read_points([put(tmp_path, f"N,D,loss\n{cell},1e9,3\n1e6,2e9,2\n")])
    assert NUMBERS[cell] in points.table["n"].tolist()


AMBIGUOUS = {
    "thousands": ('N,D,loss\n"1,234,567",1,3\n', '2: N: expected a number, got "1,234,567": write it without '
                  "separators of thousands, 1234567"),
    "either": ("N;D;loss\n1,234;1;3\n", '2: N: expected a number, got "1,234": 1234 or 1.234? Write it without '
               "the comma, or say which is the decimal mark: --decimal . or --decimal ,"),
    "mixed": ("N;D;loss\n7;1;3,5\n7;1;3.5\n", '2: loss: expected a number, got "3,5": other numbers here have a '
              "decimal point; use one mark for all"),
    "points in commas": ("N;D;loss\n1.234;1;3,5\n", '2: N: expected a number, got "1.234": 1234 or 1,234? Write it '
                         "without the point, or say which is the decimal mark: --decimal , or --decimal ."),
    "german": ("N;D;loss\n1.234.567,5;1;3,5\n", '2: N: expected a number, got "1.234.567,5": write it without '
               "separators of thousands, 1234567,5"),
    "milli": ("N,D,loss\n135m,1,3\n", '2: N: expected a number, got "135m"'),
    "spaces": ("N D loss\n1 2 3\n", "1: the columns are separated by spaces; expected commas, semicolons, tabs, "
               "vertical bars. To have commas: tr -s ' ' ',' < p.csv > with_commas.csv"),
}  # fmt: skip


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_can_be_read_in_two_ways_is_refused_with_both(name: str, tmp_path: Path) -> None:
    content, expected = AMBIGUOUS[name]
    assert told(put(tmp_path, content)) == f"p.csv:{expected}"


def test_later_rows_of_another_dialect_are_errors_and_not_another_meaning(tmp_path: Path) -> None:
    rows = "".join(f"1e7;{at};3,5\n" for at in range(1, 1500))
    assert '1501: loss: expected a number, got "3.5"' in told(
        put(tmp_path, f"N;D;loss\n{rows}1e7;2000;3.5\n")
    )


PACKED = {
    "workbook": (b"PK\x03\x04rest", "save the sheet as CSV"),
    "gzip": (b"\x1f\x8b\x08rest", "gunzip it"),
    "parquet": (b"PAR1rest", "give it the ending .parquet"),
}


@pytest.mark.parametrize("name", PACKED)
def test_files_that_are_no_text_are_named_with_the_way_out(name: str, tmp_path: Path) -> None:
    content, expected = PACKED[name]
    assert expected in told(put(tmp_path, content))


def test_a_first_line_for_spreadsheets_names_the_separator(tmp_path: Path) -> None:
    file = put(tmp_path, "sep=;\nN;D;loss\n1e7;1e9;4,0\n1e7;2e9;x\n")
    assert told(file) == 'p.csv:4: loss: expected a number, got "x"'
    file.write_text(file.read_text().replace("x", "3,5"))
    assert sorted(read_points([file]).table["loss"]) == [3.5, 4.0]


def test_a_separator_inside_labels_is_no_separator(tmp_path: Path) -> None:
    file = put(tmp_path, "run|name,N,D,loss\na;b|c,1,2,3\na;d,1,3,2\n")
    assert read_points([file], ColumnChoices({"run": "run|name"})).table["run"].tolist() == ["a;b|c", "a;d"]


# Headers

HEADERS: dict[str, tuple[str, dict[str, str]]] = {
    "published": ("params,tokens,loss", {"n": "params", "d": "tokens"}),
    "final": ("Parameters,train_tokens,final_loss", {"loss": "final_loss"}),
    "wandb": ("num_params,Training Tokens,val/loss", {"loss": "val/loss"}),
    "spaced": (" n , d ,Val Loss", {}),
    "letters": ("N,D,L", {}),
    "eval": ("n_params,num_tokens,eval/loss", {}),
    "words": (
        "Number of parameters,Number of tokens,Loss (nats)",
        {"n": "Number of parameters", "loss": "Loss (nats)"},
    ),
    "trained": ("n parameters,tokens_trained,loss_final", {"d": "tokens_trained", "loss": "loss_final"}),
    "last": (
        "non_embedding_params,dataset_size,cross_entropy",
        {"n": "non_embedding_params", "d": "dataset_size"},
    ),
}


@pytest.mark.parametrize("name", HEADERS)
def test_usual_headers_are_read_and_said(name: str, tmp_path: Path) -> None:
    header, _ = HEADERS[name]
    points = read_points([put(tmp_path, f"{header}\n1e7,1e9,4.0\n1e8,2e9,3.5\n")])
    assert points.table[["n", "d", "loss"]].to_numpy().tolist() == [[1e7, 1e9, 4.0], [1e8, 2e9, 3.5]]
    for of in HEADERS[name][1].values():
        assert f'is "{of}"' in " ".join(points.remarks)


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("non_embedding_params", "parameters without token embeddings"),
        ("Non-embedding parameters", "parameters without token embeddings"),
        ("trainable_params", "trainable parameters"),
        ("Number of parameters", "as given"),
    ],
)
def test_a_count_of_parameters_that_stands_alone_is_n_and_says_what_it_counts(
    header: str, kind: str, tmp_path: Path
) -> None:
    points = read_points([put(tmp_path, f"{header},tokens,loss\n1e7,1e9,4\n1e8,1e9,3\n")])
    assert (points.table["n"].tolist(), points.n_kind) == ([1e7, 1e8], kind)
    beside = read_points(
        [put(tmp_path, "params,non_embedding_params,tokens,dataset_size,loss\n2e7,1e7,3e9,1e9,4\n")]
    )
    assert beside.table[["n", "d"]].to_numpy().tolist() == [[2e7, 3e9]]
    other = told(put(tmp_path, "llm_params,D,loss\n1,2,3\n"), ColumnChoices(n="non-embedding"))
    assert 'expected "non_embedding_params"' in other  # one count is not taken for another


def test_rows_of_no_known_n_are_said_to_be_one_size(tmp_path: Path) -> None:
    said = (
        "no column was taken for N, so all rows are one size; "
        "if one of width, depth is N, say so: --columns N=HEADER"
    )
    rows = "width,depth,note,tokens,loss\n64,2,a,1e9,4\n128,4,b,1e9,3\n"
    file = put(tmp_path, rows)
    assert f"{file}: {said}" in read_points([file]).remarks
    for choice in (ColumnChoices({"n": "width"}), ColumnChoices({"size": "width"})):
        assert "no column was taken for N" not in " ".join(read_points([file], choice).remarks)


def test_a_validation_loss_is_taken_before_a_training_loss_and_never_a_training_loss_alone(
    tmp_path: Path,
) -> None:
    file = put(tmp_path, "N,D,train/loss,val/loss\n1,2,9,3\n")
    assert read_points([file]).table["loss"].tolist() == [3.0]
    assert told(put(tmp_path, "N,D,train_loss\n1,2,9\n")).endswith(
        "say which is meant: --columns loss=train_loss"
    )


@pytest.mark.parametrize(
    ("header", "factor"),
    [
        ("params (M)", 1e6),
        ("Params_b", 1e9),
        ("params in thousands", 1e3),
        ("params (1e6)", 1e6),
        ("params_T", 1e12),
    ],
)
def test_the_line_to_type_for_another_unit_gives_the_numbers(
    header: str, factor: float, tmp_path: Path
) -> None:
    file = put(tmp_path, f"{header},D,loss\n1.5,2,3\n")
    line = told(file).rpartition("--columns ")[2].strip("'")
    assert line == f"N={header}*1e{round(log10(factor))}"
    points = read_points([file], choice=ColumnChoices(named=parse_columns(line)))
    assert points.table["n"].tolist() == [1.5 * factor]
    assert not [text for text in points.remarks if "as it stands" in text]


def test_a_column_in_another_unit_that_is_named_as_it_stands_is_told(tmp_path: Path) -> None:
    file = put(tmp_path, "params (M),D,loss\n1.5,2,3\n")
    points = read_points([file], choice=ColumnChoices(named={"n": "params (M)"}))
    assert points.table["n"].tolist() == [1.5]
    (said,) = [text for text in points.remarks if "as it stands" in text]
    assert "N=params (M)*1e6 does so, and *1 says that this is meant" in said
    asked = ColumnChoices(named={"n": "params (M)*1"})
    assert not [text for text in read_points([file], choice=asked).remarks if "as it stands" in text]


READY = {
    "two losses": ("N,D,loss,val/loss", 'p.csv:1: "loss" and "val/loss" could both be the loss: keep one of them\n'
                   "p.csv:1: say which is meant: --columns loss=loss"),
    "two data": ("N,tokens,samples,loss", 'p.csv:1: "tokens" and "samples" could both be D, the samples seen: keep one '
                 "of them\np.csv:1: say which is meant: --columns D=tokens"),
    "unit": ("Params (M),tokens_b,loss", 'p.csv:1: "Params (M)" looks like N, the parameters in another unit, which is '
             "not guessed: say by what it is multiplied (*1 takes it as it stands), or write the numbers out (20e9 or "
             '20B)\np.csv:1: "tokens_b" looks like D, the samples seen in another unit, which is not guessed: say by '
             "what it is multiplied (*1 takes it as it stands), or write the numbers out (20e9 or 20B)\n"
             "p.csv:1: say which is meant: --columns 'N=Params (M)*1e6,D=tokens_b*1e9'"),
    "step": ("N,step,loss", 'p.csv:1: no column with D, the samples seen: expected "samples_seen" or "D"; found N, '
             "step, loss\np.csv:1: say which is meant: --columns D=step"),
}  # fmt: skip


@pytest.mark.parametrize("name", READY)
def test_what_is_ambiguous_is_asked_with_the_line_to_type(name: str, tmp_path: Path) -> None:
    header, expected = READY[name]
    row = ",".join("123456"[: header.count(",") + 1])
    file = put(tmp_path, f"{header}\n{row}\n")
    said = told(file)
    assert said == expected
    line = said.rpartition("--columns ")[2].strip("'")
    read_points([file], ColumnChoices(parse_columns(line)))  # the line that is printed works


# Typed columns

FILES: dict[str, Callable[[pd.DataFrame, Path], object]] = {
    "csv": lambda frame, file: frame.to_csv(file, index=False),
    "json": lambda frame, file: frame.to_json(file, orient="records"),
    "jsonl": lambda frame, file: frame.to_json(file, orient="records", lines=True),
    "parquet": lambda frame, file: frame.to_parquet(file, index=False),
}


def read_as(kind: str, folder: Path, frame: pd.DataFrame, choice: ColumnChoices | None = None) -> Points:
    FILES[kind](frame, folder / f"p.{kind}")
    return read_points([folder / f"p.{kind}"], choice)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("column", ["run", "model_size", "schedule", "run_id", "size"])
def test_labels_that_are_numbers_are_labels(kind: str, column: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({column: [1, 1, 2], "N": [1e7, 1e7, 1e8], "D": [1e9, 2e9, 1e9], "loss": [4, 3.5, 3]})
    name = {"run_id": "run", "model_size": "size"}.get(column, column)
    points = read_as(kind, tmp_path, frame)
    assert points.table[name].tolist() == ["1", "1", "2"]
    assert apply(PointSelection.parse(where=(f"{name}=2",)), points).table["n"].tolist() == [1e8]
    assert points.to_json()["table"][name] == ["1", "1", "2"]


def test_labels_of_a_csv_stay_as_they_are_written(tmp_path: Path) -> None:
    file = put(tmp_path, "run,N,D,loss\n007,1,1,3\n7,1,2,3\n1e3,1,3,3\n1.50,1,4,3\nTrue,1,5,3\n")
    assert set(read_points([file]).table["run"]) == {"007", "7", "1e3", "1.50", "True"}
    file.write_text("run,N,D,loss\n007,1,1,3\n7,1,2,3\n1.50,1,4,3\n")  # all of them numbers
    assert set(read_points([file]).table["run"]) == {"007", "7", "1.50"}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize(
    "where", ["seed=2", "seed > 1", "warm=true", "warm=True", "warm != false", "lr>=0.002"]
)
def test_conditions_compare_numbers_and_truth_values_of_every_kind_of_file(
    kind: str, where: str, tmp_path: Path
) -> None:
    frame = pd.DataFrame(
        {
            "N": [1e7, 1e8], "D": [1e9, 2e9], "loss": [4, 3.5],
            "seed": [1, 2], "warm": [False, True], "lr": [1e-3, 2e-3],
        }
    )  # fmt: skip
    policy = PointSelection.parse(where=(where,))
    extras = tuple(one.key for one in policy.where if one.key in ("seed", "warm"))
    points = read_as(kind, tmp_path, frame, ColumnChoices(extras=extras))
    assert apply(policy, points).table["n"].tolist() == [1e8]


# Charts and histories of Weights & Biases


def chart(*metrics: str, runs: tuple[str, ...] = ("small", "lr - 1e-3")) -> str:
    """Two runs; the second has no value in the first bin."""
    headers = [
        "Step",
        *(f"{run} - {m}{end}" for run in runs for m in metrics for end in ("", "__MIN", "__MAX")),
    ]
    rows = [headers]
    for at in (1, 2, 3):
        cells = [str(100 * at)]
        for which, run in enumerate(runs):
            for metric in range(len(metrics)):
                value = "" if which and at == 1 else f"{4 - which - at / 10 + 5 * metric:.4f}"
                cells += [value, value and "0.1", value and "99"]
            assert run
        rows.append(cells)
    return "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows)


def test_a_chart_is_a_run_a_column_and_its_bins_are_no_losses(tmp_path: Path) -> None:
    for metrics in (("val/loss",), ("val/loss", "train/loss"), ("train/loss", "val/loss")):
        file = put(tmp_path, chart(*metrics))
        points = read_points([file], ColumnChoices(parse_columns("D=Step")))
        low = 5.0 * metrics.index("val/loss")
        table = points.table.sort_values(["run", "d"])
        assert table[["run", "d", "step"]].to_numpy().tolist() == [
            ["lr - 1e-3", 200.0, 200.0], ["lr - 1e-3", 300.0, 300.0],
            ["small", 100.0, 100.0], ["small", 200.0, 200.0], ["small", 300.0, 300.0],
        ]  # fmt: skip
        assert table["loss"].tolist() == pytest.approx(
            [low + 2.8, low + 2.7, low + 3.9, low + 3.8, low + 3.7]
        )
        assert points.sizes == ["lr - 1e-3", "small"]  # never pooled


def test_what_nobody_asked_for_may_hold_anything_in_a_column_of_a_chart(tmp_path: Path) -> None:
    header = "Step,a - val/loss,a - note,b - val/loss,b - note"
    file = put(
        tmp_path, f"{header}\n2,3,1,2,see below\n1,4,1,3,2\n"
    )  # steps that fall: rows are put in order
    table = read_points([file], ColumnChoices(parse_columns("D=Step"))).table
    assert table[["run", "d", "loss"]].to_numpy().tolist() == [
        ["a", 1.0, 4.0], ["a", 2.0, 3.0], ["b", 1.0, 3.0], ["b", 2.0, 2.0],
    ]  # fmt: skip


def test_what_a_chart_lacks_is_asked_with_a_line_that_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import shlex

    file = put(tmp_path, chart("val/loss"), "chart.csv")
    monkeypatch.chdir(tmp_path)
    code, _, err = run_cli(["fit", "--data", "chart.csv"], monkeypatch, capsys)
    assert code == 2
    assert "--columns D=Step" in err
    assert "found run, Step, val/loss\n" in err  # and no bins
    line = err.rpartition("fvlm import ")[2].replace("small=N", "small=10M").replace("1e-3=N", "1e-3=100M")
    line = line.replace("BATCH_SIZE", "32").strip()
    code, _, err = run_cli(["import", *shlex.split(line)], monkeypatch, capsys)
    assert (code, err) == (0, "")
    runs = {run.id: run for run in list_runs(tmp_path / "runs")}
    assert {name: run.total_params for name, run in runs.items()} == {
        "small": 10_000_000,
        "lr - 1e-3": 100_000_000,
    }
    points = from_runs([*runs.values()], "runs").table
    assert points["d"].tolist() == [3200.0, 6400.0, 9600.0, 6400.0, 9600.0]
    assert points["loss"].tolist() == [3.9, 3.8, 3.7, 2.8, 2.7]
    assert file.is_file()


@pytest.mark.parametrize("axis", ["samples_seen", "tokens", "Number of tokens"])
def test_a_chart_over_any_axis_keeps_all_its_runs(axis: str, tmp_path: Path) -> None:
    rows = f"{axis},small - val/loss,big - val/loss\n3200,3.9,3.8\n6400,3.8,3.7\n"
    points = read_points([put(tmp_path, rows)])
    got = (
        points.table[["run", "d", "loss"]].astype({"run": str}).sort_values(["run", "d"]).to_numpy().tolist()
    )
    assert got == [["big", 3200, 3.8], ["big", 6400, 3.7], ["small", 3200, 3.9], ["small", 6400, 3.8]]
    assert "fvlm import" in " ".join(points.ways_out.values())
    table = put(tmp_path, "N,D,loss - val,acc - val\n1,2,3,0.5\n", "plain.csv")
    assert read_points([table]).table["loss"].tolist() == [3.0]  # two measures of one set are no runs


@pytest.mark.parametrize(
    ("rows", "lacks"),
    [
        ("Step,small - val/loss - ema,big - val/loss - ema\n100,3,2\n", "no column with the loss"),
        ("_step,accuracy\n100,3\n", "no column with the loss"),
    ],
)
def test_an_import_asks_for_headers_and_for_no_option_that_it_lacks(
    rows: str, lacks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = put(tmp_path, rows)
    code, _, err = run_cli(["import", "--dry-run", str(file)], monkeypatch, capsys)
    assert code == 2
    assert lacks in err
    assert "--columns" not in err
    assert 'a chart has "Step" (or tokens, or samples) as its axis and "RUN - val/loss" for each run' in err


def test_charts_that_cannot_be_told_are_refused(tmp_path: Path) -> None:
    twice = chart("val/loss", runs=("a", "a"))
    assert '2 columns are called "a - val/loss": give the runs different names' in told(put(tmp_path, twice))
    both = told(put(tmp_path, chart("val/loss", "eval/loss")), ColumnChoices(parse_columns("D=Step")))
    assert '"val/loss" and "eval/loss" could both be the loss' in both
    bad = chart("val/loss").replace('"3.8000"', '"oops"')
    assert told(put(tmp_path, bad), ColumnChoices(parse_columns("D=Step"))) == (
        'p.csv:3: run small, val/loss: expected a number, got "oops"'
    )


def test_a_history_leaves_out_the_rows_that_only_trained_and_says_so(tmp_path: Path) -> None:
    rows = "_step,_runtime,train/loss,val/loss,train/lr\n" + "".join(
        f"{at},{at},4.5,{4 - at / 100 if at % 20 == 0 else ''},0.001\n" for at in range(10, 101, 10)
    )
    file = put(tmp_path / "in", rows, "history.csv")
    points = read_points([file], ColumnChoices(parse_columns("D=_step")))
    assert points.table["step"].tolist() == [20, 40, 60, 80, 100]
    assert f"{file}: rows without a loss, left out: 5 of 10" in points.remarks
    (run,) = imported(file, root=tmp_path / "runs", samples_per_step=("*=8",), total_params=("history=1M",))
    assert [row["samples_seen"] for row in run.evaluations()] == [160, 320, 480, 640, 800]
    assert [row["val_loss"] for row in run.evaluations()] == [3.8, 3.6, 3.4, 3.2, 3.0]


# Copies, and columns of laws


def test_only_rows_that_are_equal_in_every_column_are_copies(tmp_path: Path) -> None:
    rows = "N,D,loss,peak_lr,note\n1,2,3,1e-3,a\n1,2,3,2e-3,a\n1,2,3,2e-3,b\n1,2,3,2e-3,b\n"
    points = read_points([put(tmp_path, rows)])
    assert len(points.table) == 3
    assert "points that are exact copies of others, and count once: 1 (" in " ".join(points.remarks)
    assert list(points.table) == ["size", "run", "schedule", "n", "d", "loss", "step", "lr", "compute"]
    record = put(tmp_path, json.dumps({"points": points.to_json()}), "fit.json")
    assert len(read_points([record]).table) == 3


# The inputs that went wrong


def test_the_tables_that_went_wrong_give_what_is_right(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables = shared / "cases/tables"
    numeric = read_points([tables / "numeric_run.csv"])
    assert sorted(numeric.table["run"].unique()) == ["1", "2"]
    usual = read_points([tables / "usual_names.csv"]).table
    assert usual[["n", "d", "loss"]].to_numpy()[0].tolist() == [1e7, 1e9, 4.0]
    assert read_points([tables / "semicolons.csv"]).table["loss"].tolist() == [4.0, 3.8]
    assert len(read_points([tables / "copies_that_differ.csv"]).table) == 4
    runs = {run.id: run for run in imported(tables / "wandb_chart.csv", root=tmp_path / "runs")}
    assert sorted(runs) == ["large", "small"]
    first, *_ = runs["large"].evaluations()
    assert (first["step"], first["val_loss"]) == (1000, 6.4947)
    monkeypatch.chdir(tmp_path)
    call = ["fit", "--data", str(tables / "repetition.csv"), "--model", "repetition", "--draws", "20"]
    code, out, err = run_cli(call, monkeypatch, capsys)
    assert (code, err) == (0, "")
    assert "R  " in out

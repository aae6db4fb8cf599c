"""Points from CSV files: what is read, and what a broken file is told, with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fvlm_core.scaling.points.files import read_points
from fvlm_core.utils.errors import UsageError

PLAIN = "N,D,loss\n40000,1000,3.5\n40000,2000,3.1\n120000,1000,3.2\n"
EXPORT = (
    "model_size,run_id,lr_schedule,step,samples_seen,val_loss,train_loss,lr,throughput_sps,attention_entropy\n"
    "40k,a,constant,20,640,3.5,3.6,1e-3,45.2,2.1\n"
    "40k,a,constant,40,1280,3.1,,1e-3,,\n"
    "120k,b,cosine,20,640,3.2,3.3,5.00e-04,45.2,2.2\n"
)
SUMMARIES = (
    "run_id,model_size,total_params,lr_schedule,total_samples,total_steps,best_val_loss,best_val_step,"
    "final_train_loss,wall_time_hours\n"
    "a,40k,40000,constant,1280,40,3.1,40,,0.1\n"
    "b,120k,120000,cosine,640,20,3.2,20,3.3,0.1\n"
)


def put(tmp_path: Path, text: str | bytes, name: str = "points.csv") -> Path:
    file = tmp_path / name
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def test_plain_columns_are_read_whatever_their_case_and_order(tmp_path: Path) -> None:
    file = put(tmp_path, "Loss,Run,d,N,LR,schedule,C,Step,remark\n3.5,a,1000,4e4,1e-3,constant,2.4e8,10,\n")
    row = read_points([file]).table.iloc[0]
    assert row.to_dict() == {
        "size": "40k",
        "run": "a",
        "schedule": "constant",
        "n": 40000.0,
        "d": 1000.0,
        "loss": 3.5,
        "step": 10.0,
        "lr": 0.001,
        "compute": 2.4e8,
    }


def test_an_export_finds_its_parameter_counts_in_the_summaries_beside_it(tmp_path: Path) -> None:
    file = put(tmp_path, EXPORT)
    assert read_points([file]).table["n"].isna().all()
    put(tmp_path, SUMMARIES, "run_summaries.csv")
    points = read_points([file])
    assert points.table[["size", "run", "n"]].values.tolist() == [
        ["40k", "a", 40000.0],
        ["40k", "a", 40000.0],
        ["120k", "b", 120000.0],
    ]
    assert points.remarks == (f"N (parameters) looked up in {tmp_path / 'run_summaries.csv'}",)


def test_a_run_that_the_summaries_do_not_know_takes_the_count_of_its_size(tmp_path: Path) -> None:
    put(tmp_path, SUMMARIES, "run_summaries.csv")
    file = put(tmp_path, EXPORT + "120k,new,constant,20,640,3.2,,,,\n400k,newer,constant,20,640,3.2,,,,\n")
    table = read_points([file]).table.set_index("run")
    assert table.loc["new", "n"] == 120000.0
    assert table["n"].isna()["newer"]


def test_the_same_file_twice_counts_once_and_says_so(tmp_path: Path) -> None:
    file = put(tmp_path, PLAIN)
    again = put(tmp_path, PLAIN, "again.csv")
    points = read_points([file, again])
    assert len(points.table) == 3
    (said,) = points.remarks
    assert said.startswith("points that are exact copies of others, and count once: 3 (")


def test_evaluations_before_training_are_left_out_and_counted(tmp_path: Path) -> None:
    points = read_points([put(tmp_path, PLAIN + "40000,0,10.5\n")])
    assert len(points.table) == 3
    assert points.remarks == ("points at D = 0 left out, where no power of D has a value: 1",)


BROKEN: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "points.csv: the file is empty; expected a CSV file with a header"),
    "header_only": ("N,D,loss\n", "points.csv: no data below the header"),
    "missing_column": (
        "N,D,los\n1,2,3\n",
        'points.csv:1: no column with the loss: expected "val_loss" or "loss"; found N, D, los: did you mean "los"?\n'
        "points.csv:1: say which is meant: --columns loss=los",
    ),
    "two_missing": (
        "epoch;value\n1;2\n",
        'points.csv:1: no column with D, the samples seen: expected "samples_seen" or "D"; found epoch, value\n'
        'points.csv:1: no column with the loss: expected "val_loss" or "loss"; found epoch, value\n'
        "points.csv:1: say which is meant: --columns D=HEADER,loss=HEADER",
    ),
    "two_candidates": (
        "N,D,loss,val_loss\n1,2,3,4\n",
        'points.csv:1: "loss" and "val_loss" could both be the loss: keep one of them\n'
        "points.csv:1: say which is meant: --columns loss=loss",
    ),
    "not_a_number": (
        PLAIN + '"40000",abc,3.0\n',
        'points.csv:5: D: expected a number, got "abc"',
    ),
    "thousands": (
        PLAIN + '"40,000",4000,3.0\n',
        'points.csv:5: N: expected a number, got "40,000": 40000 or 40.000? Write it without the comma, or say '
        "which is the decimal mark: --decimal . or --decimal ,",
    ),
    "lines_are_an_editors": (
        'run,N,D,loss\n"two\nlines",40000,1000,3.5\n\nb,40000,2000,x\n',
        'points.csv:5: loss: expected a number, got "x"',
    ),
    "losses": (
        PLAIN
        + "40000,4000,nan\n40000,5000,inf\n40000,6000,-1\n40000,7000,0\n40000,8000,\n40000,9000,-2\n1,2,-3\n",
        'points.csv:5: loss: expected a finite, positive number, got "nan"\n'
        'points.csv:6: loss: expected a finite, positive number, got "inf"\n'
        'points.csv:7: loss: expected a finite, positive number, got "-1"\n'
        'points.csv:8: loss: expected a finite, positive number, got "0"\n'
        "points.csv:9: loss: expected a finite, positive number, got an empty cell\n"
        "points.csv:10: loss: expected a finite, positive number: 2 more like this",
    ),
    "ragged": (
        PLAIN + "1,2,3,4\n",
        "points.csv: not readable as CSV: Expected 3 fields in line 5, saw 4",
    ),
    "longer_than_the_header": (
        "N,D,loss\n40000,1000,3.5,9\n40000,2000,3.1,9\n",
        "points.csv: not readable as CSV: the rows have more cells than the header",
    ),
    "shorter_than_the_header": (
        PLAIN + "40000,3000\n",
        "points.csv:5: loss: expected a finite, positive number, got an empty cell",
    ),
    "not_utf8": (
        b"N,D,loss,run\n1,2,3,caf\xe9\n",
        "points.csv: not UTF-8 text (invalid continuation byte",
    ),
    "only_zeros": ("N,D,loss\n1,0,3\n", "points.csv: no points to fit"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_told_what_is_wrong_and_where(name: str, tmp_path: Path) -> None:
    text, expected = BROKEN[name]
    file = put(tmp_path, text)
    with pytest.raises(UsageError) as error:
        read_points([file])
    assert error.value.exit_code == 2
    told = str(error.value).replace(f"{tmp_path}/", "")
    assert told.startswith(expected) if name == "not_utf8" else told == expected


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.csv: there is no such file"):
        read_points([tmp_path / "absent.csv"])

"""Points from every kind of file, and from hostile ones: one clear message that says where, never a traceback."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fvlm_core.scaling.points.columns import ColumnChoices, parse_columns
from fvlm_core.scaling.points.files import read_points
from fvlm_core.scaling.points.point_selection import PointSelection, apply
from fvlm_core.scaling.points.points import tidy
from fvlm_core.utils.errors import UsageError

ROWS: list[dict[str, Any]] = [
    {"run": "a", "N": 40_000, "D": 1000, "loss": 3.5, "step": 10, "lr": 1e-3},
    {"run": "a", "N": 40_000, "D": 2000, "loss": 3.1, "step": 20, "lr": 1e-3},
    {"run": "b", "N": 120_000, "D": 1000, "loss": 3.2, "step": 10, "lr": 1e-3},
]


def put(folder: Path, content: str | bytes, name: str) -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def told(file: Path, choice: ColumnChoices | None = None) -> str:
    with pytest.raises(UsageError) as error:
        read_points([file], choice)
    assert error.value.exit_code == 2
    return str(error.value).replace(f"{file.parent}/", "")


def test_every_format_gives_the_same_points(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS)
    frame.to_csv(tmp_path / "p.csv", index=False)
    frame.to_parquet(tmp_path / "p.parquet", index=False)
    put(tmp_path, json.dumps(ROWS), "p.json")
    lines = "\n".join(json.dumps(row) for row in reversed(ROWS))
    put(tmp_path, lines, "p.jsonl")
    put(tmp_path, lines, "lines.json")
    first = read_points([tmp_path / "p.csv"])
    for name in ("p.parquet", "p.json", "p.jsonl", "lines.json"):
        other = read_points([tmp_path / name])
        pd.testing.assert_frame_equal(other.table, first.table)
        assert other.fingerprint() == first.fingerprint()
        assert sorted(other.curves) == ["a", "b"]


def test_the_record_of_a_fit_gives_its_points_back(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        pd.DataFrame(ROWS).rename(columns={"D": "samples_seen"}).to_csv(index=False)
    )
    points = read_points([tmp_path / "p.csv"], ColumnChoices(warmup=4))
    kept = apply(PointSelection(points="final"), points)
    back = read_points([put(tmp_path, json.dumps({"points": kept.to_json(), "fvlm": "0"}), "fit.json")])
    pd.testing.assert_frame_equal(back.table, kept.table)
    assert (back.fingerprint(), back.d_kind) == (kept.fingerprint(), "training samples")
    curve = back.curves["a"]
    assert (curve.steps.tolist(), curve.rates.tolist(), curve.warmup) == ([10, 20], [1e-3, 1e-3], 4)


def test_columns_are_taken_by_the_names_given(tmp_path: Path) -> None:
    rows = "params,tokens,loss_c4,loss,set\n1e6,10,3.5,9,x\n2e6,20,3.1,9,y\n"
    file = put(tmp_path, rows, "p.csv")
    named = parse_columns("N=params, d=tokens,loss=loss_c4")
    points = read_points([file], ColumnChoices(named, d="tokens", extras=("set",)))
    assert points.table[["n", "d", "loss"]].values.tolist() == [[1e6, 10, 3.5], [2e6, 20, 3.1]]
    assert (points.n_kind, points.d_kind) == ("as given", "supervised text tokens")
    assert apply(PointSelection.parse(where=("set==y",)), points).table["n"].tolist() == [2e6]
    assert told(file, ColumnChoices(parse_columns("N=parms,D=tokens"))) == (
        'p.csv:1: no column "parms", which --columns gives for N, the parameters: did you mean "params"?'
    )


def test_one_header_may_be_two_columns_and_files_of_steps_are_runs(tmp_path: Path) -> None:
    for name in ("cosine", "wsd"):
        put(tmp_path, "step,lr,loss\n2160,3e-4,4.0\n2288,2.9e-4,3.9\n2416,2.8e-4,3.8\n", f"{name}.csv")
    choice = ColumnChoices({"d": "step"}, warmup=2160)
    points = read_points([tmp_path / "cosine.csv", tmp_path / "wsd.csv"], choice)
    assert points.table["run"].value_counts().to_dict() == {"cosine": 3, "wsd": 3}
    assert points.table["d"].tolist() == points.table["step"].tolist()
    assert points.curves["wsd"].warmup == 2160
    assert points.curves["wsd"].at(pd.array([1080, 2160, 2224]).to_numpy()) == pytest.approx(
        [1.5e-4, 3e-4, 2.95e-4]
    )
    assert points.remarks == ("a file that names no run and has every step once is one run: cosine, wsd",)


COLUMNS = {
    "M=a": '--columns: no column is called "M"; there are size, run, schedule, N, D, loss, step, lr, compute',
    "los=a": '--columns: no column is called "los": did you mean "loss"?',
    "N=a,n=b": '--columns: n is given twice, as "a" and "b"',
    "N": '--columns: expected NAME=HEADER, such as N=params, got "N"',
    "N=": '--columns: expected NAME=HEADER, such as N=params, got "N="',
    "": "--columns: expected NAME=HEADER, such as N=params, got nothing",
}


@pytest.mark.parametrize("text", COLUMNS)
def test_a_wrong_list_of_columns_is_explained(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_columns(text)
    assert str(error.value) == COLUMNS[text]


def test_what_d_counts_is_looked_for_under_its_name(tmp_path: Path) -> None:
    file = put(tmp_path, "N,samples_seen,tokens_seen,loss\n1e6,10,700,3\n", "p.csv")
    points = read_points([file], ColumnChoices(d="tokens"))
    assert (points.table["d"][0], points.d_kind) == (700, "supervised text tokens")
    assert read_points([file]).d_kind == "training samples"
    assert told(file, ColumnChoices(d="frames")).startswith(
        'p.csv:1: no column with D, the video frames: expected "frames_seen"; found N, '
    )
    assert "no column with N, the trainable parameters" in told(file, ColumnChoices(n="trainable"))


BROKEN: dict[str, tuple[str | bytes, str]] = {
    "twice.csv": ("N,D,loss,loss\n1,2,3,4\n", 'twice.csv:1: 2 columns are called "loss": keep one of them'),
    "bool.csv": (
        "N,D,loss\n1,2,True\n1,3,false\n",
        'bool.csv:2: loss: expected a number, got "True"\nbool.csv:3: loss: expected a number, got "false"',
    ),
    "lr.csv": (
        "N,D,loss,lr\n1,2,3,\n1,3,3,-1\n1,4,3,inf\n",
        'lr.csv:3: lr: expected a finite number, not negative, or nothing, got "-1"\n'
        'lr.csv:4: lr: expected a finite number, not negative, or nothing, got "inf"',
    ),
    "latin.csv": (
        b"N,D,loss,run\n1,2,3,a\n1,2,3,caf\xe9\n",
        "latin.csv: not UTF-8 text (invalid continuation byte in line 3, byte 10); expected a CSV file in UTF-8, or "
        "in UTF-16 with a byte order mark",
    ),
    "empty.json": (" \n", "empty.json: the file is empty; expected JSON"),
    "none.json": ("[]", "none.json: no rows"),
    "torn.json": ('[{"N": 1,\n "D"', "torn.json:2: not readable as JSON: Expecting ':' delimiter"),
    "deep.json": ("[" * 100_000, "deep.json: not readable as JSON: nested too deep"),
    "latin.json": (
        b'[{"run": "caf\xe9"}]',
        "latin.json:1: not UTF-8 text (invalid continuation byte); expected JSON",
    ),
    "key.json": ('[{"N": 1, "N": 2}]', 'key.json: not readable as JSON: "N" is there twice in a row'),
    "number.json": (
        "3",
        "number.json: expected an array of rows, a row a line, or the record of `fvlm fit --json` with "
        "its points; got a number",
    ),
    "record.json": (
        '{"reports": [], "fvlm": "0"}',
        "record.json: expected an array of rows, a row a line, or the record "
        "of `fvlm fit --json` with its points; got an object with reports, fvlm",
    ),
    "mixed.json": (
        '[{"N": 1, "D": 2, "loss": 3}, [1, 2, 3], null]',
        "mixed.json: row 2: expected an object, got a list\nmixed.json: row 3: expected an object, got null",
    ),
    "cells.json": (
        '[{"N": 1, "D": 2, "loss": "three"}, {"N": 1, "D": true, "loss": NaN}, {"N": 1, "D": 2}, '
        '{"N": 1, "D": [2], "loss": 1e999}]',
        "cells.json: row 2, D: expected a number, got true\n"
        "cells.json: row 4, D: expected a number, got a list\n"
        'cells.json: row 1, loss: expected a number, got "three"\n'
        "cells.json: row 2, loss: expected a finite, positive number, got NaN\n"
        "cells.json: row 3, loss: expected a finite, positive number, got nothing\n"
        "cells.json: row 4, loss: expected a finite, positive number, got Infinity",
    ),
    "lines.jsonl": (
        '{"N": 1, "D": 2, "loss": 3}\n\n{"N": 1, "D": 2, "loss": -3}\n',
        "lines.jsonl:3: loss: expected a finite, positive number, got -3",
    ),
    "torn.jsonl": (
        '{"N": 1, "D": 2, "loss": 3}\n{"N": 1, "D"\n',
        "torn.jsonl:2: not readable as JSON: Expecting ':' delimiter",
    ),
    "label.json": (
        '[{"D": 2, "loss": 3, "run": {"a": 1}}]',
        "label.json: row 1, run: expected a label, got an object",
    ),
    "surrogate.json": (
        '[{"D": 2, "loss": 3, "run": "\\ud800"}]',
        'surrogate.json: row 1, run: expected a label, got "\\ud800"',
    ),
}


def test_bad_labels_are_counted_beyond_the_first(tmp_path: Path) -> None:
    rows = [{"D": 2 + at, "loss": 3, "run": {"a": 1}} for at in range(7)]
    said = told(put(tmp_path, json.dumps(rows), "p.json")).splitlines()
    assert said[-1] == "p.json: run: expected a label: 2 more like this"
    assert len(said) == 6


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_told_what_is_wrong_and_where(name: str, tmp_path: Path) -> None:
    content, expected = BROKEN[name]
    assert told(put(tmp_path, content, name)) == expected


PARQUET: dict[str, tuple[dict[str, Any], str]] = {
    "nested": (
        {"D": [1, 2], "loss": [[3.0], [2.0]]},
        "p.parquet: loss: expected numbers, got a column of list<element: double>",
    ),
    "struct": (
        {"D": [{"a": 1}], "loss": [3.0], "run": [{"b": 2}]},
        "p.parquet: D: expected numbers, got a column of struct<a: int64>\n"
        "p.parquet: run: expected labels, got a column of struct<b: int64>",
    ),
    "text": ({"D": ["one"], "loss": [3.0]}, 'p.parquet: row 1, D: expected a number, got "one"'),
    "values": (
        {"D": [1, 2, 3], "loss": [None, float("inf"), 0.0]},
        "p.parquet: row 1, loss: expected a finite, positive number, got null\n"
        "p.parquet: row 2, loss: expected a finite, positive number, got inf\n"
        "p.parquet: row 3, loss: expected a finite, positive number, got 0.0",
    ),
    "absent": (
        {"D": [1], "los": [3.0]},
        'p.parquet: no column with the loss: expected "val_loss" or "loss"; found D, '
        'los: did you mean "los"?\np.parquet: say which is meant: --columns loss=los',
    ),
    "rowless": ({"D": pa.array([], pa.float64()), "loss": pa.array([], pa.float64())}, "p.parquet: no rows"),
}


@pytest.mark.parametrize("name", PARQUET)
def test_a_parquet_file_is_checked_by_its_types_and_values(name: str, tmp_path: Path) -> None:
    columns, expected = PARQUET[name]
    pq.write_table(pa.table(columns), tmp_path / "p.parquet")
    assert told(tmp_path / "p.parquet") == expected


def test_garbage_is_no_parquet_and_a_folder_no_table(tmp_path: Path) -> None:
    assert told(put(tmp_path, b"PAR1" + os.urandom(300), "p.parquet")).startswith(
        "p.parquet: not readable as Parquet: "
    )
    assert told(put(tmp_path, b"", "e.parquet")).startswith("e.parquet: not readable as Parquet: ")
    (tmp_path / "folder.csv").mkdir()
    assert told(tmp_path / "folder.csv") == "folder.csv: expected a file with a table, got a folder"
    os.mkfifo(tmp_path / "pipe.csv")
    assert told(tmp_path / "pipe.csv") == "pipe.csv: expected a file with a table, got no regular file"


def test_counts_beyond_64_bits_are_read(tmp_path: Path) -> None:
    big = 6 * 10**13 * 10**14
    file = put(tmp_path, f"N,D,loss,C\n{10**13},{10**14},2.0,{big}\n{10**13},2e14,1.9,{2 * big}\n", "p.csv")
    assert read_points([file]).table["compute"].tolist() == [6e27, 1.2e28]
    rows = [{"N": 10**13, "D": 10**14, "loss": 2, "C": big}]
    assert read_points([put(tmp_path, json.dumps(rows), "p.json")]).table["compute"].tolist() == [6e27]
    assert "got 1" in told(put(tmp_path, f'[{{"N": {10**400}, "D": 1, "loss": 2}}]', "q.json"))


def test_two_measurements_at_one_place_are_counted_and_said(tmp_path: Path) -> None:
    file = put(tmp_path, "run,N,D,loss\na,1,10,3\na,1,10,3\na,1,10,2.9\nb,1,10,3\n", "p.csv")
    points = read_points([file])
    assert len(points.table) == 3
    assert points.remarks == (
        "points that are exact copies of others, and count once: 1 (a at D = 10)",
        "points at the same D of the same run as another, all of which count: 1 (a)",
    )


def survives(file: Path) -> None:
    """Points, or a message."""
    with suppress(UsageError):
        read_points([file])


HOSTILE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
PIECE = st.sampled_from(
    ["N", "D", "loss", "run", "step", "lr", ",", ",", ",", "\n", "\n", "\r", '"', "'", " ", "\t", "\0", "1", "2.5",
     "-3", "nan", "inf", "1e999", "9" * 30, "True", "é", "=a", "\ufeff", ""]
)  # fmt: skip


@HOSTILE
@given(
    st.one_of(
        st.binary(max_size=200), st.lists(PIECE, max_size=60).map(lambda pieces: "".join(pieces).encode())
    )
)
def test_no_bytes_break_the_reader_of_csv(tmp_path: Path, content: bytes) -> None:
    survives(put(tmp_path, content, "p.csv"))
    survives(put(tmp_path, b"N,D,loss,run,step,lr\n1,2,3,a,1,1\n" + content, "q.csv"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["N", "D", "loss", "run", "step", "lr", "points", "table"]), inner, max_size=5
        )
    ),
    max_leaves=20,
)


@HOSTILE
@given(st.one_of(JSON.map(json.dumps), st.lists(JSON, min_size=1).map(json.dumps), st.text(max_size=60)))
def test_no_text_breaks_the_reader_of_json(tmp_path: Path, content: str) -> None:
    for name in ("p.json", "p.jsonl"):
        survives(put(tmp_path, content.encode("utf-8", "surrogatepass"), name))


@HOSTILE
@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=4))
@example(746, b"G=")  # pyarrow ended the process of these when it was asked for a column's size
@example(950, b"K")
@example(1265, b"\x17\xae")
def test_no_damage_breaks_the_reader_of_parquet(tmp_path: Path, at: int, damage: bytes) -> None:
    pd.DataFrame(ROWS).to_parquet(tmp_path / "p.parquet", index=False)
    content = (tmp_path / "p.parquet").read_bytes()
    at %= len(content)
    survives(put(tmp_path, content[:at] + damage + content[at + len(damage) :], "q.parquet"))


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(12)), st.integers(0, 2))
def test_the_order_of_rows_changes_nothing(order: list[int], noise: int) -> None:
    rows = pd.DataFrame(
        {
            "n": [1e6, 2e6, 3e6] * 4,
            "d": [10, 10, 20, 20, 30, 30] * 2,
            "loss": [3 + i / 10 for i in range(12)],
            "run": ["a", "", "b"] * 4,
            "schedule": ["cosine", None] * 6,
        }
    )
    first, other = tidy(rows, "x"), tidy(rows.iloc[list(order)], "y")
    pd.testing.assert_frame_equal(first.table, other.table)
    assert first.fingerprint() == other.fingerprint()
    rows.loc[0, "loss"] += noise * 1e-15
    assert (tidy(rows, "x").fingerprint() == first.fingerprint()) == (noise == 0)

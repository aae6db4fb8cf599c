"""No text in a CSV that we write is a formula to a spreadsheet; numbers stay numbers; we read the same text back."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import write_run
from tiny import run_cli

from fvlm_core.utils.csv_text import FORMULA, Number, bare, csv_text, guarded

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""OWASP, CSV injection."""

TEXTS = st.text(max_size=12) | st.builds(
    str.__add__, st.sampled_from([*FORMULA, "'", "''="]), st.text(max_size=6)
)


@given(TEXTS)
def test_a_text_is_no_formula_and_comes_back(text: str) -> None:
    assert not guarded(text).startswith(STARTS)
    assert bare(guarded(text)) == text


@given(st.lists(st.tuples(TEXTS, st.floats(allow_nan=False), st.integers(), st.none()), max_size=5))
def test_a_table_comes_back_by_another_reader(rows: list[tuple[str, float, int, None]]) -> None:
    text = csv_text(["=a", "b", "c", "d"], rows)
    head, *read = csv.reader(io.StringIO(text, newline=""))
    assert head == ["'=a", "b", "c", "d"]
    assert [bare(row[0]) for row in read] == [row[0] for row in rows]
    assert [(float(row[1]), int(row[2]), row[3]) for row in read] == [(*row[1:3], "") for row in rows]
    assert not [row[0] for row in read if row[0].startswith(STARTS)]


def test_negative_numbers_stay_numbers() -> None:
    assert csv_text(["x"], [[-1.5], [Number("-1.50e-3")], ["-1.5"]]) == "x\n-1.5\n-1.50e-3\n'-1.5\n"


@pytest.mark.parametrize(
    ("command", "start"),
    [
        *[(command, start) for command in ("compare", "list") for start in STARTS],
        ("export", "="),
        ("export", "\r"),
    ],
)
def test_every_command_s_csv_is_inert(
    command: str,
    start: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import json

    monkeypatch.chdir(tmp_path)
    evil = f'{start}HYPERLINK("http://x")'
    for order, name in enumerate(("a", "b")):
        folder = write_run(tmp_path / "runs", f"p/{name}", 1.5 + order / 10, order=order, size=evil)
        record = json.loads((folder / "recipe.json").read_text())
        record |= {"id": f"{evil}{name}", "recipe": evil, "schedule": evil}
        record["resolved"]["model"]["connector"][evil] = evil * (order + 1)
        (folder / "recipe.json").write_text(json.dumps(record))
    arguments = {
        "compare": ["runs", "compare", "runs/p/a", "runs/p/b", "--out", "t.csv"],
        "list": ["runs", "list", "--csv"],
        "export": ["export", "--to", "out"],
    }[command]
    code, out, err = run_cli([*arguments, "--runs", "runs"], monkeypatch, capsys)
    assert code == 0, err
    if command == "list":
        Path("t.csv").write_text(out, newline="")
    files = sorted(Path("out").glob("*.csv")) if command == "export" else [Path("t.csv")]
    assert files
    for file in files:
        with file.open(newline="", encoding="utf-8") as handle:
            cells = [cell for row in csv.reader(handle) for cell in row]
        assert not [cell for cell in cells if cell.startswith(STARTS) and not _is_number(cell)]
        assert any("HYPERLINK" in cell for cell in cells)
    if command == "compare":
        assert pd.api.types.is_numeric_dtype(pd.read_csv("t.csv")["value"])


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

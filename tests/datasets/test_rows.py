"""Rows of large files: every one is read, or named with its place; a file is never read whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fvlm_core.datasets.sources import rows
from fvlm_core.datasets.sources.csv_rows import CSVRows
from fvlm_core.datasets.sources.rows import JSONArray, JSONLines, RowFile
from fvlm_core.utils.errors import Problems, UsageError

values = st.dictionaries(
    st.text(max_size=5), st.text(max_size=40) | st.integers() | st.lists(st.text(max_size=5))
)


def read_back(file: RowFile) -> list[Any]:
    """Every row by its place; it must be what the scan gave."""
    found = list(file.scan())
    for row in found:
        assert row.error or file.read(row.start, row.length)[0] == row.record
    return [row.error or row.record for row in found]


@settings(max_examples=60, deadline=None)
@given(records=st.lists(values, max_size=20), indent=st.sampled_from([None, 0, 2]), chunk=st.integers(1, 300))
def test_json_is_read_whatever_its_layout_and_where_it_is_cut(
    tmp_path_factory: pytest.TempPathFactory, records: list[Any], indent: int | None, chunk: int
) -> None:
    folder = tmp_path_factory.mktemp("json")
    before, rows._CHUNK = rows._CHUNK, chunk
    try:
        (folder / "a.json").write_text(
            json.dumps(records, indent=indent, ensure_ascii=False), "utf-8", "surrogatepass"
        )
        (folder / "a.jsonl").write_text(
            "".join(json.dumps(record) + "\n\n" for record in records), encoding="utf-8"
        )
        assert read_back(JSONLines(folder / "a.jsonl")) == records
        assert read_back(JSONArray(folder / "a.json")) == records
    finally:
        rows._CHUNK = before


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'[{"a": 1}, {"a": ', "row 2 at byte 11 cannot be read"),
        (b'[{"a": 1}', "cut short: its array is not closed"),
        (b'{"a": 1}', "expected a JSON array"),
        (b"", "expected a JSON array"),
        (b"<!doctype html>", "expected a JSON array"),
        (b"[" * 100_000, "row 1 at byte 1 cannot be read"),
    ],
)
def test_an_array_that_cannot_be_read_says_where(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        list(JSONArray(tmp_path / "a.json").scan())


def test_bad_lines_hide_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "MAX_ROW", 100)
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"a": 1}\n[1]\n{"a": "\xff"}\n{"a": "' + b"x" * 200 + b'"}\nnot json\n{"a": 2}')
    found = read_back(JSONLines(file))
    assert [row for row in found if isinstance(row, dict)] == [{"a": 1}, {"a": 2}]
    assert [str(row)[:15] for row in found[1:5]] == [
        "expected an obj",
        "not UTF-8 text:",
        "longer than 100",
        "not JSON: Expec",
    ]


def test_a_csv_names_its_bad_rows_and_an_open_quotation_mark(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_bytes(b'\xef\xbb\xbfa,b\r\n1,2\r\n1\r\nx\ry,2\r\n\xff,3\r\n\r\n"4\n4",5\r\n')
    found = read_back(CSVRows(file, columns=("a", "b")))
    assert [row for row in found if isinstance(row, dict)] == [{"a": "1", "b": "2"}, {"a": "4\n4", "b": "5"}]
    assert len(found) == 5
    file.write_bytes(b'a,b\n1,"2\n' + b"3,4\n" * 100_000)
    with pytest.raises(UsageError, match=r"a\.csv:2: .*quotation mark left open"):
        list(CSVRows(file, columns=("a",)).scan())
    with pytest.raises(Problems, match=r'a\.csv:1: no column "c" among a, b'):
        CSVRows(file, columns=("a", "c"))
    file.write_bytes(b"a\rb,c\n")
    with pytest.raises(Problems, match="no header of a CSV file"):
        CSVRows(file, columns=("a",))

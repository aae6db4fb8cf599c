"""The Parquet cache of metrics: equal to the files it stands for, whatever happened to either."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fvlm_core.interchange.export_tables import point_rows
from fvlm_core.runs import cache as module
from fvlm_core.runs.cache import CACHE, INDEX, open_cache
from fvlm_core.runs.metrics import MetricsWriter
from fvlm_core.runs.store import METRICS, Run, list_runs, with_cache
from fvlm_core.scaling.points.points_from_runs import from_runs

COLUMNS = (
    "step",
    "samples_seen",
    "val_loss",
    "train_loss",
    "lr_connector",
    "note",
    "samples_by_source",
    "gone",
)


def make_run(root: Path, number: int, steps: int = 6) -> Path:
    """A run with two attempts, the first of which went further than its last checkpoint."""
    folder = root / f"recipe{number % 3}" / f"run{number}"
    folder.mkdir(parents=True)
    record = {"id": folder.name, "recipe": folder.parent.name, "order": number, "size": "1M", "in_fits": True}
    record |= {"total_params": 1_000_000 + number, "schedule": "constant"}
    (folder / "recipe.json").write_text(json.dumps(record))
    for begin, end in ((0, steps - 1), (steps - 3, steps)):
        with MetricsWriter(folder / METRICS, folder.name, begin) as metrics:
            for step in range(begin + 1, end + 1):
                seen: dict[str, Any] = {"step": step, "samples_seen": 4 * step, "lr_connector": 1e-3}
                metrics.write("train", **seen, train_loss=5 / step, note=f"n{step}")
                loss = float("nan") if step == 2 else 4 / step + number
                metrics.write("eval", **seen, val_loss=loss, samples_by_source={"a": step, "b": number})
    return folder


def raw(run: Run, kind: str, columns: tuple[str, ...] = COLUMNS) -> list[dict[str, Any]]:
    rows = [row for row in run.rows() if row["event_type"] == kind]
    return [{name: row[name] for name in columns if row.get(name) is not None} for row in rows]


def check(root: Path, reread: int) -> None:
    """The cache gives what the files give, after reading so many of them."""
    runs = list_runs(root)
    opened = open_cache(root, [run.folder for run in runs], METRICS)
    assert opened.reread == reread
    for run in runs:
        for kind in ("train", "eval"):
            assert opened.rows(run.folder, kind, COLUMNS) == raw(run, kind)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(5):
        make_run(tmp_path, number)
    return tmp_path


def test_it_gives_the_read_view_and_is_built_once(root: Path) -> None:
    check(root, reread=5)
    check(root, reread=0)


def test_a_run_that_changed_is_read_again_and_no_other(root: Path) -> None:
    check(root, reread=5)
    folder = list_runs(root)[2].folder
    with MetricsWriter(folder / METRICS, folder.name, 2) as metrics:  # supersedes steps 3 to 6
        metrics.write("eval", step=3, val_loss=1.0)
    check(root, reread=1)
    check(root, reread=0)


def test_a_file_of_the_same_size_and_another_time_is_read_again(root: Path) -> None:
    check(root, reread=5)
    file = list_runs(root)[0].folder / METRICS
    text = file.read_text()
    file.write_text(text.replace('"train_loss": 5.0', '"train_loss": 7.0'))
    os.utime(file, ns=(1, 1))
    check(root, reread=1)


def test_runs_that_come_and_go_are_noticed(root: Path) -> None:
    check(root, reread=5)
    make_run(root, 9)
    check(root, reread=1)
    for file in (folder := list_runs(root)[0].folder).iterdir():
        file.unlink()
    folder.rmdir()
    check(root, reread=0)


def test_a_store_that_moved_keeps_its_cache(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    check(root, reread=5)
    check(root.rename(tmp_path_factory.mktemp("moved") / "runs"), reread=0)


@pytest.mark.parametrize("harm", ["gone", "empty", "text", "truncated", "flipped", "old", "index"])
def test_a_corrupt_or_old_cache_is_made_again(harm: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(root, reread=5)
    file = root / CACHE
    content = file.read_bytes()
    if harm == "old":
        monkeypatch.setattr(module, "VERSION", module.VERSION + 1)
    if harm == "index":
        (root / INDEX).write_text("{}")
    harmed = {
        "gone": b"",
        "index": content,
        "empty": b"",
        "text": b"not parquet",
        "truncated": content[: len(content) // 2],
        "flipped": content[:200] + bytes([content[200] ^ 1]) + content[201:],
        "old": content,
    }[harm]
    file.write_bytes(harmed)
    if harm == "gone":
        file.unlink()
    check(root, reread=5)
    check(root, reread=0)


def test_a_store_that_cannot_be_written_to_is_read_all_the_same(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.pq, "write_table", full)
    check(root, reread=5)
    assert not list((root / CACHE).parent.glob("*"))


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=st.lists(st.lists(VALUES, min_size=4, max_size=4), min_size=1, max_size=4))
def test_every_value_comes_back_as_it_was(columns: list[list[Any]]) -> None:
    names = [f"c{index}" for index in range(len(columns))]
    rows = [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]
    table, counts = module._table([rows[:1], rows[1:]])
    assert counts == [1, 3]
    for name in names:
        found = module._values(table.column(name))
        assert [json.dumps(value) for value in found] == [json.dumps(row[name]) for row in rows] or found == [
            row[name] for row in rows
        ]


def test_fits_and_exports_of_many_runs_are_those_of_the_files(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = list_runs(root)
    assert with_cache(plain, root)[0].cache is None  # too few to be worth it
    monkeypatch.setattr("fvlm_core.runs.store.MANY", 3)
    cached = with_cache(plain, root)
    assert cached[0].cache is not None
    assert point_rows(cached) == point_rows(plain)
    assert from_runs(cached, "x").table.equals(from_runs(plain, "x").table)

"""The index of a run store: equal to the files it stands for, whatever happened to either."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fvlm_core.interchange.export_tables import point_rows
from fvlm_core.runs import index as module
from fvlm_core.runs import store
from fvlm_core.runs.index import INDEX, RunIndex
from fvlm_core.runs.listing import list_entries
from fvlm_core.runs.metrics import MetricsWriter, Row, read_metrics
from fvlm_core.runs.sound import sound
from fvlm_core.runs.store import METRICS, StoredRun, list_runs
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


def raw(run: StoredRun, kind: str, columns: tuple[str, ...] = COLUMNS) -> list[dict[str, Any]]:
    rows = [row for row in run.rows() if row["event_type"] == kind]
    return [{name: row[name] for name in columns if row.get(name) is not None} for row in rows]


def check(root: Path, reread: int) -> None:
    """The index gives what the files give, of which so many are read."""
    read: set[Path] = set()

    def counted(file: Path) -> list[Row]:
        read.add(file)
        return read_metrics(file)

    index = RunIndex(root)
    for run in list_runs(root):
        expected = raw(run, "train"), raw(run, "eval")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store, "read_metrics", counted)
            patch.setattr("fvlm_core.runs.sound.read_metrics", counted)
            (known,) = sound([run.folder], index=index)
            assert (known.train_rows(*COLUMNS), known.evaluations(*COLUMNS)) == expected
    assert len(read) == reread


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


def foreign(file: Path) -> None:
    file.unlink()
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE theirs (run TEXT)")
    database.close()


def changed(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"val_loss":1.0', b'"val_loss":7.0'))


HARM: dict[str, tuple[Callable[[Path], object], int]] = {
    "gone": (Path.unlink, 5),
    "empty": (lambda file: file.write_bytes(b""), 5),
    "text": (lambda file: file.write_text("no database"), 5),
    "truncated": (lambda file: os.truncate(file, file.stat().st_size // 2), 5),
    "zeros": (lambda file: file.write_bytes(bytes(file.stat().st_size)), 5),
    "all but its head zeros": (
        lambda f: f.write_bytes(f.read_bytes()[:100].ljust(f.stat().st_size, b"\0")),
        5,
    ),
    "another program's": (foreign, 5),
    "another version's": (lambda file: file.write_bytes(file.read_bytes().replace(b"fvlm_", b"fvlm-")), 5),
    "a value changed": (changed, 1),
}


@pytest.mark.parametrize("harm", HARM)
def test_what_is_damaged_is_read_again(harm: str, root: Path) -> None:
    check(root, reread=5)
    damage, lost = HARM[harm]
    before = (root / INDEX).read_bytes()
    damage(root / INDEX)
    assert harm == "gone" or (root / INDEX).read_bytes() != before
    check(root, reread=lost)
    check(root, reread=0)


_SHARE = st.floats(0, 1, exclude_max=True)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    flips=st.lists(st.tuples(_SHARE, st.integers(0, 255)), min_size=1, max_size=30), cut=st.none() | _SHARE
)
@example(flips=[(0.5, 0)], cut=None)  # of Python 3.14's SQLite the words for it were no UTF-8
def test_no_damage_changes_what_is_read(
    root: Path, flips: list[tuple[float, int]], cut: float | None
) -> None:
    expected = list_entries(root)
    file = root / INDEX
    content = bytearray(file.read_bytes())
    for place, value in flips:
        content[int(place * len(content))] = value
    file.write_bytes(content if cut is None else content[: int(cut * len(content))])
    assert list_entries(root) == expected
    assert list_entries(root) == expected


@pytest.mark.parametrize("beside", ["index.sqlite3-journal", "index.sqlite3-wal", "index.sqlite3-shm"])
def test_nothing_beside_the_index_is_obeyed(beside: str, root: Path) -> None:
    check(root, reread=5)
    (root / INDEX).with_name(beside).write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\1" * 504)
    check(root, reread=0)
    make_run(root, 9)
    check(root, reread=1)
    assert [file.name for file in (root / INDEX).parent.iterdir()] == [INDEX.name]


@pytest.mark.parametrize("place", ["", "link", "index"])
def test_where_no_index_can_be_all_is_read_from_the_files(
    place: str, root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = (root / INDEX).parent
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    if place == "":
        kept.write_text("a file where the folder would be")
    elif place == "index":
        (root / INDEX).mkdir(parents=True)
    else:
        kept.mkdir()
        (root / INDEX).symlink_to(elsewhere / "theirs")
    check(root, reread=5)
    check(root, reread=5)
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize(
    "error", ["database is locked", "disk I/O error", "attempt to write a readonly database"]
)
def test_a_database_that_cannot_be_written_to_is_read_or_done_without(
    error: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check(root, reread=5)
    before = (root / INDEX).read_bytes()
    code = {"d": sqlite3.SQLITE_IOERR, "a": sqlite3.SQLITE_READONLY}.get(error[0], sqlite3.SQLITE_BUSY)

    def refuse(*_: object, **__: object) -> None:
        raised = sqlite3.OperationalError(error)
        raised.sqlite_errorcode = code
        raise raised

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", refuse)
        check(root, reread=5)
    assert (root / INDEX).read_bytes() == before
    check(root, reread=0)


def test_what_another_one_locks_is_waited_for_once(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(root, reread=5)
    tried: list[str] = []
    connect = sqlite3.connect
    with connect(root / INDEX) as other:
        other.execute("BEGIN EXCLUSIVE")
        with monkeypatch.context() as patch:
            patch.setattr(module, "_PATIENCE", 0.05)
            patch.setattr(
                sqlite3, "connect", lambda place, **how: (tried.append(place), connect(place, **how))[1]
            )
            check(root, reread=5)
    other.close()
    assert [place.rpartition("=")[2] for place in tried] == ["ro", "rw", "ro", "ro"]  # soundness, train, eval
    check(root, reread=0)


def test_python_without_sqlite_reads_the_files(root: Path) -> None:
    program = (
        "import sys; sys.modules['sqlite3'] = None; from pathlib import Path\n"
        "from fvlm_core.runs.listing import list_entries\n"
        "assert len(list_entries(Path(sys.argv[1]))) == 5"
    )
    subprocess.run([sys.executable, "-c", program, str(root)], check=True)
    assert not (root / INDEX).exists()


def test_processes_that_write_at_once_leave_all_that_they_read(root: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from fvlm_core.runs.index import RunIndex\n"
        "index = RunIndex(Path(sys.argv[1]))\n"
        "for number in range(40): index.put('part', [(f'{sys.argv[2]}/{number}', b'stamp', number + 1)])"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", program, str(root), str(number)]) for number in range(3)
    ]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    index = RunIndex(root)
    found = [index.get("part", f"{writer}/{number}", b"stamp") for writer in range(3) for number in range(40)]
    assert found == 3 * [number + 1 for number in range(40)]


def test_runs_that_are_gone_are_forgotten(root: Path) -> None:
    list_entries(root)
    check(root, reread=5)
    shutil.rmtree(root / "recipe1")
    list_entries(root)
    with sqlite3.connect(root / INDEX) as database:
        (table,) = database.execute("SELECT name FROM sqlite_master").fetchone()
        runs = {run for (run,) in database.execute(f"SELECT run FROM {table}")}
    database.close()
    assert runs == {f"{folder.parent.name}/{folder.name}".encode() for folder in root.glob("r*/*")}


def test_an_empty_folder_is_left_empty(tmp_path: Path) -> None:
    assert list_entries(tmp_path) == []
    assert not list(tmp_path.iterdir())


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=st.lists(VALUES, max_size=4), run=st.text(max_size=5), part=st.text(max_size=5))
def test_every_value_comes_back_as_it_was(tmp_path: Path, value: list[Any], run: str, part: str) -> None:
    RunIndex(tmp_path).put(part, [(run, b"stamp", value)])
    found = RunIndex(tmp_path).get(part, run, b"stamp")
    assert (found, json.dumps(found)) == (value, json.dumps(value))
    assert RunIndex(tmp_path).get(part, run, b"other") is None


def test_fits_and_exports_are_those_of_the_files(root: Path) -> None:
    plain = list_runs(root)
    for _ in range(2):  # the second time from what is remembered
        known = [evolve(run, index=RunIndex(root)) for run in plain]
        assert point_rows(known) == point_rows(plain)
        assert from_runs(known, "x").table.equals(from_runs(plain, "x").table)

"""The metrics of many runs in one Parquet file: a cache that can be thrown away, and is made again when it is wrong.

It holds the rows in force of every `metrics.jsonl` of a run store, and for each file its size and time of change when
it was read. A run whose file has another size or time is read again; a cache that is damaged or of another version is
made anew: its index holds a hash of it. Nothing else reads it, and nothing is lost with it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
from attrs import field, frozen

from fvlm_core.runs.metrics import Row, read_metrics
from fvlm_core.utils.atomic_files import read_json, refuse_link, sha256, write_json
from fvlm_core.utils.errors import UsageError

CACHE = Path(".cache") / "metrics.parquet"
"""Inside a run store."""

INDEX = Path(".cache") / "metrics.json"
"""What is in it, by run."""

VERSION = 2
_EXACT = 2**53
"""Whole numbers up to here are exact as floating point."""


@frozen
class _Place:
    """Of one file: size in bytes and time of change in ns when it was read; its first row in the table and its rows."""

    size: int
    changed: int
    first: int
    count: int


@frozen(eq=False)
class MetricsCache:
    """Rows of runs by folder, from a cache that was brought up to date when it was opened (`open_cache`).

    reread: how many runs had to be read from their own files. whole: the table, or the file that holds it.
    """

    places: Mapping[Path, _Place]
    reread: int
    whole: pa.Table | Path
    _columns: dict[str, list[Any]] = field(factory=dict[str, list[Any]])

    def rows(self, folder: Path, event_type: str, columns: Iterable[str]) -> list[Row]:
        """The rows in force of one run and one kind, in order: those of `columns` that have a value."""
        place = self.places[folder]
        of = slice(place.first, place.first + place.count)
        kinds = self._column("event_type")[of]
        wanted = {name: self._column(name)[of] for name in columns}
        return [
            {name: value for name, values in wanted.items() if (value := values[index]) is not None}
            for index, kind in enumerate(kinds)
            if kind == event_type
        ]

    @property
    def columns(self) -> list[str]:
        """Names of the columns that rows of any run have."""
        whole = self.whole
        return pq.read_schema(whole).names if isinstance(whole, Path) else whole.column_names

    def _column(self, name: str) -> list[Any]:
        if name not in self._columns:
            table = self.whole
            if isinstance(table, Path):
                known = name in pq.read_schema(table).names
                table = pq.read_table(table, columns=[name] if known else [])
            total = sum(place.count for place in self.places.values())
            known = name in table.column_names
            self._columns[name] = _values(table.column(name)) if known else [None] * total
        return self._columns[name]


def open_cache(root: Path, folders: Sequence[Path], metrics: str) -> MetricsCache:
    """Bring the cache of the store `root` up to date with the file `metrics` of every run folder, and open it."""
    file = root / CACHE
    now = {folder: _stat(folder / metrics) for folder in folders}
    old = _index(root)
    fresh = {f: p for f, p in old.items() if now.get(f) == (p.size, p.changed)}
    if len(fresh) == len(old) == len(folders):
        return MetricsCache(old, 0, file)
    stale = [folder for folder in folders if folder not in fresh]
    try:
        whole = pq.read_table(file) if fresh else None
        kept = [whole.slice(p.first, p.count) for p in fresh.values()] if whole is not None else []
        table, counts = _table([read_metrics(folder / metrics) for folder in stale])
        table = pa.concat_tables([*kept, table], promote_options="permissive")
    except pa.ArrowException:  # text in a column that held numbers so far
        fresh, stale = {}, list(folders)
        table, counts = _table([read_metrics(folder / metrics) for folder in stale])
    places: dict[Path, _Place] = {}
    first = 0
    for folder, count in zip([*fresh, *stale], [*(p.count for p in fresh.values()), *counts], strict=True):
        places[folder] = _Place(*now[folder], first, count)
        first += count
    _write(table, places, root)
    return MetricsCache(places, len(stale), table)


def _stat(file: Path) -> tuple[int, int]:
    if not file.exists():
        return 0, 0
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


def _index(root: Path) -> dict[Path, _Place]:
    """What the cache holds, by run folder; nothing when it is damaged, old or not there."""
    try:
        about: dict[str, Any] = read_json(root / INDEX)
        if about["version"] != VERSION or about["sha256"] != sha256(root / CACHE):
            return {}
        return {root / name: _Place(*place) for name, place in about["runs"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def _write(table: pa.Table, places: Mapping[Path, _Place], root: Path) -> None:
    """The table, then the index that vouches for it; a store that cannot be written to is read without a cache."""
    runs = {
        str(folder.relative_to(root)): [p.size, p.changed, p.first, p.count] for folder, p in places.items()
    }
    file = root / CACHE
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        refuse_link(file.parent)
        file.parent.mkdir(exist_ok=True)
        pq.write_table(table, temporary, compression="zstd")
        about = {"version": VERSION, "sha256": sha256(temporary), "runs": runs}
        temporary.replace(file)
        write_json(root / INDEX, about)
    except (OSError, UsageError):
        with suppress(OSError):  # a read-only disk refuses that too
            temporary.unlink()


def _table(runs: list[list[Row]]) -> tuple[pa.Table, list[int]]:
    """Rows as columns, and how many of each run."""
    rows = [row for each in runs for row in each]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _array([row.get(name) for row in rows]) for name in names}
    return pa.table(columns), [len(each) for each in runs]


def _array(values: list[Any]) -> pa.Array:
    """Numbers as numbers; everything else, and columns of several kinds, as JSON text."""
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pa.nulls(len(values))
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds <= {int, float} and all(abs(v) <= _EXACT for v in values if isinstance(v, int)):
        return pa.array(values, pa.int64() if kinds == {int} else pa.float64())
    words = {word: json.dumps(word) for word in {value for value in values if isinstance(value, str)}}
    texts = [
        None if value is None else words[value] if isinstance(value, str) else json.dumps(value)
        for value in values
    ]
    return pa.array(texts, pa.string())


def _values(column: pa.ChunkedArray) -> list[Any]:
    """What `_array` was given."""
    if not pa.types.is_string(column.type):
        return column.to_pylist()
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):  # no chunk at all
        return []
    words = [json.loads(text) for text in cast("list[str]", encoded.dictionary.to_pylist())]
    return [None if index is None else words[index] for index in encoded.indices.to_pylist()]

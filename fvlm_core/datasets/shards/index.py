"""Where every sample of a set of shards lies: columns in one Arrow file, mapped into memory and not read.

A million samples open in milliseconds; pages are read when a sample is, and all processes of a machine share them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import pyarrow as pa
from attrs import frozen
from numpy.typing import NDArray

from fvlm_core.utils.data_files import check_data
from fvlm_core.utils.errors import UsageError

Shown = Literal["text", "still", "stills", "frames", "video"]
KINDS: tuple[Shown, ...] = ("text", "still", "stills", "frames", "video")
"""What a sample shows: nothing, one picture, several that are no video, the frames of a clip, a clip to decode."""

SCHEMA = pa.schema(
    [
        ("id", pa.large_string()),
        ("shard", pa.uint32()),
        ("kind", pa.uint8()),
        ("json_start", pa.uint64()),
        ("json_size", pa.uint32()),
        ("starts", pa.large_list(pa.uint64())),
        ("sizes", pa.large_list(pa.uint32())),
        ("times", pa.large_list(pa.float32())),
        ("frames", pa.uint32()),
        ("characters", pa.uint32()),
        ("tokens", pa.uint32()),
        ("content", pa.uint64()),
        ("hashes", pa.large_list(pa.uint64())),
        ("digest", pa.binary(32)),
    ]
)
"""starts, sizes: of each picture in its shard, in bytes; of the clip, if it is one. times: of each frame, in seconds.
frames: how many the sample gives. characters: of its text. tokens: of its text with the chat format, 0 where they
were not counted. content: a hash of the file that it was made from, 0 for text. hashes: perceptual, of some frames.
digest: SHA-256 of its members in the shard, with headers and padding; none where they do not lie together. Packs that
were made before it was kept lack the column."""

_BEFORE_DIGESTS = pa.schema(list(SCHEMA)[:-1])


@frozen
class IndexEntry:
    """One sample's row; see `SCHEMA`."""

    id: str
    shard: int
    kind: Shown
    json_start: int
    json_size: int
    starts: tuple[int, ...] = ()
    sizes: tuple[int, ...] = ()
    times: tuple[float, ...] = ()
    frames: int = 0
    characters: int = 0
    tokens: int = 0
    content: int = 0
    hashes: tuple[int, ...] = ()
    digest: bytes = b""


class Index:
    """The rows of an index file. Picklable: another process maps the file anew."""

    def __init__(self, file: Path) -> None:
        """Map the file. Raises `UsageError` when it is not an index of this layout.

        hashed: whether it has the digest of each sample.
        """
        self.file = file
        self._open()

    def _open(self) -> None:
        try:
            check_data(self.file)
            with pa.memory_map(str(self.file), "r") as source:
                table = pa.ipc.open_file(source).read_all()
        except (pa.ArrowException, OSError) as error:
            raise UsageError(f"{self.file}: not the index of shards: {error}") from error
        if table.schema.remove_metadata() not in (SCHEMA, _BEFORE_DIGESTS):
            raise UsageError(
                f"{self.file}: an index of another layout; pack again, or use the fvlm that wrote it"
            )
        table = table.combine_chunks()  # one chunk already, as written here: nothing is copied
        self.hashed = "digest" in table.column_names
        self._columns: dict[str, Any] = {}
        self._lists: dict[str, tuple[NDArray[Any], NDArray[Any]]] = {}
        for name in table.column_names:
            column = table.column(name)
            array: Any = column.chunk(0) if column.num_chunks else pa.array([], column.type)
            if isinstance(array, pa.LargeListArray):
                self._lists[name] = (array.offsets.to_numpy(), array.values.to_numpy())
            else:
                self._columns[name] = array if name in ("id", "digest") else array.to_numpy()
        self._rows = table.num_rows

    def __getstate__(self) -> Path:
        return self.file

    def __setstate__(self, state: Path) -> None:
        self.file = state
        self._open()

    def __len__(self) -> int:
        return self._rows

    def __getitem__(self, row: int) -> IndexEntry:
        if not 0 <= row < self._rows:
            raise IndexError(row)
        values: dict[str, Any] = {name: int(self._columns[name][row]) for name in _PLAIN}
        values |= {name: self._list(name, row) for name in self._lists}
        name, kind = self._columns["id"][row].as_py(), KINDS[int(self._columns["kind"][row])]
        digest = (self._columns["digest"][row].as_py() or b"") if self.hashed else b""
        return IndexEntry(id=name, kind=kind, digest=digest, **values)

    def column(self, name: str) -> NDArray[Any]:
        """A column of numbers, [N], without reading the others."""
        return cast(NDArray[Any], self._columns[name])

    def id(self, row: int) -> str:
        """The id of a row."""
        return self._columns["id"][row].as_py()

    def ids(self) -> Iterator[str]:
        """Every id, in order."""
        for value in self._columns["id"]:
            yield value.as_py()

    def lists(self, name: str) -> tuple[NDArray[Any], NDArray[Any]]:
        """A column of lists: where each row's begins [N + 1], and all values."""
        return self._lists[name]

    def _list(self, name: str, row: int) -> tuple[Any, ...]:
        offsets, values = self._lists[name]
        return tuple(values[offsets[row] : offsets[row + 1]].tolist())


_PLAIN = tuple(
    field.name
    for field in SCHEMA
    if field.name not in ("id", "kind", "digest") and not pa.types.is_large_list(field.type)
)


def write_index(file: Path, entries: Iterable[IndexEntry]) -> None:
    """Write rows as one chunk, so that reading maps them as they are. The same rows give the same bytes."""
    rows = list(entries)
    columns: list[Any] = []
    for field in SCHEMA:
        if field.name == "kind":
            values: Sequence[Any] = [KINDS.index(row.kind) for row in rows]
        else:
            values = [getattr(row, field.name) for row in rows]
        if field.name == "digest":
            values = [digest or None for digest in values]
        columns.append(pa.array(values, field.type))
    _write(file, pa.table(columns, schema=SCHEMA))


def join_indexes(file: Path, parts: Sequence[Path]) -> None:
    """Write the rows of several index files as one."""
    tables: list[pa.Table] = []
    for part in parts:
        with pa.memory_map(str(part), "r") as source:
            tables.append(pa.ipc.open_file(source).read_all())
    _write(file, pa.concat_tables(tables) if tables else SCHEMA.empty_table())


def _write(file: Path, table: pa.Table) -> None:
    whole = table.combine_chunks()
    with pa.OSFile(str(file), "wb") as out, pa.ipc.new_file(out, SCHEMA) as writer:
        writer.write_table(whole)

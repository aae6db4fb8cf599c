"""Rows of Parquet files by number: one row group is in memory at a time, whatever the size of the files."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from attrs import field, frozen
from numpy.typing import NDArray

from fvlm_core.datasets.sources.rows import Record
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.utils.data_files import NotData, check_data
from fvlm_core.utils.errors import Problem, Problems
from fvlm_core.utils.listing import listed

BATCH = 64
"""Rows turned into Python values at a time while a table is gone through: 64 pictures of 4 MB are 256 MB."""

MAX_GROUP = 512 << 20
"""Largest row group that is read, in bytes of the columns that are wanted: it is read whole, and one large value in it
takes three times its size while it is unpacked."""

MAX_RECORD = 256 << 20
"""Largest row that is turned into Python values, in bytes: several pictures."""

_KEPT = 2
"""Row groups kept in memory, as long as together they are no larger than one may be."""

_BROKEN = (OSError, ValueError, OverflowError, MemoryError, NotImplementedError, pa.ArrowException)
"""What Arrow raises for what is damaged, or larger than it says."""


@frozen(eq=False)
class Parquet:
    """Parquet files as one table. columns: those that are read. firsts: the first row of each row group, and the end.
    groups: (file, group) of each. file_firsts: the first row of each file.

    Raises `Problems` for files that cannot be read and for those that lack a column.
    """

    files: tuple[Path, ...]
    columns: tuple[str, ...]
    firsts: NDArray[np.int64] = field(init=False)
    groups: tuple[tuple[int, int], ...] = field(init=False)
    file_firsts: tuple[int, ...] = field(init=False)

    def __attrs_post_init__(self) -> None:
        sizes: list[int] = [0]
        groups: list[tuple[int, int]] = []
        file_firsts: list[int] = []
        problems: list[Problem] = []
        for number, file in enumerate(self.files):
            file_firsts.append(sum(sizes))
            try:
                check_data(file)
                opened = pq.ParquetFile(file)
            except NotData as error:
                problems.append(Problem(error.reason, str(file)))
                continue
            except _BROKEN as error:
                text = f"no Parquet file, or cut short; fetch it again: {_first_line(error)}"
                problems.append(Problem(text, str(file)))
                continue
            names = opened.schema_arrow.names
            absent = [name for name in self.columns if name not in names]
            problems += [Problem(f'no column "{name}" among {listed(names)}', str(file)) for name in absent]
            for group in range(opened.metadata.num_row_groups):
                groups.append((number, group))
                sizes.append(opened.metadata.row_group(group).num_rows)
        if problems:
            raise Problems(problems)
        object.__setattr__(self, "firsts", np.cumsum(sizes))
        object.__setattr__(self, "groups", tuple(groups))
        object.__setattr__(self, "file_firsts", tuple(file_firsts))

    def __len__(self) -> int:
        return int(self.firsts[-1])

    def place(self, row: int) -> tuple[Path, int]:
        """The file of a row, and its number in it, from 0."""
        group = int(np.searchsorted(self.firsts, row, side="right")) - 1
        file = self.groups[group][0]
        return self.files[file], row - self.file_firsts[file]

    def row(self, row: int) -> Record:
        """A row. Raises `BadSample` when the file is damaged there, or the row or its group too large to be read."""
        group = int(np.searchsorted(self.firsts, row, side="right")) - 1
        file, number = self.groups[group]
        try:
            table = _group(str(self.files[file]), number, self.columns)
            record = table.slice(row - int(self.firsts[group]), 1)
            if reason := _too_large(record):
                raise ValueError(reason)
            return record.to_pylist()[0]
        except (*_BROKEN, IndexError) as error:
            path, place = self.place(row)
            raise BadSample(path, f"row {place} cannot be read: {_first_line(error)}") from error

    def records(self, also: Callable[[str], bool] | None = None) -> Iterator[tuple[int, Record | str]]:
        """Every row with its number, in order; why not, for one that cannot be read.

        also: which columns beyond `columns` are read, where a file has them.

        Raises `Problems` for a damaged file.
        """
        row = 0
        for file in self.files:
            try:
                with pq.ParquetFile(file) as opened:
                    others = filter(also, opened.schema_arrow.names) if also else ()
                    columns = list(dict.fromkeys((*self.columns, *others)))
                    for group in range(opened.metadata.num_row_groups):
                        if reason := _group_too_large(opened, group, columns):
                            for _ in range(opened.metadata.row_group(group).num_rows):
                                yield row, reason
                                row += 1
                            continue
                        for batch in opened.iter_batches(
                            BATCH, row_groups=[group], columns=columns, use_threads=False
                        ):
                            for record in _records(batch):
                                yield row, record
                                row += 1
            except _BROKEN as error:
                raise Problems(
                    [Problem(f"corrupt; fetch it again: {_first_line(error)}", str(file))]
                ) from error


def _records(batch: Any) -> Iterator[Record | str]:
    if not _too_large(batch):
        try:
            yield from batch.to_pylist()
            return
        except (UnicodeDecodeError, ValueError, OverflowError):
            pass
    for place in range(len(batch)):  # one by one, so that a bad row hides no other
        row = batch.slice(place, 1)
        try:
            yield _too_large(row) or row.to_pylist()[0]
        except UnicodeDecodeError:
            yield "not UTF-8 text"
        except (ValueError, OverflowError) as error:
            yield f"cannot be read: {_first_line(error)}"


def _too_large(rows: Any) -> str:
    """Why rows are not turned into Python values, or nothing."""
    size = rows.nbytes
    return f"{size:,} bytes, where at most {MAX_RECORD:,} of one row are read" if size > MAX_RECORD else ""


def _group_too_large(opened: pq.ParquetFile, group: int, columns: Sequence[str]) -> str:
    """Why a row group is not read, or nothing."""
    of_group = opened.metadata.row_group(group)
    if (
        of_group.total_byte_size <= MAX_GROUP
    ):  # of a damaged file pyarrow ends the process when asked for a column
        return ""
    parts = (of_group.column(place) for place in range(of_group.num_columns))
    size = sum(part.total_uncompressed_size for part in parts if part.path_in_schema.split(".")[0] in columns)
    if size <= MAX_GROUP:
        return ""
    return (
        f"in a row group of {size:,} bytes, where at most {MAX_GROUP:,} are read at once: write the table again with "
        "fewer rows in a group (pyarrow.parquet.write_table(table, FILE, row_group_size=100))"
    )


_kept: OrderedDict[tuple[str, int, tuple[str, ...]], pa.Table] = OrderedDict()


def _group(file: str, group: int, columns: tuple[str, ...]) -> pa.Table:
    """A row group; the last ones are kept. Raises ValueError for one that is too large."""
    key = (file, group, columns)
    if key in _kept:
        _kept.move_to_end(key)
        return _kept[key]
    with pq.ParquetFile(file) as opened:
        if reason := _group_too_large(opened, group, columns):
            raise ValueError(reason)
        size = opened.metadata.row_group(group).total_byte_size
        while _kept and (len(_kept) >= _KEPT or size + sum(one.nbytes for one in _kept.values()) > MAX_GROUP):
            _kept.popitem(last=False)
        _kept[key] = opened.read_row_group(group, columns=list(columns), use_threads=False)
    return _kept[key]


def _first_line(error: Exception) -> Any:
    return str(error).splitlines()[0] if str(error) else type(error).__name__

"""Rows of Parquet files by number: one row group is in memory at a time, whatever the size of the files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from attrs import field, frozen
from numpy.typing import NDArray

from fvlm_core.data.bad import BadSample
from fvlm_core.data.regular import NotData, check_data
from fvlm_core.errors import Problem, Problems
from fvlm_core.listed import listed
from fvlm_core.sources.rows import Record

BATCH = 64
"""Rows turned into Python values at a time while a table is gone through: 64 pictures of 4 MB are 256 MB."""

MAX_GROUP = 2 << 30
"""Largest row group that is read, in bytes: it is read whole, and held in memory."""

_KEPT = 2
"""Row groups kept in memory."""


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
                problems.append(Problem(error.strerror, str(file)))
                continue
            except (OSError, ValueError) as error:  # pa.ArrowInvalid is a ValueError
                text = f"no Parquet file, or cut short; fetch it again: {_first_line(error)}"
                problems.append(Problem(text, str(file)))
                continue
            names = opened.schema_arrow.names
            absent = [name for name in self.columns if name not in names]
            problems += [Problem(f'no column "{name}" among {listed(names)}', str(file)) for name in absent]
            metadata = opened.metadata
            for group in range(metadata.num_row_groups):
                of_group = metadata.row_group(group)
                if of_group.total_byte_size > MAX_GROUP:
                    text = f"a row group of {of_group.total_byte_size:,} bytes, where {MAX_GROUP:,} are read"
                    problems.append(Problem(text, str(file)))
                groups.append((number, group))
                sizes.append(of_group.num_rows)
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
        """A row. Raises `BadSample` when the file is damaged there."""
        group = int(np.searchsorted(self.firsts, row, side="right")) - 1
        file, number = self.groups[group]
        try:
            table = _group(str(self.files[file]), number, self.columns)
            return table.slice(row - int(self.firsts[group]), 1).to_pylist()[0]
        except (OSError, ValueError, IndexError) as error:
            path, place = self.place(row)
            raise BadSample(path, f"row {place} cannot be read: {_first_line(error)}") from error

    def records(self, also: Callable[[str], bool] | None = None) -> Iterator[tuple[int, Record | None]]:
        """Every row with its number, in order; None for one whose text is not UTF-8.

        also: which columns beyond `columns` are read, where a file has them.

        Raises `Problems` for a damaged file.
        """
        row = 0
        for file in self.files:
            try:
                with pq.ParquetFile(file) as opened:
                    others = filter(also, opened.schema_arrow.names) if also else ()
                    columns = list(dict.fromkeys((*self.columns, *others)))
                    for batch in opened.iter_batches(BATCH, columns=columns, use_threads=False):
                        for record in _records(batch):
                            yield row, record
                            row += 1
            except (OSError, pa.ArrowInvalid) as error:
                raise Problems(
                    [Problem(f"corrupt; fetch it again: {_first_line(error)}", str(file))]
                ) from error


def _records(batch: Any) -> Iterator[Record | None]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for row in range(len(batch)):  # one by one, so that a bad row hides no other
            try:
                yield batch.slice(row, 1).to_pylist()[0]
            except UnicodeDecodeError:
                yield None


@lru_cache(maxsize=_KEPT)
def _group(file: str, group: int, columns: Sequence[str]) -> pa.Table:
    with pq.ParquetFile(file) as opened:
        return opened.read_row_group(group, columns=list(columns), use_threads=False)


def _first_line(error: Exception) -> Any:
    return str(error).splitlines()[0] if str(error) else type(error).__name__

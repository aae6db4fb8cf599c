"""Tables in Parquet files, read by their types: what is no number or label is refused by the name of its type."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fvlm_core.scaling.points.dialect import Decimal
from fvlm_core.scaling.points.table_reader import Cells, Place, Sheet
from fvlm_core.utils.errors import Problem, Problems, UsageError

LARGEST = 512 << 20
"""Bytes of one column of texts in one row group."""


class ParquetSheet(Sheet):
    """A Parquet file."""

    def __init__(self, file: Path, decimal: Decimal = "") -> None:
        """Raises `UsageError` for a file that is no Parquet."""
        super().__init__(file, decimal)
        with _explained(file):
            self._types: Any = pq.read_schema(self._opened())
        self.headers = list(self._types.names)

    def _opened(self) -> Any:
        """What pyarrow reads."""
        return self.file

    def read(self, numbers: Sequence[str], labels: Sequence[str] = (), others: Sequence[str] = ()) -> Cells:
        """The columns under these headers."""
        types = dict(zip(self.headers, self._types.types, strict=True))
        problems = [
            Problem(f"expected {expected}, got a column of {types[header]}", str(self.file), None, header)
            for headers, fits, expected in (
                (numbers, _holds_numbers, "numbers"),
                (labels, _is_label, "labels"),
            )
            for header in headers
            if not fits(types[header])
        ]
        if problems:
            raise Problems(problems)
        others = [header for header in others if _is_label(types[header])]
        wanted = list(dict.fromkeys([*numbers, *labels, *others]))
        with _explained(self.file), pq.ParquetFile(self._opened()) as table:
            self._refuse_long(table, [*labels, *others])
            columns = table.read(columns=wanted)
            cells = Cells(columns.num_rows)
            for header in numbers:
                cells.numbers[header], cells.wrong[header] = self._numbers(columns[header])
            cells.labels = {header: _read(columns[header]) for header in labels}
            cells.others = {header: _read(columns[header]) for header in others}
        return cells

    def places(self, rows: Sequence[int], header: str) -> list[tuple[Place, str]]:
        """Row numbers, from 1, and the values there."""
        with pq.ParquetFile(self._opened()) as table:
            values = table.read(columns=[header]).column(0).take(rows).to_pylist()
        return [
            ((None, f"row {row + 1}"), self._written(value)) for row, value in zip(rows, values, strict=True)
        ]

    def _written(self, value: Any) -> str:
        if isinstance(value, str):
            return f'"{value}"{self.dialect.way_out(value)}'
        return "null" if value is None else str(value)

    def _refuse_long(self, table: pq.ParquetFile, headers: Sequence[str]) -> None:
        """Raise `Problems` for texts that would fill the memory, and are no labels."""
        problems: list[Problem] = []
        for group in range(table.metadata.num_row_groups):
            of_group = table.metadata.row_group(group)
            if of_group.total_byte_size <= LARGEST:
                continue  # of a damaged file pyarrow ends the process when it is asked for a column's own
            for part in map(of_group.column, range(of_group.num_columns)):
                if part.path_in_schema in headers and part.total_uncompressed_size > LARGEST:
                    text = f"{part.total_uncompressed_size:,} bytes in row group {group}, where {LARGEST:,} are read"
                    problems.append(Problem(text, str(self.file), None, part.path_in_schema))
        if problems:
            raise Problems(problems)

    def _numbers(self, column: Any) -> tuple[Any, Any]:
        """Numbers, and which cells are something else: texts as the cells of a CSV file."""
        if _is_number(column.type):
            return _floats(column), np.zeros(len(column), bool)
        return self.dialect.numbers_of_texts(column.to_pylist())


class FrameSheet(ParquetSheet):
    """A table of pandas: read by its types, as what it would be in a Parquet file."""

    def __init__(self, table: pd.DataFrame, name: str, decimal: Decimal = "") -> None:
        """name: what messages call it. Raises `UsageError` for columns that no Parquet file can hold."""
        # A level that is named like a column is that column: `set_index("N", drop=False)`.
        named = [name for name in table.index.names if name is not None and name not in table.columns]
        whole = table.reset_index(level=named) if named else table
        with _explained(Path(name)):
            whole = whole.set_axis([str(column) for column in whole.columns], axis="columns")
            self._bytes = pa.BufferOutputStream()
            pq.write_table(pa.Table.from_pandas(whole, preserve_index=False), self._bytes)
        super().__init__(Path(name), decimal)

    def _opened(self) -> Any:
        return pa.BufferReader(self._bytes.getvalue())


def _holds_numbers(of: Any) -> bool:
    return _is_number(of) or _is_text(of)


def _is_number(of: Any) -> bool:
    return (
        pa.types.is_integer(of) or pa.types.is_floating(of) or pa.types.is_decimal(of) or pa.types.is_null(of)
    )


def _is_label(of: Any) -> bool:
    of = of.value_type if pa.types.is_dictionary(of) else of
    return _holds_numbers(of) or pa.types.is_boolean(of)


def _is_text(of: Any) -> bool:
    of = of.value_type if pa.types.is_dictionary(of) else of
    return pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_string_view(of)


def _read(column: Any) -> Any:
    return _floats(column) if _is_number(column.type) else _categories(column)


def _floats(column: Any) -> Any:
    return column.cast(pa.float64(), safe=False).to_numpy()


def _categories(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    coded = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy()
    return pd.Categorical.from_codes(codes, categories=pd.Index(coded.dictionary.to_pylist(), dtype=object))


@contextmanager
def _explained(file: Path) -> Generator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, MemoryError, OverflowError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"{file}: not readable as Parquet: {reason}") from None

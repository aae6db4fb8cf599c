"""Tables in Parquet files, read by their types: what is no number or label is refused by the name of its type."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fvlm_core.interfaces.fit import LRCurve
from fvlm_core.scaling.points.dialect import Decimal, Dialect
from fvlm_core.scaling.points.table_reader import AT_ONCE, Chunk, Place
from fvlm_core.utils.errors import Problem, Problems, UsageError

LARGEST = 512 << 20
"""Bytes of one column of texts in one row group."""


class ParquetSheet:
    """A Parquet file. See `Sheet`."""

    def __init__(self, file: Path, decimal: Decimal = "") -> None:
        """decimal: the mark of decimals in texts. Raises `UsageError` for a file that is no Parquet."""
        self.file = file
        self.line: int | None = None
        self.kinds: Mapping[str, str] = {}
        self.curves: Mapping[str, LRCurve] = {}
        self.said = self.advice = ""
        self._dialect = Dialect("utf-8", decimal=decimal or ".", told=bool(decimal))
        with _explained(file):
            self._types: Any = pq.read_schema(file)
        self.headers = list(self._types.names)

    def chunks(
        self, numbers: Sequence[str], labels: Sequence[str], others: Sequence[str] = ()
    ) -> Iterator[Chunk]:
        """The columns under these headers, some rows at a time."""
        problems = [
            self._problem(header, "numbers")
            for header in numbers
            if not (_is_number(self._type(header)) or _is_text(self._type(header)))
        ]
        problems += [
            self._problem(header, "labels") for header in labels if not _is_label(self._type(header))
        ]
        if problems:
            raise Problems(problems)
        others = [header for header in others if _is_label(self._type(header))]
        wanted = list(dict.fromkeys([*numbers, *labels, *others]))
        with _explained(self.file), pq.ParquetFile(self.file) as table:
            self._refuse_long(table, [*labels, *others])
            for batch in table.iter_batches(AT_ONCE, columns=wanted):
                chunk = Chunk(batch.num_rows)
                for header in numbers:
                    chunk.numbers[header], chunk.wrong[header] = self._numbers(batch.column(header))
                chunk.labels = {header: _read(batch.column(header)) for header in labels}
                chunk.others = {header: _read(batch.column(header)) for header in others}
                yield chunk

    def places(self, rows: Sequence[int], header: str) -> list[tuple[Place, str]]:
        """Row numbers, from 1, and the values there."""
        with pq.ParquetFile(self.file) as table:
            column = table.read(columns=[header]).column(0)
        values = [column[row].as_py() for row in rows]
        return [
            (
                (None, f"row {row + 1}"),
                f'"{value}"{self._dialect.way_out(value)}'
                if isinstance(value, str)
                else "null"
                if value is None
                else str(value),
            )
            for row, value in zip(rows, values, strict=True)
        ]

    def _refuse_long(self, table: pq.ParquetFile, headers: Sequence[str]) -> None:
        """Raise `Problems` for texts that would fill the memory, and are no labels."""
        problems: list[Problem] = []
        for group in range(table.metadata.num_row_groups):
            of_group = table.metadata.row_group(group)
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
        texts = pd.Series(column.to_pylist(), dtype=object)
        return self._dialect.numbers(texts.str.strip().replace("", None))

    def _type(self, header: str) -> Any:
        return self._types.field(self.headers.index(header)).type

    def _problem(self, header: str, expected: str) -> Problem:
        return Problem(
            f"expected {expected}, got a column of {self._type(header)}", str(self.file), None, header
        )


def _is_number(of: Any) -> bool:
    return (
        pa.types.is_integer(of) or pa.types.is_floating(of) or pa.types.is_decimal(of) or pa.types.is_null(of)
    )


def _is_label(of: Any) -> bool:
    if pa.types.is_dictionary(of):
        of = of.value_type
    return _is_text(of) or _is_number(of) or pa.types.is_boolean(of)


def _is_text(of: Any) -> bool:
    if pa.types.is_dictionary(of):
        of = of.value_type
    return pa.types.is_string(of) or pa.types.is_large_string(of) or pa.types.is_string_view(of)


def _read(column: Any) -> Any:
    return _floats(column) if _is_number(column.type) else _categories(column)


def _floats(column: Any) -> Any:
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _categories(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    coded = column.cast(pa.large_string()).dictionary_encode()
    codes = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return pd.Categorical.from_codes(codes, categories=pd.Index(coded.dictionary.to_pylist(), dtype=object))


@contextmanager
def _explained(file: Path) -> Generator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, MemoryError, OverflowError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"{file}: not readable as Parquet: {reason}") from None

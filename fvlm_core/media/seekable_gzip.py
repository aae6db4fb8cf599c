"""Gzip files read from any place: an index of restart points, made once and kept in the cache."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import indexed_gzip

from fvlm_core.utils.data_files import check_data
from fvlm_core.utils.disk_cache import state, state_key
from fvlm_core.utils.paths import cache_folder

SPACING = 8 << 20
"""Unpacked bytes between restart points: each costs 32 KB of index (20 MB for 5 GB) and, on average, the unpacking of
half of them before a read (20 ms)."""

_BUFFER = 1 << 16


def open_gz(path: Path) -> IO[bytes]:
    """A gzip file, unpacked, for reading at any place; shared by whoever asks in this process.

    Reading raises OSError or ValueError where the file is damaged.
    """
    check_data(path)
    return _opened(str(path), state(path))


def save_index(path: Path) -> None:
    """Keep the restart points found so far, for the next process. Call it once the whole file was read."""
    file: Any = open_gz(path)
    index = index_file(path)
    index.parent.mkdir(parents=True, exist_ok=True)
    temporary = index.with_name(f".{index.name}.{os.getpid()}")
    file.export_index(str(temporary))
    temporary.rename(index)


def index_file(path: Path) -> Path:
    """Where the restart points of a gzip file are kept."""
    return cache_folder("gzip") / f"{state_key([path], SPACING)}.gzidx"


@lru_cache(maxsize=64)
def _opened(path: str, _: tuple[int, int]) -> Any:
    index = index_file(Path(path))
    options = {"index_file": str(index)} if index.is_file() else {}
    return indexed_gzip.IndexedGzipFile(
        path, spacing=SPACING, drop_handles=True, buffer_size=_BUFFER, **options
    )

"""Opening a file that may be anything: a pipe to wait for, a device without end, a folder, more than memory holds."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def open_regular(file: Path, most: int) -> BinaryIO:
    """A regular file of at most `most` bytes, opened for reading. Waits for nobody, as a pipe would.

    Raises `OSError` where there is none, or a folder; `ValueError` for what is no regular file, or is larger.
    """
    check_regular(os.stat(file), file)  # before it is opened: to open a device can do something
    handle = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        found = os.fstat(handle)
        check_regular(found, file)
        if found.st_size > most:
            raise ValueError(f"{found.st_size:,} bytes; at most {most:,} are read")
    except (OSError, ValueError):
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def check_regular(found: os.stat_result, file: Path) -> None:
    """Raise `IsADirectoryError` for a folder, and `ValueError` for whatever else is no file."""
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
    if kind != stat.S_IFREG:
        raise ValueError(f"{_KINDS.get(kind, 'something else')}, not a file")

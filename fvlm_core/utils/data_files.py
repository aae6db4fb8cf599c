"""The one way to open a file of data: regular, inside its folder where it belongs to one, no longer than is read.

A name in a download may be a link to something private, a pipe that never speaks, a device without an end, or a file
that would fill the memory. What is refused is named with its reason.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import BinaryIO

from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.regular_files import check_regular, open_regular

NOTES = 64 << 20
"""Largest file that is read whole because it says something about others, in bytes."""


class NotData(UsageError, OSError):
    """A file that is not opened, and why (`strerror`): an error of reading to whoever passes over bad samples."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.reason}"

    @property
    def reason(self) -> str:
        """`strerror`, which is always there."""
        return self.strerror or ""


def check_data(path: Path, *, inside: Path | None = None, limit: int | None = None) -> None:
    """For what is opened by name elsewhere. Raises `NotData` for all but a regular file of at most `limit` bytes, and
    for one that lies outside of `inside` once links are followed; OSError where there is none."""
    open_data(path, inside=inside, limit=limit).close()


def unreadable(path: Path) -> str:
    """Why a file is not opened, in words; nothing where it is."""
    try:
        check_data(path)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def open_data(path: Path, *, inside: Path | None = None, limit: int | None = None) -> BinaryIO:
    """A file for reading. Raises as `check_data`."""
    try:
        check_regular(os.stat(path), path)
        if inside is not None and leads_out(path, inside.resolve()):
            raise ValueError(f"a link that leads out of {inside}, which is not followed")
        return open_regular(path, sys.maxsize if limit is None else limit)
    except IsADirectoryError:
        raise NotData(errno.EISDIR, "a folder, not a file", str(path)) from None
    except ValueError as error:
        raise NotData(errno.EINVAL, str(error), str(path)) from None
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise NotData(errno.ELOOP, "links that go in circles", str(path)) from None


def data_handle(path: Path) -> int:
    """As `open_data`, the number of the open file."""
    with open_data(path) as file:
        return os.dup(file.fileno())


def read_data(path: Path, limit: int, *, inside: Path | None = None) -> bytes:
    """All of a file. Raises as `check_data`."""
    with open_data(path, inside=inside, limit=limit) as file:
        return file.read(limit)


def leads_out(path: Path, root: Path) -> bool:
    """Whether a file lies outside of a folder once its links are followed. root: without links itself.

    In a cache of the Hugging Face hub (`snapshots/REVISION/...`), every file is a link to the `blobs` of the same
    repository: they belong to it, wherever below a revision the folder begins.
    """
    target = Path(os.path.realpath(path))  # of links in circles, one of them
    if target.is_relative_to(root):
        return False
    revisions = (folder for folder in (root, *root.parents) if folder.parent.name == "snapshots")
    return not any(target.parent == revision.parent.parent / "blobs" for revision in revisions)

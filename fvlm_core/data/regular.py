"""The one way to open a file of data: regular, inside its folder where it belongs to one, no longer than is read.

A name in a download may be a link to something private, a pipe that never speaks, a device without an end, or a file
that would fill the memory. What is refused is named with its reason.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO

from fvlm_core.errors import UsageError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

NOTES = 64 << 20
"""Largest file that is read whole because it says something about others, in bytes."""


class NotData(UsageError, OSError):
    """A file that is not opened, and why (`strerror`): an error of reading to whoever passes over bad samples."""

    def __str__(self) -> str:
        return f"{self.filename}: {self.strerror}"


def check_data(path: Path, *, inside: Path | None = None, limit: int | None = None) -> None:
    """For what is opened by name elsewhere. Raises `NotData` for all but a regular file of at most `limit` bytes, and
    for one that lies outside of `inside` once links are followed; OSError where there is none."""
    try:
        status = os.stat(path)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise NotData(errno.ELOOP, "links that go in circles", str(path)) from None
    if inside is not None and leads_out(path, inside.resolve()):
        raise NotData(errno.EPERM, f"a link that leads out of {inside}, which is not followed", str(path))
    _check(path, status, limit)


def unreadable(path: Path) -> str:
    """Why a file is not opened, in words; nothing where it is."""
    try:
        check_data(path)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def open_data(path: Path, *, inside: Path | None = None, limit: int | None = None) -> BinaryIO:
    """A file for reading. Raises as `check_data`."""
    return os.fdopen(data_handle(path, inside=inside, limit=limit), "rb")


def data_handle(path: Path, *, inside: Path | None = None, limit: int | None = None) -> int:
    """As `open_data`, the number of the open file."""
    check_data(path, inside=inside, limit=limit)
    handle = os.open(
        path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    )  # a pipe put there since then waits for nobody
    try:
        _check(path, os.fstat(handle), limit)
    except BaseException:
        os.close(handle)
        raise
    return handle


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


def _check(path: Path, status: os.stat_result, limit: int | None) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = next((words for holds, words in _KINDS if holds(status.st_mode)), "something special")
        raise NotData(errno.EINVAL, f"{kind}, not a file", str(path))
    if limit is not None and status.st_size > limit:
        text = f"{status.st_size:,} bytes, where at most {limit:,} are read"
        raise NotData(errno.EFBIG, text, str(path))

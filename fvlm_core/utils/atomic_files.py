"""Files that are whole or absent: written beside, synced, renamed; and read as what they are said to be.

A run's folder may come from anywhere. Whatever stands under the name of one of its files, reading it does not wait and
does not fill the memory, and ends in a value or in an error; writing it follows no link.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.regular_files import check_regular, open_regular

LARGEST = 64 * 2**20
"""Bytes of one JSON file of a run's folder; a summary with a thousand bad samples has some hundred thousand."""

LARGEST_ROWS = 2**30
"""Bytes of a file of one JSON object a line; a million training rows have about half as many."""

LONGEST_ROW = 2**20
"""Bytes of one such line."""

_LOOKS = 10
"""At a file that another machine replaces while it is read: NFS 3 then loses it, and finds the new one by its name."""

_WIDE = re.compile(rb"\d{19}")
"""Digits that may be a whole number of more than 64 bits."""


def open_to_append(file: Path) -> BinaryIO:
    """A file of a run's folder, opened to write at its end, unbuffered; made where there is none.

    Raises `UsageError` for a link, which would lead elsewhere, and for what is no regular file.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        handle = os.open(file, flags, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # a link; a pipe that nobody reads
            raise UsageError(
                f"{file}: a link or a pipe, and no file: nothing is written there. Remove it"
            ) from None
        raise
    try:
        check_regular(os.fstat(handle), file)
    except ValueError as error:
        os.close(handle)
        raise UsageError(f"{file}: {error}: nothing is written there. Remove it") from None
    return os.fdopen(handle, "ab", buffering=0)


def read_json(file: Path) -> Any:
    """Read a JSON file, with or without a byte order mark. Raises as `open_regular` and `parse_json`."""
    for further in reversed(range(_LOOKS)):
        try:
            with open_regular(file, LARGEST) as handle:
                text = handle.read(LARGEST + 1)
        except OSError as error:
            if error.errno == errno.ESTALE and further:
                continue
            raise
        return parse_json(text)
    raise AssertionError


def read_rows(file: Path, skip: bytes = b"") -> Iterator[tuple[int, Any]]:
    """Number and value of every line of a file of one JSON value a line; torn ones are left out.

    skip: bytes of lines that are not wanted. Raises as `open_regular`, and `ValueError` for a line that is whole and no
    value, or without end.
    """
    if not file.exists():
        return
    with open_regular(file, LARGEST_ROWS) as handle:
        number = 0
        while line := handle.readline(LONGEST_ROW):
            number += 1
            if len(line) == LONGEST_ROW:
                raise ValueError(f"line {number}: longer than {LONGEST_ROW:,} bytes")
            if skip and skip in line:
                continue
            try:
                yield number, parse_json(line)
            except (json.JSONDecodeError, UnicodeDecodeError):
                continue  # torn by a kill; the attempt after it wrote the row again
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None


def ends_torn(file: Path) -> bool:
    """Whether a kill tore the last line of such a file: what is appended begins with a newline then."""
    if not file.exists() or file.stat().st_size == 0:
        return False
    with open_regular(file, LARGEST_ROWS) as handle:
        handle.seek(-1, os.SEEK_END)
        return handle.read(1) != b"\n"


def parse_json(text: bytes) -> Any:
    """A value from JSON of finite numbers, whole ones of at most 64 bits. Raises `ValueError` for what is nothing such,
    or nested without end."""
    try:
        if _WIDE.search(text):
            return json.loads(text, parse_constant=_no_number, parse_int=_whole)
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested deeper than anything that was written here") from None


def _whole(text: str) -> int:
    if len(text) > 20 or not -(2**63) <= (number := int(text)) < 2**64:
        raise ValueError(f"a whole number of {len(text)} digits")
    return number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def write_text(file: Path, text: str) -> None:
    """Write UTF-8 so that a kill at any moment leaves the old file or the new one.

    A link stays one. What is no file (`/dev/null`, a pipe) is written to and never replaced.
    """
    if file.exists() and not file.is_file():
        with file.open("w", encoding="utf-8") as out:
            out.write(text)
        return
    _replace(file.resolve(), text)


def _replace(file: Path, text: str) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with temporary.open("x", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(file)


def write_json(file: Path, value: Any) -> None:
    """Write JSON whole or not at all, in place of whatever stands there: a link is replaced and not followed."""
    _replace(file, json_text(value))


def json_text(value: Any) -> str:
    """JSON as it is written here: finite numbers only."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def refuse_link(*folders: Path) -> None:
    """Raise `UsageError` for a folder of a store that is a link: nothing of ours is written, moved or removed elsewhere
    because of one."""
    for folder in folders:
        if folder.is_symlink():
            raise UsageError(
                f"{folder} is a link to {os.path.realpath(folder)}: nothing is written, moved or removed through it. "
                "Remove the link, or give the store that it leads to with --runs DIR"
            )


def usual_modes(folder: Path) -> None:
    """Give the files of a folder the mode that a new file gets there (umask): safetensors makes its own through a
    private temporary file, which nobody else could read."""
    probe = folder / f".mode.{os.getpid()}"
    probe.touch()
    mode = probe.stat().st_mode & 0o777
    probe.unlink()
    for file in folder.iterdir():
        if file.is_file():
            file.chmod(mode)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def empty_folder(folder: Path) -> None:
    """Check that `folder` can be written without touching anything: not there yet, or empty. Raises `UsageError`."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there and not empty; give another folder with --to DIR, or remove it")

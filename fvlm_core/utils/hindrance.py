"""What the surroundings hinder (permissions, a read-only disk, no home), told with the option or variable to set."""

from __future__ import annotations

import errno
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

given: dict[Path, str] = {}
"""The paths that a command was given, with the words that give another: "--runs DIR (or FVLM_RUNS)"."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_PLACE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG),
    *(errno.ELOOP, errno.ENXIO, errno.ENODEV),
)
"""Another place would do."""

_NO_LUCK = (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EBUSY, errno.ETXTBSY)


_VARIABLES = {"FVLM_CACHE": "~/.cache/fvlm", "TMPDIR": "/tmp", "HF_HOME": "~/.cache/huggingface"}
"""What says where something is kept that no option names, and what holds where it is not set."""


def circumstances(path: Path, number: int | None) -> str:
    """What else to say of a path that could not be used: whose it is, and what gives another."""
    return f"{_owner(path, number)}{_way_out(path)}"


def hindrance(error: BaseException) -> tuple[str, int] | None:
    """A message and an exit code, where it was not the program that failed but what it stands on; else None.

    2 where another place would do, 1 where nothing can be said for another.
    """
    if not isinstance(error, OSError):
        return None
    if _working_folder_gone():
        return "the working directory is gone, or cannot be read: change to one that is there (cd)", 2
    said = error.strerror or str(error)
    if "temporary directory" in said:
        return f"{said}: set TMPDIR to a folder that can be written", 2
    if error.filename is None:
        told = f"no room to write: {error}" if error.errno in _NO_ROOM else str(error)
        return (told, 1) if error.errno in {*_NO_ROOM, *_NO_LUCK, *_NO_PLACE} - {errno.ENOENT} else None
    path = Path(os.path.abspath(os.fsdecode(error.filename)))
    if error.errno in _NO_ROOM:
        return f"no room to write: {error}{_way_out(path)}", 1
    if error.errno in _NO_LUCK:
        return f"{path}: {said}{_limit(error.errno)}", 1
    # A file that is missing is a matter of surroundings only below what the command was given.
    asked = any(path.is_relative_to(os.path.abspath(place)) for place in given)
    if error.errno not in _NO_PLACE or (error.errno == errno.ENOENT and not asked):
        return None
    damaged = error.errno == errno.EISDIR  # a folder where a file of ours belongs: nobody named it
    return f"{path}: {said}{circumstances(path, error.errno)}", 1 if damaged else 2


def _working_folder_gone() -> bool:
    try:
        os.getcwd()
    except OSError:
        return True
    return False


def _way_out(path: Path) -> str:
    """What names another place than the nearest one that `path` is in, or that was to be made below it; or nothing."""
    near = [
        (min(len(place.parts), len(path.parts)), words)
        for place, words in _places()
        if path.is_relative_to(place) or place.is_relative_to(path)
    ]
    return f"; {max(near, key=lambda found: found[0])[1]}" if near else ""


def _places() -> Iterator[tuple[Path, str]]:
    """Folders and files that something names, and what to do to name another; what writes most comes first."""
    for path, words in given.items():
        yield Path(os.path.abspath(path)), f"give another place with {words}"
    for variable, default in _VARIABLES.items():
        written = os.environ.get(variable) or default
        yield Path(os.path.abspath(os.path.expanduser(written))), f"set {variable} to another place"
    for kept in (".config", ".local"):  # what libraries keep for themselves
        yield Path(os.path.expanduser("~")) / kept, "set HOME to another place"
    yield Path.cwd(), "change to another folder (cd)"


def _owner(path: Path, number: int | None) -> str:
    """Whose the nearest folder is that is there, where that is the matter."""
    if number not in (errno.EACCES, errno.EPERM):
        return ""
    for place in (path, *path.parents):
        try:
            status = place.stat()
        except OSError:
            continue
        whose, mine = _name(status.st_uid), _name(os.geteuid())
        return f" ({place} belongs to {whose}, mode {status.st_mode & 0o7777:03o}; this is {mine})"
    return ""


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"uid {user}"


def _limit(number: int) -> str:
    if number in (errno.EMFILE, errno.ENFILE):
        return ": `ulimit -n` says how many may be open; raise it, or take fewer workers (training.workers)"
    return ""

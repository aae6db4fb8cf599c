"""`flock`, and a refusal in words where a file system has none."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

from fvlm_core.utils.errors import UsageError

_NONE = frozenset((errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL))


def flock(handle: int, how: int, where: Path) -> None:
    """As `fcntl.flock`. where: what is locked, for messages. Raises `UsageError` where there are no locks."""
    try:
        fcntl.flock(handle, how)
    except OSError as error:
        if error.errno not in _NONE:
            raise
        raise UsageError(
            f"{where}: its file system has no locks (flock: {error.strerror}), without which two processes would write "
            "there at once: choose a folder on one that has (a local disk, NFS 4, Lustre mounted with -o flock)"
        ) from None


def refuse_without_locks(folder: Path) -> None:
    """Raise `UsageError` for a folder whose file system has no locks."""
    probe = folder / f".locks.{os.getpid()}"
    handle = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB, folder)
    finally:
        os.close(handle)
        probe.unlink(missing_ok=True)

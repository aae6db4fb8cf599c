"""One writer a run: an operating-system lock that dies with its owner, and a note of who that is.

Some file systems do not share locks between machines and say nothing (NFS with `nolock` or `local_lock`, Lustre with
`localflock`). So the writer gives a sign of life, too, and who finds a note from another machine looks for it first.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from fvlm_core.utils.atomic_files import read_json, write_json
from fvlm_core.utils.errors import FvlmError
from fvlm_core.utils.flocks import refuse_without_locks
from fvlm_core.utils.json_shape import TEXT, WHOLE, misfit

OWNER = ".owner.json"
_LOCK = ".lock"
_PATIENCE = 0.2
"""Seconds to ask for a lock: those who only look whether it is held (`is_held`) hold it for a moment."""

BEAT = 3.0
"""Seconds between signs of life. On NFS a file that was closed there is seen by who opens it here."""

_ALIVE = ".alive"
_BEATS = 4
"""For so many a sign is waited for."""


@contextmanager
def writing(folder: Path) -> Generator[None]:
    """Hold the run's folder.

    Raises `FvlmError`, naming the holder, when another process has it, also on a machine whose locks are not seen here;
    `UsageError` where there are no locks. After a writer on another machine was killed it takes `_BEATS` beats.
    """
    refuse_without_locks(folder)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=_PATIENCE, poll_interval=_PATIENCE / 10)
    except Timeout:
        raise FvlmError(f"{folder} is being written by {_owner(folder)}; wait for it or stop it") from None
    try:
        _refuse_unseen(folder)
    except BaseException:  # the note and the sign are the other's
        lock.release()
        raise
    try:
        note = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": _machine(),
        }
        write_json(folder / OWNER, note)
        with _alive(folder / _ALIVE):
            yield
    finally:
        (folder / OWNER).unlink(missing_ok=True)
        lock.release()


def _refuse_unseen(folder: Path) -> None:
    """For who has got the lock: raise `FvlmError` where a writer on another machine is alive all the same."""
    try:
        machine = read_json(folder / OWNER)["machine"]
    except (OSError, ValueError, TypeError, KeyError):
        return
    if machine == _machine():
        return
    before = _sign(folder / _ALIVE)
    for _ in range(2 * _BEATS):
        time.sleep(BEAT / 2)
        if _sign(folder / _ALIVE) != before:
            raise FvlmError(
                f"{folder} is being written by {_owner(folder)}, whose lock is not seen here: this file system does "
                "not share locks between machines (NFS mounted with nolock or local_lock, Lustre with localflock). "
                "Wait for it or stop it, and run from one machine, or mount it with shared locks"
            )


@contextmanager
def _alive(file: Path) -> Generator[None]:
    """Meanwhile another sign every `BEAT`."""
    over = threading.Event()

    def beat() -> None:
        count = 0
        while not over.is_set():
            with suppress(OSError):
                handle = os.open(
                    file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666
                )
                os.write(handle, b"%d %d" % (os.getpid(), count))
                os.close(handle)
            count += 1
            over.wait(BEAT)

    thread = threading.Thread(target=beat, name="sign of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        file.unlink(missing_ok=True)


def _sign(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(64)
    except OSError:
        return b""


def _machine() -> str:
    """What no two machines have in common, whatever they are called; containers of one share its locks."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def holder(folder: Path) -> str:
    """Who writes the run now ("process 12 on host since ..."); empty when nobody does."""
    return _owner(folder) if is_held(folder) else ""


def is_held(folder: Path) -> bool:
    """Whether a process holds the run's folder now. A folder that cannot be written to is held by none."""
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


def is_running(folder: Path) -> bool:
    """Whether a process trains the run now. Only folders with an owner's note are asked for their lock: the others have
    no writer."""
    return (folder / OWNER).exists() and is_held(folder)


def _owner(folder: Path) -> str:
    try:
        owner = read_json(folder / OWNER)
    except (OSError, ValueError):
        return "another process"
    if misfit(owner, dict.fromkeys(("host", "since"), TEXT) | {"pid": WHOLE}, ("pid", "host", "since")):
        return "another process"
    return f"process {owner['pid']} on {owner['host']} since {owner['since']}"

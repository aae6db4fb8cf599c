"""One writer a run: an operating-system lock that dies with its owner, and a note of who that is."""

from __future__ import annotations

import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from fvlm_core.utils.atomic_files import read_json, write_json
from fvlm_core.utils.errors import FvlmError
from fvlm_core.utils.json_shape import TEXT, WHOLE, misfit

OWNER = ".owner.json"
_LOCK = ".lock"
_PATIENCE = 0.2
"""Seconds to ask for a lock: those who only look whether it is held (`is_held`) hold it for a moment."""


@contextmanager
def writing(folder: Path) -> Generator[None]:
    """Hold the run's folder. Raises `FvlmError`, naming the holder, when another process has it."""
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=_PATIENCE, poll_interval=_PATIENCE / 10)
    except Timeout:
        raise FvlmError(f"{folder} is being written by {_owner(folder)}; wait for it or stop it") from None
    try:
        note = {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_json(folder / OWNER, note)
        yield
    finally:
        (folder / OWNER).unlink(missing_ok=True)
        lock.release()


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

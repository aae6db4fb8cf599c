"""A layer under a process's file calls: what was made durable, what was renamed, and in which order."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen


@frozen
class Synced:
    """A file or folder whose first `size` bytes are on the disk. path: its name then."""

    path: str
    inode: int
    size: int


@frozen
class Renamed:
    """sizes: how long the watched files were at that moment, 0 for one that is not there."""

    source: str
    target: str
    sizes: tuple[int, ...]


Event = Synced | Renamed


def watch(patch: pytest.MonkeyPatch, *files: Path) -> list[Event]:
    """Every `fsync` and every rename from here on, in order. files: those whose length is noted at each rename."""
    events: list[Event] = []
    fsync = os.fsync

    def synced(handle: Any) -> None:
        number = handle if isinstance(handle, int) else handle.fileno()
        fsync(number)
        told = os.fstat(number)
        events.append(Synced(os.readlink(f"/proc/self/fd/{number}"), told.st_ino, told.st_size))

    def noting(call: Callable[..., None]) -> Callable[..., None]:
        def rename(source: Any, target: Any, **how: Any) -> None:
            sizes = tuple(file.stat().st_size if file.exists() else 0 for file in files)
            call(source, target, **how)
            events.append(Renamed(str(source), str(target), sizes))

        return rename

    patch.setattr(os, "fsync", synced)
    for name in ("rename", "replace"):
        patch.setattr(os, name, noting(getattr(os, name)))
    return events


def durable(events: list[Event], file: Path) -> bool:
    """Whether all of a file is on the disk."""
    told = file.stat()
    return any(
        isinstance(event, Synced) and (event.inode, event.size) == (told.st_ino, told.st_size)
        for event in events
    )


def around(events: list[Event], target: Path) -> tuple[list[Event], Renamed, list[Event]]:
    """What came before the one rename to `target`, the rename, and what came after it."""
    (at,) = [
        number
        for number, event in enumerate(events)
        if isinstance(event, Renamed) and event.target == str(target)
    ]
    renamed = events[at]
    assert isinstance(renamed, Renamed)
    return events[:at], renamed, events[at + 1 :]

"""Removing runs: out of the store by one rename, then deleted; never anything outside the store."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from fvlm_core.runs.store import CHECKPOINTS, RECIPE
from fvlm_core.utils.atomic_files import refuse_link
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.folder_lock import writing

REMOVED = ".removed"
"""Beside the runs of a recipe: what is being deleted. What a kill leaves there goes with the next removal."""


def check_inside(folder: Path, root: Path) -> None:
    """Raise `UsageError` unless `folder` is a run's own folder of the store: no link, and exactly two levels down."""
    real, store = Path(os.path.realpath(folder)), Path(os.path.realpath(root))
    if folder.is_symlink() or folder.parent.is_symlink():
        raise UsageError(
            f"{folder} is a link to {real}; nothing outside the store is removed: remove the link by hand"
        )
    if real.parent.parent != store or not (real / RECIPE).is_file():
        raise UsageError(f"{folder} is no run of the store {root}")


def remove_run(folder: Path, root: Path) -> None:
    """Remove a run, and its recipe's folder when nothing is left in it.

    Raises `FvlmError`, naming the holder, when a process is writing it, and `UsageError` outside the store.
    """
    check_inside(folder, root)
    with writing(folder):
        _discard(folder, folder.parent / REMOVED, folder.name)
    with suppress(OSError):  # not empty: other runs, fits
        folder.parent.rmdir()


def remove_checkpoints(folder: Path, root: Path) -> None:
    """Remove a run's checkpoints and keep its record. Raises as `remove_run` does."""
    check_inside(folder, root)
    with writing(folder):
        if (folder / CHECKPOINTS).is_symlink():
            raise UsageError(f"{folder / CHECKPOINTS} is a link; nothing outside the store is removed")
        if (folder / CHECKPOINTS).exists():
            _discard(folder / CHECKPOINTS, folder.parent / REMOVED, f"{folder.name}-{CHECKPOINTS}")


def size_on_disk(folder: Path) -> int:
    """Bytes of all files below a folder, links not followed."""
    total = 0
    for place, _, files in os.walk(folder):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _discard(folder: Path, bin_folder: Path, name: str) -> None:
    """Rename into the bin, so that a kill leaves the whole or nothing, then empty the bin."""
    while True:
        refuse_link(bin_folder)
        bin_folder.mkdir(exist_ok=True)
        try:
            folder.rename(bin_folder / f"{name}-{os.getpid()}")
            break
        except FileNotFoundError:  # another process emptied the bin in between
            if not folder.exists():
                raise
    shutil.rmtree(bin_folder, ignore_errors=True)  # another process may be emptying it, too

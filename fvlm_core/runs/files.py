"""Files that are whole or absent: written beside, synced, renamed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from fvlm_core.errors import UsageError


def write_text(file: Path, text: str) -> None:
    """Write UTF-8 so that a kill at any moment leaves the old file or the new one.

    A link stays one. What is no file (`/dev/null`, a pipe) is written to and never replaced.
    """
    if file.exists() and not file.is_file():
        with file.open("w", encoding="utf-8") as out:
            out.write(text)
        return
    file = file.resolve()
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    temporary.replace(file)


def write_json(file: Path, value: Any) -> None:
    """Write JSON (finite numbers only) as `write_text` does."""
    write_text(file, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(file: Path) -> Any:
    """Read a JSON file, with or without a byte order mark."""
    return json.loads(file.read_bytes())


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

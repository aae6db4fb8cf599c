"""Where what was learnt about large files is kept, so that it is learnt once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_DIGEST = 16
"""Bytes of the hash at the end of what is kept."""


def state(path: Path) -> tuple[int, int]:
    """Size in bytes and time of the last change in ns: what tells that a file is still the same."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def state_key(paths: Iterable[Path], *settings: object) -> str:
    """A name for what is learnt of these files under these settings; another one once any of them changes."""
    digest = blake2b(repr(settings).encode(), digest_size=12)
    for path in paths:
        digest.update(repr((str(path.resolve()), *state(path))).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def load_arrays(file: Path) -> dict[str, NDArray[Any]] | None:
    """What `keep_arrays` kept; None when nothing was, or a bit of it has changed: it is made again then."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    arrays, digest = content[:-_DIGEST], content[-_DIGEST:]
    if blake2b(arrays, digest_size=_DIGEST).digest() != digest:
        return None
    with np.load(BytesIO(arrays), allow_pickle=False) as saved:
        return {name: saved[name] for name in saved.files}


def keep_arrays(file: Path, **arrays: NDArray[Any]) -> None:
    """Keep arrays under a name, whole or not at all: an .npz with its hash behind it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    out = BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    with temporary.open("wb") as written:
        written.write(out.getbuffer())
        written.write(blake2b(out.getbuffer(), digest_size=_DIGEST).digest())
    temporary.rename(file)


def from_strings(strings: Iterable[str]) -> NDArray[np.uint8]:
    """Strings without the character 0 as an array, for `keep_arrays`."""
    return np.frombuffer("\0".join(strings).encode("utf-8", "surrogateescape"), np.uint8)


def to_strings(array: NDArray[np.uint8]) -> list[str]:
    """The strings of `from_strings`, of which there was at least one."""
    return array.tobytes().decode("utf-8", "surrogateescape").split("\0")

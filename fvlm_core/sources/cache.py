"""Where what was learnt about large files is kept, so that it is learnt once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path


def cache_folder(kind: str) -> Path:
    """The folder of one kind of cached things: below $FVLM_CACHE, by default ~/.cache/fvlm."""
    return Path(os.environ.get("FVLM_CACHE", "~/.cache/fvlm")).expanduser() / kind


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

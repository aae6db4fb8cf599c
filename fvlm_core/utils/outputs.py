"""Files that a command writes, and what is said where it cannot."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path


@contextmanager
def writing(file: Path) -> Generator[None]:
    """Turn what hinders writing `file` inside the block into a `UsageError`; a full disk is nobody's misuse."""
    from fvlm_core.utils.errors import UsageError
    from fvlm_core.utils.hindrance import circumstances

    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            if error.filename is None:  # of what is written to a file that is open
                error.filename = str(file)
            raise
        beside = circumstances(Path(os.path.abspath(file)), error.errno)
        raise UsageError(f"{file}: cannot be written: {error.strerror or error}{beside}") from None


def prepare(*files: Path) -> None:
    """Make the folders of files before the work that they are for. Raises `UsageError` where that cannot be."""
    for file in files:
        with writing(file):
            file.parent.mkdir(parents=True, exist_ok=True)

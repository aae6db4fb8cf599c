"""Why a run's last attempt failed: a small file in its folder, until the next attempt begins."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from fvlm_core.runs.store import FAILURE
from fvlm_core.training.signals import EXIT_CODES
from fvlm_core.utils.atomic_files import write_json
from fvlm_core.utils.errors import FvlmError


@contextmanager
def failure_recorded(folder: Path) -> Generator[None]:
    """Keep what went wrong inside the block. A stop that was asked for, by signal or by Ctrl-C, is no failure."""
    (folder / FAILURE).unlink(missing_ok=True)
    try:
        yield
    except Exception as error:
        if isinstance(error, FvlmError) and error.exit_code in EXIT_CODES.values():
            raise
        said = {
            "error": type(error).__name__,
            "message": str(error) or type(error).__name__,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        with suppress(OSError):  # a full disk is often the reason
            write_json(folder / FAILURE, said)
        raise

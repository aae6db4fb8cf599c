"""Processes that a benchmark times."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from fvlm_core.utils.errors import FvlmError

ONE_THREAD: dict[str, str] = dict.fromkeys(
    ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1"
)
"""For matrices so small that threads only wait for each other."""


def run(
    command: Sequence[str], folder: Path | None = None, environment: Mapping[str, str] | None = None
) -> tuple[float, str]:
    """Seconds of a whole process, and what it printed. environment: on top of this process's own.

    Raises `FvlmError`, with its errors, when it fails.
    """
    begun = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    took = time.perf_counter() - begun
    if done.returncode:
        raise FvlmError(f"the benchmark's process failed:\n{done.stderr.strip()}")
    return took, done.stdout

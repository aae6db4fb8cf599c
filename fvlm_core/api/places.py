"""Where runs are kept, and how what a user should know is said in Python."""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path

from fvlm_core.utils.paths import environment_path, keep_runs, user_path

Root = str | PathLike[str] | None
"""A folder of runs; None: $FVLM_RUNS, else `runs`, as the option --runs has it."""


def runs_folder(root: Root) -> Path:
    """The folder that is meant, where components that name a run look for it from here on."""
    return keep_runs(environment_path("FVLM_RUNS", "runs") if root is None else user_path(Path(root)))


def warn(text: str) -> None:
    """What the command line prints as a note."""
    warnings.warn(text, stacklevel=3)

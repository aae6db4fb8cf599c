"""What a trained run scored in evaluations of its own: `scores/NAME.json` in its folder.

`needle.json`: accuracy by length and depth (`fvlm needle`), and of which weights. `SUITE.json`, such as `video.json`:
published benchmarks (`fvlm eval --suite`). Each is the latest one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from fvlm_core.utils.atomic_files import read_json, refuse_link, write_json
from fvlm_core.utils.errors import UsageError

SCORES = "scores"


def write_scores(folder: Path, name: str, found: dict[str, Any]) -> Path:
    """Keep what was found below a run's folder, in place of the earlier of that name."""
    refuse_link(folder / SCORES)
    (folder / SCORES).mkdir(exist_ok=True)
    file = folder / SCORES / f"{name}.json"
    if file.is_symlink():
        file.unlink()
    write_json(file, found)
    return file


def read_scores(folder: Path, name: str) -> dict[str, Any] | None:
    """What was kept under this name; None where nothing was. Raises `UsageError` for a file that holds no table."""
    file = folder / SCORES / f"{name}.json"
    if not file.is_file():
        return None
    try:
        found = read_json(file)
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from None
    if not isinstance(found, dict):
        raise UsageError(f"{file}: expected a table")
    return cast("dict[str, Any]", found)

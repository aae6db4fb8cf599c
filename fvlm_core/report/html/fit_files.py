"""Scaling laws of `fvlm fit --json`: files that hold the points and what was found of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fvlm_core.report.html.laws import Json, block, law_of, stored
from fvlm_core.report.html.parts import Block, Section
from fvlm_core.scaling.points.columns import ColumnChoices
from fvlm_core.scaling.points.files import read_points
from fvlm_core.scaling.points.points import Points
from fvlm_core.utils.errors import FvlmError, UsageError
from fvlm_registry import LookupFailure


def section(files: Sequence[Path]) -> Section:
    """The fits of every file, drawn again from its own points. Raises `UsageError` for a file that holds none."""
    blocks: list[Block] = []
    for number, file in enumerate(files):
        if not file.is_file():
            raise UsageError(f"{file}: there is no such file")
        found = stored(file)
        if not found:
            raise UsageError(f"{file}: expected what `fvlm fit --json {file}` writes: no fit is in it")
        named = f"{file}: " if len(files) > 1 else ""
        for at, report in enumerate(found):
            points = _points(file, report)
            blocks.append(block(report, points, f"fit-{number}-{at}", named, True, f"{at + 1} in {file}"))
    return Section("fits", "Fits", blocks)


def _points(file: Path, report: Json) -> Points | None:
    try:
        return read_points([file], ColumnChoices.of([law_of(report)]))
    except (FvlmError, LookupFailure, KeyError):
        return None

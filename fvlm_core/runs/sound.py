"""Runs all of whose files can be read: one that cannot is named with its reason, and is in no other's way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from attrs import evolve

from fvlm_core.runs.attempts import read_attempts
from fvlm_core.runs.index import RunIndex
from fvlm_core.runs.metrics import read_metrics
from fvlm_core.runs.store import (
    ATTEMPTS,
    ENVIRONMENT,
    FAILURE,
    METRICS,
    SUMMARY,
    StoredRun,
    open_run,
    read_part,
)
from fvlm_core.utils.errors import FvlmError, UsageError

_PARTS = (SUMMARY, ENVIRONMENT, FAILURE)

PassedOver = Callable[[str], None]
"""Is told of a run that is passed over, and why."""


def sound(
    folders: Iterable[Path], passed_over: PassedOver | None = None, index: RunIndex | None = None
) -> list[StoredRun]:
    """The runs in folders whose files are all as they were written.

    passed_over: is told of the others; without it, and when no run is left, they are one `UsageError`. index: of the
    store that the folders are in; what it remembers is not read again.
    """
    runs: list[StoredRun] = []
    faults: list[str] = []
    for folder in folders:
        found = _opened(folder, index)
        if isinstance(found, StoredRun):
            runs.append(found)
        else:
            faults.append(f"{folder.parent.name}/{folder.name}: {found}")
    if faults and (passed_over is None or not runs):
        way_out = "Put their files back, or remove them: fvlm runs rm NAME"
        raise UsageError("\n".join(["these runs cannot be read:", *faults, way_out]))
    for fault in faults:
        assert passed_over is not None
        passed_over(f"passed over: {fault}")
    return runs


def _opened(folder: Path, index: RunIndex | None) -> StoredRun | str:
    """The run, or what is wrong with it."""
    try:
        run = open_run(folder)
        if index is None:
            _read(folder)
        else:
            index.recall("sound", folder, (*_PARTS, ATTEMPTS, METRICS), lambda: _read(folder))
    except (FvlmError, OSError) as error:
        return str(error)
    return evolve(run, index=index)


def _read(folder: Path) -> bool:
    for name in _PARTS:
        if (folder / name).exists():
            read_part(folder / name)
    read_attempts(folder)
    read_metrics(folder / METRICS)
    return True


def each_once(passed_over: PassedOver) -> PassedOver:
    """The same, told nothing twice: for who looks again and again."""
    said: set[str] = set()

    def tell(text: str) -> None:
        if text not in said:
            said.add(text)
            passed_over(text)

    return tell

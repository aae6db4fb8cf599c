"""Every start of a run: when, where, with what, and which changes of its recipe were accepted for it."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fvlm_core.recipes.drift import Change
from fvlm_core.runs.metrics import next_attempt
from fvlm_core.runs.record_shapes import ATTEMPT, MUST
from fvlm_core.runs.store import ATTEMPTS, METRICS
from fvlm_core.utils.atomic_files import ends_torn, open_to_append, read_rows
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.json_shape import misfit
from fvlm_core.utils.versions import version

_SAID = {"torch": "torch", "device": "device", "world": "world size", "parallel": "parallel mode"}
"""What may change between attempts without being the recipe's; a change is said and recorded."""


def begin_attempt(
    folder: Path, device: str, found: Sequence[Change], *, world: int = 1, parallel: str = "single"
) -> list[str]:
    """Append a line to the run's `attempts.jsonl`; what differs from the attempt before, for people.

    found: the keys that changed since the run was last written; those that are not free were accepted. world:
    processes that train together. parallel: how they do.
    """
    before = read_attempts(folder)
    entry: dict[str, Any] = {
        "attempt": next_attempt(folder / METRICS),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),  # for people; nothing is ordered by it
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "torch": version("torch"),
        "device": device,
        "world": world,
        "parallel": parallel,
        "runtime": [_change(change) for change in found if change.free],
        "drift": [_change(change) for change in found if not change.free],
    }
    torn = ends_torn(folder / ATTEMPTS)
    with open_to_append(folder / ATTEMPTS) as out:
        out.write(("\n" * torn + json.dumps(entry) + "\n").encode())
        os.fsync(out.fileno())
    said = [f"continues under another recipe, as accepted: {change}" for change in found if not change.free]
    said += [f"continues with {change}" for change in found if change.free]
    if before:
        said += [
            f"continues with another {name}: {before[-1][key]} -> {entry[key]}"
            for key, name in _SAID.items()
            if before[-1].get(key) != entry[key]
        ]
    return said


def read_attempts(folder: Path) -> list[dict[str, Any]]:
    """Every start of a run, in order; torn lines left out. Raises `UsageError` for a line that is none."""
    file = folder / ATTEMPTS
    entries: list[dict[str, Any]] = []
    try:
        for number, entry in read_rows(file):
            if wrong := misfit(entry, ATTEMPT, MUST["attempt"]):
                raise ValueError(f"line {number}: {wrong}")
            entries.append(entry)
    except ValueError as error:
        raise UsageError(f"{file}: damaged: {error}") from None
    return entries


def accepted_drift(folder: Path) -> list[dict[str, Any]]:
    """Every accepted change of a run's identity: key, kind, from, to, at, attempt."""
    return [
        {**change, "at": entry["at"], "attempt": entry["attempt"]}
        for entry in read_attempts(folder)
        for change in entry["drift"]
    ]


def _change(change: Change) -> dict[str, Any]:
    return {"key": change.key, "kind": change.kind, "from": change.before, "to": change.after}

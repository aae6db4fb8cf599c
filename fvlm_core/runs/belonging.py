"""Which run a checkpoint is of: written into its manifest, and asked for by whatever reads it.

A run is told by its recipe's name, its id, and a hash of its resolved recipe and seed. Whoever continues a run under an
accepted change gives it one more such hash, so its record lists all that its checkpoints may have. Where the folder
stands is no part of it: one that was moved or copied as a whole is the same run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from fvlm_core.runs.store import RECIPE, read_part
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.json_shape import TEXT, misfit

CONFIGS = "configs"
"""In a record: the hashes that its checkpoints may have."""

OWNER = "run"
"""In a checkpoint's manifest."""


def configs(record: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> list[str]:
    """The hashes of a record. before: the record that this one takes the place of, whose checkpoints stay its own."""
    known = [] if before is None else before.get(CONFIGS) or [_hash(before)]
    return list(dict.fromkeys([*known, _hash(record)]))


def owner(record: Mapping[str, Any]) -> dict[str, str]:
    """What the manifest of a checkpoint says that is written now."""
    return {"recipe": record["recipe"], "id": record["id"], "config": _hash(record)}


def owner_of_folder(checkpoints: Path) -> dict[str, str] | None:
    """The same of the run whose checkpoints stand in a folder; None where it has no record."""
    record = _record(checkpoints)
    return None if record is None else owner(record)


def stranger(checkpoint: Path, manifest: Mapping[str, Any]) -> str:
    """Why a checkpoint is not of the run in whose folder it stands; empty where it is, or nobody can tell."""
    told, record = manifest.get(OWNER), _record(checkpoint.parent)
    if told is None or record is None:
        return ""
    names = ("recipe", "id", "config")
    if wrong := misfit(told, dict.fromkeys(names, TEXT), names):
        return f"{checkpoint}: its manifest does not say which run it is of: {wrong}"
    here = f"{record['recipe']}/{record['id']}"
    if (there := f"{told['recipe']}/{told['id']}") != here:
        return f"{checkpoint} is of another run, {there}, and not of {here}"
    if told["config"] not in (record.get(CONFIGS) or [_hash(record)]):
        return f"{checkpoint} is of another run that was called {here}, too, with another recipe or seed"
    return ""


def _record(checkpoints: Path) -> dict[str, Any] | None:
    try:
        return read_part(checkpoints.parent / RECIPE)
    except (OSError, UsageError):
        return None


def _hash(record: Mapping[str, Any]) -> str:
    decides = {"resolved": record.get("resolved"), "seed": record.get("seed")}
    return sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]

"""Checkpoints: safetensors and JSON in a folder that is complete or not there, with a hash of every file."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from attrs import frozen
from safetensors.torch import load_file, save_file
from torch import Tensor

from fvlm_core.runs.files import read_json, sha256, sync_folder, write_json

MODEL = "model.safetensors"
_MANIFEST = "manifest.json"


@frozen(eq=False)
class Checkpoint:
    """What a run continues from. model, optimizer: named tensors. state: plain JSON values, `step` among them."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write `step-N` under `folder` and return it. Atomic: written beside, hashed, synced, renamed."""
    final = folder / f"step-{checkpoint.state['step']:08d}"
    temporary = folder / f".tmp-{checkpoint.state['step']}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file(checkpoint.model, temporary / MODEL)
    save_file(checkpoint.optimizer, temporary / "optimizer.safetensors")
    write_json(temporary / "state.json", checkpoint.state)
    hashes: dict[str, str] = {}
    for file in sorted(temporary.iterdir()):
        hashes[file.name] = sha256(file)
        with file.open("rb") as handle:
            os.fsync(handle.fileno())
    write_json(temporary / _MANIFEST, {"sha256": hashes})
    sync_folder(temporary)
    if final.exists():  # an earlier attempt's, damaged or superseded
        _remove(final)
    temporary.rename(final)
    sync_folder(folder)
    return final


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint. Call `damage` first when the folder may have been harmed."""
    return Checkpoint(
        load_file(folder / MODEL),
        load_file(folder / "optimizer.safetensors"),
        read_json(folder / "state.json"),
    )


def latest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest complete checkpoint, by step and not by clock, and what is wrong with newer ones.

    Clears away what a killed save left behind.
    """
    damaged: list[str] = []
    for left in folder.glob(".tmp-*"):
        shutil.rmtree(left)
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        wrong = damage(candidate)
        if wrong is None:
            return candidate, damaged
        damaged.append(wrong)
    return None, damaged


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, naming the file, or None when every file is as it was written."""
    try:
        hashes: dict[str, str] = read_json(folder / _MANIFEST)["sha256"]
    except (OSError, ValueError, KeyError):
        return f"{folder / _MANIFEST} is missing or unreadable"
    for name, expected in hashes.items():
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
        if sha256(folder / name) != expected:
            return f"{folder / name} is not as it was written (truncated or altered)"
    return None


def prune_checkpoints(folder: Path, keep_last: int, best_step: int | None) -> None:
    """Keep the newest `keep_last` and the best."""
    for old in sorted(folder.glob("step-*"))[:-keep_last]:
        if int(old.name.removeprefix("step-")) != best_step:
            _remove(old)


def _remove(folder: Path) -> None:
    # Renamed first: a kill half-way through the removal must not leave something that looks like a checkpoint.
    doomed = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)

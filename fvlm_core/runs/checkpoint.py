"""Checkpoints: safetensors and JSON in a folder that is complete or not there, with a hash of every file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import field, frozen
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fvlm_core.runs.belonging import OWNER, owner_of_folder, stranger
from fvlm_core.utils.atomic_files import read_json, refuse_link, sha256, sync_folder, usual_modes, write_json
from fvlm_core.utils.errors import FvlmError
from fvlm_core.utils.json_shape import TEXT, Every, misfit

MODEL = "model.safetensors"
STATE = "state.json"
_OPTIMIZER = "optimizer.safetensors"
_CALLBACKS = "callbacks.safetensors"
_MANIFEST = "manifest.json"

UNIDENTIFIED = "does not say which run it is of, as those of earlier versions; it is taken for this one's"
"""Of a checkpoint that is not `is_identified`."""


@frozen(eq=False)
class Checkpoint:
    """What a run continues from. model, optimizer: named tensors. state: plain JSON values, `step` among them.
    callbacks: what these keep, as named tensors; its file is there when it holds any."""

    model: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    state: dict[str, Any]
    callbacks: dict[str, Tensor] = field(factory=dict[str, Tensor])


def save_checkpoint(folder: Path, checkpoint: Checkpoint, run: Mapping[str, str] | None = None) -> Path:
    """Write `step-N` under `folder` and return it. Atomic: written beside, hashed, synced, renamed. It is the newest
    from then on: those of later steps, which the run did not continue from, are removed.

    run: whose it is (`belonging.owner`); None for the run in whose folder `folder` stands.

    Raises `FvlmError`, saying what is needed and what there is, when there is no room; earlier ones stay as they are.
    """
    refuse_link(folder)
    final = folder / f"step-{checkpoint.state['step']:08d}"
    temporary = folder / f".tmp-{checkpoint.state['step']}-{os.getpid()}"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    with _room(temporary, checkpoint_bytes(checkpoint)):
        save_file(checkpoint.model, temporary / MODEL)
        save_file(checkpoint.optimizer, temporary / _OPTIMIZER)
        if checkpoint.callbacks:
            save_file(checkpoint.callbacks, temporary / _CALLBACKS)
        write_json(temporary / STATE, checkpoint.state)
        hashes: dict[str, str] = {}
        for file in sorted(temporary.iterdir()):
            hashes[file.name] = sha256(file)
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
        of = run or owner_of_folder(folder)
        write_json(temporary / _MANIFEST, {"sha256": hashes, **({OWNER: of} if of else {})})
        usual_modes(temporary)
        sync_folder(temporary)
    if final.exists():  # an earlier attempt's, damaged or superseded
        _remove(final)
    temporary.rename(final)
    sync_folder(folder)
    # Those of later steps were passed over as damaged; as the newest they would have this one pruned in their place.
    for later in [other for other in folder.glob("step-*") if other.name > final.name]:
        _remove(later)
    return final


def checkpoint_bytes(checkpoint: Checkpoint) -> int:
    """What the tensors of a checkpoint take on disk."""
    tensors = (
        *checkpoint.model.values(),
        *checkpoint.optimizer.values(),
        *checkpoint.callbacks.values(),
    )
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def rehearse(folder: Path, size: int) -> None:
    """Reserve room for a checkpoint of `size` bytes and give it back: a full disk shows before the first step.

    Raises `FvlmError` as `save_checkpoint`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f".tmp-rehearsal-{os.getpid()}"
    with _room(file, size), file.open("wb") as out:
        os.posix_fallocate(out.fileno(), 0, max(1, size))
    file.unlink()


@contextmanager
def _room(temporary: Path, needed: int) -> Generator[None]:
    """A failed write becomes "needs X, has Y at PATH", and what it left is cleared away."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        free = shutil.disk_usage(temporary.parent).free
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
        raise FvlmError(
            f"no checkpoint could be written: it needs {needed / 1e6:,.1f} MB, has {free / 1e6:,.1f} MB free at "
            f"{temporary.parent} ({error}); earlier checkpoints are intact. Make room and run the same command again"
        ) from error


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint. Call `damage` first when the folder may have been harmed."""
    return Checkpoint(
        load_file(folder / MODEL),
        load_file(folder / _OPTIMIZER),
        read_state(folder),
        read_callbacks(folder),
    )


def read_callbacks(folder: Path) -> dict[str, Tensor]:
    """What callbacks keep in a checkpoint; nothing where they keep none."""
    return load_file(folder / _CALLBACKS) if (folder / _CALLBACKS).exists() else {}


def read_state(folder: Path) -> dict[str, Any]:
    """The plain values of a checkpoint, without its tensors."""
    return read_json(folder / STATE)


def latest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest complete checkpoint, by step and not by clock, and what is wrong with newer ones."""
    damaged: list[str] = []
    for candidate in sorted(folder.glob("step-*"), reverse=True):
        wrong = damage(candidate)
        if wrong is None:
            return candidate, damaged
        damaged.append(wrong)
    return None, damaged


def clear_unfinished(folder: Path) -> None:
    """Clear away what killed saves left behind. For the run's one writer: a reader would take away a save under way."""
    for left in folder.glob(".tmp-*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()


def damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint, naming the file, or None when every file is as it was written, and of the run in
    whose folder it stands."""
    manifest: Any = None
    try:
        manifest = read_json(folder / _MANIFEST)
        wrong = misfit(manifest, {"sha256": Every(TEXT)}, ("sha256",))
    except (OSError, ValueError) as error:
        wrong = str(error)
    if wrong:
        return f"{folder / _MANIFEST} is missing or unreadable ({wrong})"
    for name, expected in manifest["sha256"].items():
        if not (folder / name).is_file():
            return f"{folder / name} is missing"
        if sha256(folder / name) != expected:
            return f"{folder / name} is not as it was written (truncated or altered)"
    return stranger(folder, manifest) or None


def is_identified(folder: Path) -> bool:
    """Whether an intact checkpoint says which run it is of; older versions wrote none that did."""
    return OWNER in read_json(folder / _MANIFEST)


def written_by(folder: Path) -> dict[str, str] | None:
    """Which run, under which recipe, wrote an intact checkpoint (`belonging.owner`); None where it does not say."""
    return read_json(folder / _MANIFEST).get(OWNER)


def prune_checkpoints(folder: Path, keep_last: int, best_step: int | None) -> None:
    """Keep the newest `keep_last` and the best."""
    for old in sorted(folder.glob("step-*"))[:-keep_last]:
        if int(old.name.removeprefix("step-")) != best_step:
            _remove(old)


def _remove(folder: Path) -> None:
    # Renamed first: a kill half-way through the removal must not leave something that looks like a checkpoint.
    refuse_link(folder.parent)
    doomed = folder.with_name(f".tmp-{folder.name}")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    if doomed.is_symlink():
        doomed.unlink()
    else:
        shutil.rmtree(doomed)

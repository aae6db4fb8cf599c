"""Where pretrained weights are: a folder, or the Hugging Face cache of this machine. Nothing is ever downloaded."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from fvlm_core.errors import MissingWeights, UsageError
from fvlm_core.paths import user_path

SEEDED = "seeded"
"""In place of a hub id or a folder: random weights drawn from the run's seed. Always asked for by name."""

_KNOWN: ContextVar[dict[str, dict[str, Any]] | None] = ContextVar("known architectures", default=None)


def is_folder(weights: str) -> bool:
    """Whether `weights` names a folder ("/data/x", "./x", "~/x", or any that exists) rather than a hub id."""
    return weights.startswith(("/", ".", "~")) or Path(weights).is_dir()


def pretrained_folder(weights: str, *, needs: str = "*.safetensors") -> Path:
    """The local folder of `weights` (hub id or folder): the one with its `config.json` and files matching `needs`.

    Raises `MissingWeights`, with the command that fetches them, when they are not on this machine.
    """
    if is_folder(weights):
        folder = user_path(weights)
        if not folder.is_dir():
            raise MissingWeights(f"weights: the folder {folder} does not exist")
        missing = _missing(folder, needs)
        if missing:
            raise MissingWeights(
                f"weights: the folder {folder} holds no {missing}; expected config.json, *.safetensors and, for a "
                "language model, tokenizer.json, as `hf download` and `save_pretrained` write them"
            )
        return folder
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(weights, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        folder = None
    if folder is None or _missing(folder, needs):
        raise MissingWeights(
            f"weights: {weights} is not on this machine (looked in {constants.HF_HUB_CACHE}). Fetch it with\n"
            f"  hf download {weights}\n"
            f'or give weights = "FOLDER" that holds it, or weights = "{SEEDED}" to start from random weights.'
        )
    return folder


@contextmanager
def known_architectures(known: dict[str, dict[str, Any]]) -> Generator[None]:
    """Within, `architecture` answers from `known` (weights to the content of their `config.json`) before it looks for
    a file, and puts there what it had to read: a model can then be described, and rebuilt, apart from its files."""
    before = _KNOWN.set(known)
    try:
        yield
    finally:
        _KNOWN.reset(before)


def architecture(weights: str, *, model_type: str) -> dict[str, Any]:
    """The `config.json` beside pretrained weights.

    Raises `MissingWeights` as `pretrained_folder`, and `UsageError` when it describes another kind of model.
    """
    known = _KNOWN.get()
    if known is not None and weights in known:
        return known[weights]
    file = pretrained_folder(weights, needs="config.json") / "config.json"
    config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8-sig"))
    if config.get("model_type") != model_type:
        raise UsageError(
            f'{file}: model_type: expected "{model_type}", got {json.dumps(config.get("model_type"))}'
        )
    if known is not None:
        known[weights] = config
    return config


def _missing(folder: Path, needs: str) -> str:
    """The first of config.json and `needs` that the folder has no file for, or nothing."""
    return next((pattern for pattern in ("config.json", needs) if not any(folder.glob(pattern))), "")

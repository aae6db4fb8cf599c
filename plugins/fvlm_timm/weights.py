"""Weights of timm models on this machine. Nothing is ever downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from timm.models import eva, get_pretrained_cfg, vision_transformer

from fvlm_core.interfaces import SEEDED, MissingWeights, UsageError, pretrained_folder, user_path
from fvlm_timm.config import PRETRAINED, Timm

_FILE = "model.safetensors"
_HEADS = ("head.", "head_dist.", "attn_pool.", "fc_norm.", "norm.")
"""What a published file may hold beyond the encoder: its classifier, and whichever norm belongs to it."""


def weights_file(config: Timm) -> Path | None:
    """The safetensors file that `config.weights` stands for, None if seeded. Raises `MissingWeights`, `UsageError`."""
    if config.weights == SEEDED:
        return None
    if config.weights == PRETRAINED:
        return _published(config.model)
    path = user_path(config.weights)
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        path = path / _FILE if len(files) != 1 else files[0]
    if not path.is_file():
        raise MissingWeights(
            f'weights: {path} does not exist; expected "{PRETRAINED}", "{SEEDED}", a file of safetensors with '
            f"timm's weight names, or a folder with one or with {_FILE}"
        )
    return path


def load(vit: Any, model: str, file: Path) -> None:
    """Put the weights of `file` into a timm model as float32. Raises `UsageError` when they are not its own."""
    module: Any = eva if isinstance(vit, eva.Eva) else vision_transformer
    state = {
        name: tensor.float() for name, tensor in module.checkpoint_filter_fn(load_file(file), vit).items()
    }
    own = vit.state_dict()
    if "norm.weight" in own and "norm.weight" not in state:  # the norm of models pooled by a mean
        state |= {
            name.removeprefix("fc_"): state[name] for name in list(state) if name.startswith("fc_norm.")
        }
    missing = sorted(own.keys() - state.keys())
    strange = sorted(name for name in state.keys() - own.keys() if not name.startswith(_HEADS))
    unequal = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    if missing or strange or unequal:
        parts = (("missing", missing), ("unknown", strange), ("of another shape", unequal))
        found = "; ".join(f"{what}: {_some(names)}" for what, names in parts if names)
        raise UsageError(f'weights: {file} does not hold the weights of "{model}": {found}')
    with torch.no_grad():
        vit.load_state_dict({name: state[name] for name in own}, assign=True)  # no second copy of the weights


def _published(model: str) -> Path:
    """Where the Hugging Face cache keeps what timm publishes as `model`."""
    about = get_pretrained_cfg(model)
    if about is None or not about.hf_hub_id:
        raise UsageError(
            f'weights: timm has none for "{model}" on the Hugging Face hub; '
            f'give weights = "FILE.safetensors" or weights = "{SEEDED}"'
        )
    needed = about.hf_hub_filename or _FILE
    return pretrained_folder(about.hf_hub_id, needs=needed) / needed


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more

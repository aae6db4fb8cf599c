"""Weights of timm models on this machine. Nothing is ever downloaded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from timm.models import eva, get_pretrained_cfg, vision_transformer

from fvlm_core.plugin_api import (
    SEEDED,
    MissingWeights,
    Problem,
    Problems,
    UsageError,
    check_whole,
    listed,
    no_weight,
    pretrained_folder,
    read_config,
    user_path,
)
from fvlm_timm.architecture import ARGUMENTS, spec

if TYPE_CHECKING:
    from fvlm_timm.config import Timm

_FILE = "model.safetensors"
_HEADS = ("head.", "head_dist.", "attn_pool.", "fc_norm.", "norm.")
"""What a published file may hold beyond the encoder: its classifier, and whichever norm belongs to it."""


def weights_file(config: Timm) -> Path | None:
    """The safetensors file that `config.weights` stands for, None if seeded. Raises `MissingWeights`, `UsageError`."""
    if config.weights == SEEDED:
        return None
    path = _published(config.model) if config.published else _own(config)
    _check_described(config, path.parent / "config.json")
    return path


def _own(config: Timm) -> Path:
    """The file of weights that timm does not publish."""
    path = user_path(config.weights)
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        path = path / _FILE if len(files) != 1 else files[0]
    if not path.is_file():
        raise MissingWeights(
            f'weights: {path} does not exist; expected "pretrained", "{SEEDED}", a file of safetensors with '
            f"timm's weight names, or a folder with one or with {_FILE}"
        )
    return path


def load(vit: Any, model: str, file: Path) -> None:
    """Put the weights of `file` into a timm model as float32. Raises `UsageError` when they are not its own."""
    check_whole(file)
    module: Any = eva if isinstance(vit, eva.Eva) else vision_transformer
    found = module.checkpoint_filter_fn(load_file(file), vit)
    own = vit.state_dict()
    if faulty := {
        name: fault for name in sorted(own.keys() & found.keys()) if (fault := no_weight(found[name]))
    }:
        raise Problems([Problem(fault, str(file), key=name) for name, fault in faulty.items()])
    state = {name: tensor.float() for name, tensor in found.items()}
    if "norm.weight" in own and "norm.weight" not in state:  # the norm of models pooled by a mean
        state |= {
            name.removeprefix("fc_"): state[name] for name in list(state) if name.startswith("fc_norm.")
        }
    missing = sorted(own.keys() - state.keys())
    strange = sorted(name for name in state.keys() - own.keys() if not name.startswith(_HEADS))
    unequal = sorted(name for name in own.keys() & state.keys() if own[name].shape != state[name].shape)
    if missing or strange or unequal:
        parts = (("missing", missing), ("unknown", strange), ("of another shape", unequal))
        told = "; ".join(f"{what}: {listed(names, 3)}" for what, names in parts if names)
        raise UsageError(f'weights: {file} does not hold the weights of "{model}": {told}')
    with torch.no_grad():
        vit.load_state_dict({name: state[name] for name in own}, assign=True)  # no second copy of the weights


def _check_described(config: Timm, file: Path) -> None:
    """Raise `Problems` where the `config.json` that timm writes beside weights describes another encoder.

    Two architectures may have weights of the same names and shapes and differ in an activation, or in how frames are
    normalised.
    """
    described = read_config(file) if file.is_file() else {}
    if "architecture" not in described:
        return
    sizes = spec(config)
    about = described.get("pretrained_cfg") or {}
    arguments = described.get("model_args") or {}
    own = {name: getattr(config, field) for field, name in ARGUMENTS.items()}
    pairs = {
        "architecture": (config.model.partition(".")[0], described["architecture"]),
        "pretrained_cfg.mean": (list(sizes.mean), about.get("mean", list(sizes.mean))),
        "pretrained_cfg.std": (list(sizes.std), about.get("std", list(sizes.std))),
        **{f"model_args.{name}": (own.get(name), value) for name, value in arguments.items()},
    }
    wrong = [
        Problem(f"the recipe says {json.dumps(said)}, the file says {json.dumps(there)}", str(file), key=key)
        for key, (said, there) in pairs.items()
        if said != there
    ]
    if wrong:
        raise Problems(wrong)


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

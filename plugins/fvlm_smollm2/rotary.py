"""Rotary positions (Su et al. 2021) of a Llama."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fvlm_core.plugin_api import UsageError

_FIXED = ("default", "linear", "llama3", "yarn")
"""Kinds whose angles do not depend on the sequence."""


def check_rotary(sizes: dict[str, Any]) -> None:
    """Raise `UsageError` for a kind whose angles depend on the sequence. sizes: as `SmolLM2.sizes` gives them."""
    if (kind := _kind(sizes)) not in _FIXED:
        raise UsageError(f'rope_type: expected one of {", ".join(_FIXED)}, got "{kind}"')


def rotary_table(sizes: dict[str, Any], positions: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and sines of so many positions, [S, 1, head width] each, on the device and in the dtype of `like`."""
    frequencies, scale = _frequencies(sizes)
    angles = torch.arange(positions, device=like.device)[:, None].float() * frequencies.to(like.device)
    angles = torch.cat((angles, angles), -1)[:, None]
    return (angles.cos() * scale).to(like.dtype), (angles.sin() * scale).to(like.dtype)


def rotate(states: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary position embedding of [R, S, heads, head width]. rotation: cosines and sines that broadcast to it."""
    cosine, sine = rotation
    first, second = states.chunk(2, -1)
    return states * cosine + torch.cat((-second, first), -1) * sine


def head_width(sizes: dict[str, Any]) -> int:
    """Channels of a head."""
    return sizes.get("head_dim") or sizes["hidden_size"] // sizes["num_attention_heads"]


def _rope(sizes: dict[str, Any]) -> dict[str, Any]:
    """What `config.json` says of rotary positions: the older key counts, where both are there, as in transformers."""
    return sizes.get("rope_scaling") or sizes.get("rope_parameters") or {}


def _kind(sizes: dict[str, Any]) -> str:
    rope = _rope(sizes)
    return str(rope.get("rope_type", rope.get("type", "default")))


def _frequencies(sizes: dict[str, Any]) -> tuple[Tensor, float]:
    """Angle a position of each pair of channels, on the CPU, and the factor on cosines and sines."""
    if _kind(sizes) != "default":
        from transformers import LlamaConfig
        from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

        with torch.device("cpu"):  # it makes numbers on the default device first
            return ROPE_INIT_FUNCTIONS[_kind(sizes)](LlamaConfig(**sizes), torch.device("cpu"))
    base = _rope(sizes).get("rope_theta") or sizes.get("rope_theta") or 10_000.0
    width = head_width(sizes)
    return 1.0 / base ** (torch.arange(0, width, 2, dtype=torch.float, device="cpu") / width), 1.0

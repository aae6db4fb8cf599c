"""One timm block taken apart: projections of some tokens, attention over kept keys and values, and the rest."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from torch import Tensor

from fvlm_timm.architecture import POST_NORM


def attention_input(block: Any, hidden: Tensor) -> Tensor:
    """What the block's projections read: hidden [..., D], normed unless the block norms afterwards."""
    return hidden if isinstance(block, POST_NORM) else block.norm1(hidden)


def project(block: Any, states: Tensor, which: str) -> list[Tensor]:
    """Queries, keys or values of states [F, N, D] from `attention_input`: [F, heads, N, head width] for each letter.

    which: consecutive letters of "qkv". Queries and keys are normed where the block has norms for them.
    """
    attention = block.attn
    first = "qkv".index(which)
    if attention.qkv is None:
        maps = (attention.q_proj, attention.k_proj, attention.v_proj)[first : first + len(which)]
        parts = [linear(states) for linear in maps]
    else:
        width = attention.qkv.out_features // 3
        rows = slice(first * width, (first + len(which)) * width)
        bias = _fused_bias(attention)
        fused = F.linear(states, attention.qkv.weight[rows], None if bias is None else bias[rows])
        parts = list(fused.chunk(len(which), -1))
    heads = [part.unflatten(-1, (attention.num_heads, -1)).transpose(1, 2) for part in parts]
    norms = {"q": attention.q_norm, "k": attention.k_norm}
    # A norm returns float32 under autocast, and all three must be of one type.
    return [
        norms[letter](part).to(part.dtype) if letter in norms else part
        for letter, part in zip(which, heads, strict=True)
    ]


def rotate(block: Any, states: Tensor, rotary: Tensor | None) -> Tensor:
    """Queries or keys [F, heads, N, head width] with the rotary positions of the patches; prefix tokens have none."""
    if rotary is None:
        return states
    prefix = block.attn.num_prefix_tokens
    turned = apply_rot_embed_cat(states[:, :, prefix:], rotary, half=block.attn.rotate_half)
    return torch.cat([states[:, :, :prefix], turned.to(states.dtype)], 2)


def finish(block: Any, hidden: Tensor, seen: Tensor) -> Tensor:
    """Hidden [..., D] after the block, given what its attention saw [..., D] before the output projection."""
    attention = block.attn
    seen = attention.proj(attention.norm(seen))
    if isinstance(block, POST_NORM):
        hidden = hidden + block.norm1(seen)
        return hidden + block.norm2(block.mlp(hidden))
    hidden = hidden + _scale(block, 1, seen)
    return hidden + _scale(block, 2, block.mlp(block.norm2(hidden)))


def _scale(block: Any, branch: int, states: Tensor) -> Tensor:
    """Layer scale, which timm's two families keep in different places."""
    if hasattr(block, "ls1"):
        return getattr(block, f"ls{branch}")(states)
    gamma = getattr(block, f"gamma_{branch}")
    return states if gamma is None else gamma * states


def _fused_bias(attention: Any) -> Tensor | None:
    """The bias of a fused projection; EVA's has none for keys and keeps the others apart."""
    if not hasattr(attention, "q_bias"):
        return attention.qkv.bias
    if attention.q_bias is None:
        return None
    return torch.cat((attention.q_bias, attention.k_bias, attention.v_bias))

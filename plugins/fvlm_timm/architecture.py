"""A timm architecture by name: made without its head, its sizes, and whether a query can walk its blocks."""

from __future__ import annotations

from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

import timm
import torch
from timm.layers.attention import Attention, AttentionRope
from timm.layers.mlp import GluMlp, Mlp, SwiGLU
from timm.layers.patch_embed import PatchEmbed
from timm.models import is_model, is_model_in_modules
from timm.models.deit import VisionTransformerDistilled
from timm.models.eva import Eva, EvaAttention, EvaBlock, EvaBlockPostNorm
from timm.models.vision_transformer import Block, ResPostBlock, VisionTransformer
from torch import nn

from fvlm_core.plugin_api import SEEDED, EncoderSpec, UsageError

if TYPE_CHECKING:
    from fvlm_timm.config import Timm

POST_NORM = (ResPostBlock, EvaBlockPostNorm)
"""Blocks that norm what attention and MLP return, not what they read."""

ARGUMENTS = {
    "width": "embed_dim",
    "depth": "depth",
    "heads": "num_heads",
    "patch_size": "patch_size",
    "position_size": "img_size",
}
"""What timm calls the sizes that a recipe may set."""

_MODULES = ("vision_transformer", "deit", "eva")
_MODELS = (VisionTransformer, VisionTransformerDistilled, Eva)
_BLOCKS = (Block, EvaBlock, *POST_NORM)
_ATTENTIONS = (Attention, EvaAttention, AttentionRope)
_GATED = (GluMlp, SwiGLU)


def create(config: Timm) -> Any:
    """The timm model on torch's current device, freshly drawn by timm, without head and pooling.

    Its position table keeps its own size: that of the published model, or `position_size`. Raises `UsageError` for a
    name that timm does not know and for an architecture whose blocks are not the usual ones.
    """
    _check_name(config.model)
    stated: dict[str, Any] = {name: getattr(config, field) for field, name in ARGUMENTS.items()}
    if config.weights == SEEDED:
        stated["img_size"] = config.position_size or config.image_size
    sizes = {name: value for name, value in stated.items() if value is not None}
    try:
        vit: Any = timm.create_model(config.model, num_classes=0, dynamic_img_size=False, **sizes)
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error) or "its sizes do not fit each other"
        raise UsageError(f'model: timm cannot make "{config.model}" with {sizes}: {reason}') from error
    _check_blocks(config.model, vit)
    side = vit.patch_embed.patch_size[0]
    if config.image_size % side:
        raise UsageError(
            f'image_size: expected a multiple of {side}, the patch size of "{config.model}", '
            f"got {config.image_size}; nearest: {max(1, round(config.image_size / side)) * side}"
        )
    if isinstance(vit.norm, nn.Identity):
        vit.norm = (
            vit.fc_norm
        )  # models pooled by a mean norm after it; tokens and queries are normed one by one
    vit.fc_norm = nn.Identity()
    vit.attn_pool = None
    if hasattr(vit, "head_dist"):
        vit.head_dist = nn.Identity()
    if getattr(vit, "rope", None) is not None:
        vit.rope.aug_active = False  # shifts and scales of pretraining: frames would look different each time
        vit.rope.update_feat_shape((config.image_size // side,) * 2)
    return vit


@cache
def spec(config: Timm) -> EncoderSpec:
    """The sizes of `create(config)`, found without memory for its weights. Raises `UsageError`."""
    with torch.device("meta"):
        vit = create(config)
    side = config.image_size // vit.patch_embed.patch_size[0]
    block = vit.blocks[0]
    return EncoderSpec(
        width=vit.embed_dim,
        image_size=config.image_size,
        patch_grid=(side, side),
        depth=len(vit.blocks),
        heads=block.attn.num_heads,
        prefix_tokens=vit.num_prefix_tokens,
        mean=vit.pretrained_cfg["mean"],
        std=vit.pretrained_cfg["std"],
        mlp=block.mlp.fc2.in_features,
        gated=isinstance(block.mlp, _GATED),
        recompute=config.checkpoint_activations,
    )


def _check_name(name: str) -> None:
    architecture, _, tag = name.partition(".")
    if not is_model(architecture):
        near = get_close_matches(architecture, timm.list_models(), n=3)
        raise UsageError(f'model: timm {timm.__version__} has no model called "{architecture}"{_meant(near)}')
    if not is_model_in_modules(architecture, _MODULES):
        raise UsageError(_unusual(name, "it is not one of timm's plain vision transformers"))
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        known = ", ".join(sorted(tags)) or "none"
        raise UsageError(f'model: "{architecture}" has no weights tagged "{tag}"; its tags: {known}')


def _check_blocks(name: str, vit: Any) -> None:
    """Only what `fvlm_timm.blocks` walks, and what the FLOP ledger counts, passes."""
    if type(vit) not in _MODELS:
        raise UsageError(_unusual(name, f"it is a {type(vit).__name__}"))
    if type(vit.patch_embed) is not PatchEmbed:
        kind = type(vit.patch_embed).__name__
        raise UsageError(_unusual(name, f"its patches come from {kind}, not from one convolution"))
    rope = getattr(vit, "rope", None)
    if rope is not None and not hasattr(rope, "update_feat_shape"):
        raise UsageError(_unusual(name, f"its positions are those of {type(rope).__name__}"))
    for block in vit.blocks:
        if type(block) not in _BLOCKS:
            raise UsageError(_unusual(name, f"its blocks are {type(block).__name__}"))
        attention = block.attn
        if type(attention) not in _ATTENTIONS:
            raise UsageError(_unusual(name, f"the attention of its blocks is {type(attention).__name__}"))
        if type(block.mlp) not in (Mlp, *_GATED):
            raise UsageError(_unusual(name, f"the MLP of its blocks is {type(block.mlp).__name__}"))
        if attention.proj.in_features != vit.embed_dim:
            raise UsageError(_unusual(name, "its heads together are not as wide as its tokens"))
        if getattr(attention, "num_kv_groups", 1) > 1 or attention.gate is not None:
            raise UsageError(_unusual(name, "its attention has grouped keys or a gate"))


def _unusual(name: str, reason: str) -> str:
    return (
        f'model: "{name}" cannot be an encoder here: {reason}. Expected a VisionTransformer or Eva of timm whose '
        "blocks are self-attention and an MLP: vit_*, deit*, eva*"
    )


def _meant(near: list[str]) -> str:
    return f"; did you mean {' or '.join(near)}?" if near else "; timm.list_models() names all of them"

"""Vision transformers of timm, with a query that walks their blocks over cached keys and values."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fvlm_core.plugin_api import SEEDED, Depth, KeyValue, PatchFeatures, VisionEncoder, dot_product_attention
from fvlm_timm.architecture import create
from fvlm_timm.blocks import attention_input, finish, project, rotate
from fvlm_timm.config import Timm
from fvlm_timm.weights import load, weights_file

_TOKENS = ("cls_token", "dist_token", "reg_token")
_SEEDED_TOKEN_STD = 1.0  # learned tokens and positions as large as what a seeded patch projection gives


def build(config: Timm) -> TimmEncoder:
    """The encoder with fresh weights; see `VisionEncoder`. Raises `UsageError`."""
    return TimmEncoder(config)


class TimmEncoder(VisionEncoder):
    """A vision transformer of timm. Weight names are timm's, under `vit`."""

    def __init__(self, config: Timm) -> None:
        super().__init__()
        self.spec = config.spec()
        self.config = config
        self.vit = create(config)
        if config.weights == SEEDED:
            self._draw()

    def load_weights(self) -> None:
        """The pretrained weights as float32. Raises `MissingWeights`, and `UsageError` when they do not fit."""
        file = weights_file(self.config)
        if file is not None:
            load(self.vit, self.config.model, file)

    def decays(self, name: str) -> bool | None:
        """Not the patch embedding: it embeds, as a table of tokens does."""
        return False if name == "vit.patch_embed.proj.weight" else None

    def encode(self, frames: Tensor, *, tokens: bool = True, layers: bool = True) -> PatchFeatures:
        """Look at every frame once; see `VisionEncoder.encode`.

        Keys and values are projected once and kept. Without `tokens` the last layer stops there: its update of the
        patches would be read by nobody.
        """
        hidden = self._embed(frames)
        rotary = self._rotary()
        recompute = self.config.checkpoint_activations and torch.is_grad_enabled()
        kept: list[KeyValue] = []
        last = self.spec.depth - 1
        for index, block in enumerate(self.vit.blocks):
            given = (block, hidden, rotary[index], tokens or index < last)
            if recompute:
                hidden, key, value = checkpoint(self._layer, *given, use_reentrant=False)
            else:
                hidden, key, value = self._layer(*given)
            if layers:
                kept.append(KeyValue(key, value))
        return PatchFeatures(self.vit.norm(hidden) if tokens else None, tuple(kept))

    def attend(
        self,
        query: Tensor,
        features: PatchFeatures,
        *,
        depth: Depth = "deep",
        weights: list[Tensor] | None = None,
    ) -> Tensor:
        """Look again with a query for each frame; see `VisionEncoder.attend`.

        deep: at each layer the query takes the place of one more prefix token, which has no rotary position.
        shallow: the query, unprojected, attends once over the final features as the last layer would key them.
        """
        if depth == "shallow":
            return self.vit.norm(self._look(self._split(query), self._final(features), weights))
        hidden = query
        for block, kept in zip(self.vit.blocks, features.layers, strict=True):
            (asked,) = project(block, attention_input(block, hidden)[:, None], "q")
            hidden = finish(block, hidden, self._look(asked, kept, weights))
        return self.vit.norm(hidden)

    def _embed(self, frames: Tensor) -> Tensor:
        """Frames to the tokens that the first block reads: [F, N, D], prefix tokens first."""
        vit = self.vit
        patches = vit.patch_embed.norm(vit.patch_embed.proj(frames).flatten(2).transpose(1, 2))
        learned = [getattr(vit, name, None) for name in _TOKENS]
        prefix = [token.expand(len(frames), -1, -1) for token in learned if token is not None]
        positions = self._positions()
        if positions is not None and vit.no_embed_class:
            return vit.norm_pre(torch.cat([*prefix, patches + positions], 1))
        hidden = torch.cat([*prefix, patches], 1)
        return vit.norm_pre(hidden if positions is None else hidden + positions)

    def _positions(self) -> Tensor | None:
        """The position table at the frames' size: bicubic without antialias, as transformers does for DINOv2."""
        table, own = self.vit.pos_embed, self.vit.patch_embed.grid_size
        if table is None or own == self.spec.patch_grid:
            return table
        prefix = 0 if self.vit.no_embed_class else self.spec.prefix_tokens
        patches = table[:, prefix:].unflatten(1, own).permute(0, 3, 1, 2)
        resized = F.interpolate(patches.float(), self.spec.patch_grid, mode="bicubic", align_corners=False)
        return torch.cat([table[:, :prefix], resized.flatten(2).transpose(1, 2).to(table.dtype)], 1)

    def _rotary(self) -> list[Tensor | None]:
        """Rotary positions of the patches, for each layer."""
        rope: Any = getattr(self.vit, "rope", None)
        if rope is None:
            return [None] * self.spec.depth
        embedded = rope.get_embed()
        return list(embedded) if self.vit.rope_mixed else [embedded] * self.spec.depth

    def _layer(
        self, block: Any, hidden: Tensor, rotary: Tensor | None, update: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """One block over all tokens: hidden [F, N, D] to (hidden, key, value); hidden unchanged if not `update`."""
        normed = attention_input(block, hidden)
        if not update:
            key, value = project(block, normed, "kv")
            return hidden, rotate(block, key, rotary), value
        query, key, value = project(block, normed, "qkv")
        query, key = rotate(block, query, rotary), rotate(block, key, rotary)
        seen = dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return finish(block, hidden, seen), key, value

    def _split(self, query: Tensor) -> Tensor:
        """[F, D] to [F, heads, 1, head width]."""
        return query.unflatten(-1, (self.spec.heads, 1, -1))

    def _look(self, query: Tensor, kept: KeyValue, weights: list[Tensor] | None) -> Tensor:
        """Attention of one query a frame, [F, heads, 1, head width], over that frame's tokens: [F, D]."""
        if weights is None:
            return dot_product_attention(query, kept.key, kept.value).flatten(1)
        scores = query @ kept.key.transpose(-1, -2) * query.shape[-1] ** -0.5
        share = scores.float().softmax(-1)
        weights.append(share.squeeze(2))
        return (share.to(kept.value.dtype) @ kept.value).flatten(1)

    def _final(self, features: PatchFeatures) -> KeyValue:
        """Keys and values of the final features, projected by the last layer once."""
        if features.final is None:
            assert features.tokens is not None, "shallow attention reads PatchFeatures.tokens"
            block = self.vit.blocks[-1]
            key, value = project(block, attention_input(block, features.tokens), "kv")
            features.final = KeyValue(rotate(block, key, self._rotary()[-1]), value)
        return features.final

    @torch.no_grad()
    def _draw(self) -> None:
        """Fresh weights for training from scratch: every linear map with std 1/sqrt(fan-in), biases 0, layer scales 1.

        timm's own draw (std .02, layer scales down to 1e-5) is for long pretraining.
        """
        for module in self.vit.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for name, parameter in self.vit.named_parameters():
            if name in (*_TOKENS, "pos_embed"):
                nn.init.normal_(parameter, std=_SEEDED_TOKEN_STD)
            elif name.endswith(("gamma", "gamma_1", "gamma_2")):
                nn.init.ones_(parameter)

"""DINOv2, with a query that walks its layers over cached keys and values."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fvlm_core.plugin_api import (
    SEEDED,
    Depth,
    KeyValue,
    PatchFeatures,
    VisionEncoder,
    dot_product_attention,
    read_weights,
)
from fvlm_dinov2.blocks import Dinov2, Layer
from fvlm_dinov2.config import DINOv2

_SEEDED_TOKEN_STD = 1.0  # class token and positions as large as what a seeded patch projection gives
_TRANSFORMERS_4 = {
    "attention.attention.query.": "attention.q_proj.",
    "attention.attention.key.": "attention.k_proj.",
    "attention.attention.value.": "attention.v_proj.",
    "attention.output.dense.": "attention.o_proj.",
}


def build(config: DINOv2) -> DINOv2Encoder:
    """The encoder with fresh weights; see `VisionEncoder`."""
    return DINOv2Encoder(config)


class DINOv2Encoder(VisionEncoder):
    """DINOv2 (Oquab et al. 2023). Weight names are transformers', under `dino`."""

    def __init__(self, config: DINOv2) -> None:
        super().__init__()
        self.spec = config.spec()
        self.config = config
        self.dino = Dinov2(config.sizes())
        if config.weights == SEEDED:
            self._draw()

    def load_weights(self) -> None:
        """The pretrained weights as float32, from the Hugging Face cache or a folder. Raises as `read_weights`."""
        if self.config.weights == SEEDED:
            return
        from transformers import Dinov2Model

        # No second copy of the weights.
        self.dino.load_state_dict(read_weights(self.config.weights, Dinov2Model), assign=True)

    def our_name(self, name: str) -> str:
        """Names of transformers 4 to those of transformers 5: the attention's projections were called otherwise."""
        if name.startswith("encoder."):
            for old, new in _TRANSFORMERS_4.items():
                name = name.replace(old, new)
        return name

    def decays(self, name: str) -> bool | None:
        """Not the patch embedding: it embeds, as a table of tokens does."""
        return False if name == "dino.embeddings.patch_embeddings.projection.weight" else None

    def encode(self, frames: Tensor, *, tokens: bool = True, layers: bool = True) -> PatchFeatures:
        """Look at every frame once; see `VisionEncoder.encode`.

        Keys and values are projected once and kept. Without `tokens` the last layer stops there: its update of the
        patches would be read by nobody (6 % of the encoder's time at 224 px).
        """
        hidden = self.dino.embeddings(frames)
        recompute = self.config.checkpoint_activations and torch.is_grad_enabled()
        kept: list[KeyValue] = []
        last = self.spec.depth - 1
        for index, block in enumerate(self.dino.layers):
            update = tokens or index < last
            if recompute:
                hidden, key, value = checkpoint(self._layer, block, hidden, update, use_reentrant=False)
            else:
                hidden, key, value = self._layer(block, hidden, update)
            if layers:
                kept.append(KeyValue(key, value))
        return PatchFeatures(self.dino.layernorm(hidden) if tokens else None, tuple(kept))

    def attend(
        self,
        query: Tensor,
        features: PatchFeatures,
        *,
        depth: Depth = "deep",
        weights: list[Tensor] | None = None,
    ) -> Tensor:
        """Look again with a query for each frame; see `VisionEncoder.attend`.

        deep: at each layer the query takes the place of one more token: pre-norm, that layer's query projection,
        attention over the kept keys and values, output projection, layer scale, MLP, layer scale, residuals.
        shallow: the query, unprojected, attends once over the final features as the last layer would key them.
        """
        if depth == "shallow":
            return self.dino.layernorm(self._look(query, self._final(features), weights))
        hidden = query
        for block, kept in zip(self.dino.layers, features.layers, strict=True):
            attention = block.attention
            seen = self._look(attention.q_proj(block.norm1(hidden)), kept, weights)
            hidden = hidden + block.layer_scale1(attention.o_proj(seen))
            hidden = hidden + block.layer_scale2(block.mlp(block.norm2(hidden)))
        return self.dino.layernorm(hidden)

    def compile_layers(self) -> None:
        """See `VisionEncoder.compile_layers`."""
        self._layer = torch.compile(self._layer)

    def _layer(self, block: Layer, hidden: Tensor, update: bool) -> tuple[Tensor, Tensor, Tensor]:
        """One layer over all tokens: hidden [F, N, D] to (hidden, key, value); hidden unchanged if not `update`."""
        attention = block.attention
        normed = block.norm1(hidden)
        key = self._heads(attention.k_proj(normed))
        value = self._heads(attention.v_proj(normed))
        if update:
            query = self._heads(attention.q_proj(normed))
            seen = dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
            hidden = hidden + block.layer_scale1(attention.o_proj(seen))
            hidden = hidden + block.layer_scale2(block.mlp(block.norm2(hidden)))
        return hidden, key, value

    def _heads(self, states: Tensor) -> Tensor:
        """[F, N, D] to [F, heads, N, head width]."""
        return states.unflatten(-1, (self.spec.heads, -1)).transpose(1, 2)

    def _look(self, query: Tensor, kept: KeyValue, weights: list[Tensor] | None) -> Tensor:
        """Attention of one query a frame, [F, D], over that frame's tokens."""
        query = query.unflatten(-1, (self.spec.heads, 1, -1))
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
            block = self.dino.layers[-1]
            normed = block.norm1(features.tokens)
            attention = block.attention
            features.final = KeyValue(
                self._heads(attention.k_proj(normed)), self._heads(attention.v_proj(normed))
            )
        return features.final

    @torch.no_grad()
    def _draw(self) -> None:
        """Fresh weights for training from scratch: every linear map with std 1/sqrt(fan-in), biases 0.

        transformers' own .02 leaves small models on a plateau for thousands of samples.
        """
        for module in self.dino.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        embeddings = self.dino.embeddings
        nn.init.normal_(embeddings.cls_token, std=_SEEDED_TOKEN_STD)
        nn.init.normal_(embeddings.position_embeddings, std=_SEEDED_TOKEN_STD)

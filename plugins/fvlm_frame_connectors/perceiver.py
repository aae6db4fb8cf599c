"""Latent queries that look at a frame: the resampler of Flamingo (Alayrac et al. 2022, arXiv:2204.14198)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvlm_core.plugin_api import EncoderSpec, LLMSpec, dot_product_attention
from fvlm_frame_connectors.config import Perceiver
from fvlm_frame_connectors.frames import FrameConnector, draw


def build(config: Perceiver, encoder: EncoderSpec, llm: LLMSpec) -> PerceiverConnector:
    """The connector with fresh weights; see `Connector`."""
    return PerceiverConnector(config, encoder, llm)


class PerceiverConnector(FrameConnector):
    """n learned latents, the same for every frame, go through `depth` layers of cross-attention and MLP (`_Layer`) over
    all tokens of the frame, CLS included, and a norm.

    Parameters: latents [n, D], each layer's, norm [D].
    """

    def __init__(self, config: Perceiver, encoder: EncoderSpec, llm: LLMSpec) -> None:
        super().__init__(config, encoder, llm)
        self.latents = nn.Parameter(torch.empty(config.tokens, encoder.width))
        nn.init.normal_(self.latents)
        heads = config.heads or encoder.heads
        self.layers = nn.ModuleList(_Layer(encoder.width, heads) for _ in range(config.depth))
        self.norm = nn.LayerNorm(encoder.width)

    def reduced(self, tokens: Tensor) -> Tensor:
        """What the latents have become, [F, n, D]."""
        latents = self.latents.expand(len(tokens), -1, -1)
        for layer in self.layers:
            latents = layer(latents, tokens)
        return self.norm(latents)


class _Layer(nn.Module):
    """Latents y [F, n, D] over tokens x [F, N, D]: y + A(norm(y), [norm'(x); norm(y)]), then y + M(norm''(y)).

    A: attention of the first over keys and values of both, the latents' own among them. M: an MLP of inner width 4 D.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_latents, self.norm_tokens = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.norm_mlp = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        for each in (self.query, self.key_value, self.out, self.up, self.down):
            draw(each)

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        """[F, n, D]."""
        asking = self.norm_latents(latents)
        seen = torch.cat([self.norm_tokens(tokens), asking], 1)
        split = lambda states: states.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(seen).chunk(2, -1)
        found = dot_product_attention(split(self.query(asking)), split(key), split(value))
        latents = latents + self.out(found.transpose(1, 2).flatten(2))
        return latents + self.down(F.gelu(self.up(self.norm_mlp(latents))))

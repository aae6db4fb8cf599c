"""What these connectors have in common: each frame by itself, a linear map to the language model's width, one scale."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor, nn

from fvlm_core.plugin_api import (
    Connector,
    EachFrameAlone,
    EncoderSpec,
    FrameStream,
    LLMBackend,
    LLMSpec,
    Mode,
    PatchFeatures,
    VisionEncoder,
    VisualTokens,
)


class FrameConnector(Connector):
    """A connector that reads the final features of a frame and makes n tokens of them, which `patches_to_llm` maps to
    the language model's width.

    Parameters: patches_to_llm [C -> W], C the encoder's width D unless `channels` says otherwise, and the child's own.
    """

    encoder_tokens = True
    encoder_layers = False

    def __init__(self, config: Any, encoder: EncoderSpec, llm: LLMSpec, channels: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.spec = config.spec(encoder)
        self.patches_to_llm = nn.Linear(channels or encoder.width, llm.width)
        draw(self.patches_to_llm)

    @abstractmethod
    def reduced(self, tokens: Tensor) -> Tensor:
        """The encoder's tokens of every frame [F, N, D], prefix tokens first, to [F, n, C]."""

    def patches(self, tokens: Tensor) -> Tensor:
        """Those of them that are patches, [F, P, D], row by row of the grid."""
        return tokens[:, self.encoder.prefix_tokens :]

    def to_llm(self, reduced: Tensor) -> Tensor:
        """[F, n, C] to visual tokens [F, n, W]."""
        return self.patches_to_llm(reduced) * self.config.visual_scale

    def connect(
        self,
        features: PatchFeatures,
        counts: Tensor,
        encoder: VisionEncoder,
        llm: LLMBackend,
        *,
        mode: Mode | None = None,
    ) -> VisualTokens:
        """The visual tokens [F, n, W] of a batch; see `Connector.connect`."""
        assert features.tokens is not None
        return VisualTokens(self.to_llm(self.reduced(features.tokens)))

    def stream(self, encoder: VisionEncoder, llm: LLMBackend) -> FrameStream:
        """Videos frame by frame; nothing is kept of a frame."""
        return EachFrameAlone(self, encoder, llm)


@torch.no_grad()
def draw(linear: nn.Linear) -> None:
    """Fresh weights with std 1/sqrt(fan-in), so that visual tokens have the size `visual_scale` states; bias 0."""
    nn.init.normal_(linear.weight, std=linear.in_features**-0.5)
    if linear.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
        nn.init.zeros_(linear.bias)


def chosen(patches: Tensor, index: Tensor) -> Tensor:
    """Some patches of every frame, [F, P, D] by int64 [F, n] to [F, n, D]."""
    return patches.gather(1, index[..., None].expand(-1, -1, patches.shape[-1]))

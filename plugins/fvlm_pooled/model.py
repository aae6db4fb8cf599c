"""The pooled connector: patches averaged over a coarse grid, several tokens a frame, no query."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
from fvlm_pooled.config import Pooled


def build(config: Pooled, encoder: EncoderSpec, llm: LLMSpec) -> PooledConnector:
    """The connector with fresh weights; see `Connector`."""
    return PooledConnector(config, encoder, llm)


class PooledConnector(Connector):
    """Final patch features, prefix tokens left out, averaged into grid x grid cells (cells share patches where the
    grid does not divide) and mapped to the LLM's width. Every mode of use is the same single pass.

    Parameters: dino_to_llm [D -> W].
    """

    encoder_tokens = True
    encoder_layers = False

    def __init__(self, config: Pooled, encoder: EncoderSpec, llm: LLMSpec) -> None:
        super().__init__()
        self.config = config
        self.encoder = encoder
        self.spec = config.spec(encoder)
        self.dino_to_llm = nn.Linear(encoder.width, llm.width)
        with torch.no_grad():  # so that visual tokens have the size `visual_scale` states
            nn.init.normal_(self.dino_to_llm.weight, std=encoder.width**-0.5)
            nn.init.zeros_(self.dino_to_llm.bias)

    def our_name(self, name: str) -> str:
        """In the founding project's checkpoints the map lies at the top."""
        return f"connector.{name}" if name.startswith("dino_to_llm.") else name

    def connect(
        self,
        features: PatchFeatures,
        counts: Tensor,
        encoder: VisionEncoder,
        llm: LLMBackend,
        *,
        mode: Mode | None = None,
    ) -> VisualTokens:
        """The visual tokens [F, grid * grid, W] of a batch, row by row of the grid; see `Connector.connect`."""
        assert features.tokens is not None
        patches = features.tokens[:, self.encoder.prefix_tokens :]
        image = patches.transpose(1, 2).unflatten(2, self.encoder.patch_grid)
        pooled = F.adaptive_avg_pool2d(image, self.config.grid).flatten(2).transpose(1, 2)
        return VisualTokens(self.dino_to_llm(pooled) * self.config.visual_scale)

    def stream(self, encoder: VisionEncoder, llm: LLMBackend) -> FrameStream:
        """Videos frame by frame; nothing is kept of a frame."""
        return EachFrameAlone(self, encoder, llm)

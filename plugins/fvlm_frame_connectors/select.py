"""The patches that matter by the encoder's own account: the usual pruner (Zhang et al. 2024, arXiv:2412.01818)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from fvlm_core.plugin_api import EncoderSpec, LLMSpec
from fvlm_frame_connectors.config import Select
from fvlm_frame_connectors.frames import FrameConnector, chosen


def build(config: Select, encoder: EncoderSpec, llm: LLMSpec) -> SelectConnector:
    """The connector with fresh weights; see `Connector`."""
    return SelectConnector(config, encoder, llm)


class SelectConnector(FrameConnector):
    """The n final patch features with the largest cosine to that of CLS, in the order of the grid.

    Pruners rank by the attention of CLS. Encoders here keep keys and values and no map of attention, which fused
    kernels never make; what CLS has attended to is what its features are made of. The choice is not differentiable:
    gradients reach the patches that are taken, and neither CLS nor the others.
    """

    def reduced(self, tokens: Tensor) -> Tensor:
        """[F, n, D]."""
        patches = self.patches(tokens)
        alike = (F.normalize(patches, dim=-1) @ F.normalize(tokens[:, :1], dim=-1).mT)[..., 0].detach()
        return chosen(patches, alike.topk(self.config.tokens, 1).indices.sort(1).values)

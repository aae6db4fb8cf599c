"""Patches that are alike become one: bipartite soft matching of ToMe (Bolya et al. 2023, arXiv:2210.09461)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fvlm_core.plugin_api import EncoderSpec, LLMSpec
from fvlm_frame_connectors.config import Merge
from fvlm_frame_connectors.frames import FrameConnector


def build(config: Merge, encoder: EncoderSpec, llm: LLMSpec) -> MergeConnector:
    """The connector with fresh weights; see `Connector`."""
    return MergeConnector(config, encoder, llm)


class MergeConnector(FrameConnector):
    """The final patch features of a frame, merged in rounds until n are left, in the order of the grid.

    ToMe merges a few tokens in every layer of the encoder; here all is done after it, so that the encoder stays what
    its weights know, and a round may take half of what is there. A token is the mean of its patches. Which patches go
    together is no differentiable choice: gradients reach the patches through the means alone.
    """

    def reduced(self, tokens: Tensor) -> Tensor:
        """[F, n, D]."""
        patches = self.patches(tokens)
        sizes = patches.new_ones(*patches.shape[:2], 1)
        while (surplus := patches.shape[1] - self.config.tokens) > 0:
            patches, sizes = merged(patches, sizes, min(surplus, patches.shape[1] // 2))
        return patches


def merged(tokens: Tensor, sizes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """One round: `count` fewer tokens [F, N, D], and how many patches each stands for [F, N, 1].

    Tokens at even places find the one at an odd place that is most like them (cosine); the `count` most alike go
    there, several to one if need be, and leave their mean weighted by size (section 3, "bipartite soft matching").
    """
    alike = F.normalize(tokens, dim=-1).detach()
    best, partner = (alike[:, ::2] @ alike[:, 1::2].mT).max(-1)
    leaving = best.argsort(dim=1, descending=True, stable=True)[:, :count]
    place = torch.arange(tokens.shape[1], device=tokens.device).expand(len(tokens), -1)
    goes = place.scatter(1, 2 * leaving, 2 * partner.gather(1, leaving) + 1)
    stays = (goes != place).int().argsort(dim=1, stable=True)[:, : tokens.shape[1] - count]
    # As a product with a matrix of zeros and ones: a sum by index has no fixed order on a GPU.
    joins = (stays[:, :, None] == goes[:, None]).to(tokens.dtype)
    whole = joins @ sizes
    return (joins @ (tokens * sizes)) / whole, whole

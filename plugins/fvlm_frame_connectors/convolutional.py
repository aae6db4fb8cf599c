"""A strided convolution over the patches, as small models in use have it (Marafioti et al. 2025, arXiv:2504.05299)."""

from __future__ import annotations

from torch import Tensor

from fvlm_core.plugin_api import EncoderSpec, LLMSpec
from fvlm_frame_connectors.config import Convolutional
from fvlm_frame_connectors.frames import FrameConnector


def build(config: Convolutional, encoder: EncoderSpec, llm: LLMSpec) -> ConvolutionalConnector:
    """The connector with fresh weights; see `Connector`."""
    return ConvolutionalConnector(config, encoder, llm)


class ConvolutionalConnector(FrameConnector):
    """Squares of s x s patches, side by side, each mapped to one token: a convolution of kernel and stride s, which
    SmolVLM calls pixel shuffle and a linear map. C is s * s * D, a square's patches row by row."""

    def __init__(self, config: Convolutional, encoder: EncoderSpec, llm: LLMSpec) -> None:
        super().__init__(config, encoder, llm, config.stride**2 * encoder.width)

    def reduced(self, tokens: Tensor) -> Tensor:
        """[F, n, s * s * D]."""
        stride, (rows, columns) = self.config.stride, self.encoder.patch_grid
        squares = self.patches(tokens).unflatten(1, (rows // stride, stride, columns // stride, stride))
        return squares.transpose(2, 3).flatten(3, 5).flatten(1, 2)

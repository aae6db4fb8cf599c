"""The last frames and nothing else: the control that many streaming models do not beat (arXiv:2604.02317)."""

from __future__ import annotations

from torch import Tensor

from fvlm_core.plugin_api import EncoderSpec, LLMSpec
from fvlm_frame_connectors.config import LastFrames
from fvlm_frame_connectors.frames import FrameConnector


def build(config: LastFrames, encoder: EncoderSpec, llm: LLMSpec) -> LastFramesConnector:
    """The connector with fresh weights; see `Connector`."""
    return LastFramesConnector(config, encoder, llm)


class LastFramesConnector(FrameConnector):
    """Every patch of the frames that it is shown; `ConnectorSpec.last_frames` says which these are."""

    def reduced(self, tokens: Tensor) -> Tensor:
        """[F, P, D]."""
        return self.patches(tokens)

"""The encoder of another modality than frames: its items in, tokens of the language model's width out."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from fvlm_core.interfaces.specs import ModalitySpec


class ModalityEncoder(nn.Module, ABC):
    """An encoder of audio, depth, sensors or whatever else samples give as a `Signal`.

    The component's target is `build(config, llm: LLMSpec) -> ModalityEncoder`; its config class has
    `spec() -> ModalitySpec`. A recipe names it in `[[model.modalities]]`. Its tokens stand after the visual tokens of
    their sample and before the text, those of several encoders in the recipe's order; a sample that gives nothing of
    its modality has none. It trains as a part of the connector does: at the connector's rate, and frozen with it.

    It makes its weights as `VisionEncoder` does. Gradients reach every weight that its tokens depend on.
    """

    spec: ModalitySpec

    def load_weights(self) -> None:
        """Load the pretrained weights that the config names; as `VisionEncoder.load_weights`."""
        return

    def our_name(self, name: str) -> str:
        """As `VisionEncoder.our_name`, for its own weights ("modalities.MODALITY.…")."""
        return name

    def decays(self, name: str) -> bool | None:
        """As `VisionEncoder.decays`."""
        return None

    @abstractmethod
    def encode(self, items: Tensor) -> Tensor:
        """The tokens of I items: [I, k, W], k of `spec` and W the language model's width.

        Items do not see each other: what one gives is the same alone and beside others, in training too. It can be
        done on the meta device, where its FLOPs are counted.
        items: float32 [I, *spec.item]; I may be 0.
        """

"""The vision encoder: frames in, patch features out, and, if it can be queried, one token for a query."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

from attrs import define
from torch import Tensor, nn

from fvlm_core.interfaces.specs import EncoderSpec

Depth = Literal["deep", "shallow"]
"""`deep`: the query walks through every layer. `shallow`: one attention over the final features (an ablation)."""


class KeyValue(NamedTuple):
    """One layer's keys and values of every token of every frame: each [F, heads, N, head width]."""

    key: Tensor
    value: Tensor


@define
class PatchFeatures:
    """What an encoder saw in F frames.

    tokens: [F, N, D] after the final norm, prefix tokens first; None when the caller did not ask for them.
    layers: one `KeyValue` a layer, first layer first; empty when the encoder cannot be queried or was not asked.
    final: what a shallow `attend` reads, kept by the encoder on first use so that it is projected once.
    """

    tokens: Tensor | None
    layers: tuple[KeyValue, ...] = ()
    final: KeyValue | None = None

    def select(self, frames: Tensor) -> PatchFeatures:
        """The features of some frames only; frames: int64 indices."""
        return PatchFeatures(
            None if self.tokens is None else self.tokens[frames],
            tuple(KeyValue(layer.key[frames], layer.value[frames]) for layer in self.layers),
            None if self.final is None else KeyValue(self.final.key[frames], self.final.value[frames]),
        )


class VisionEncoder(nn.Module, ABC):
    """A vision encoder.

    The component's target is `build(config) -> VisionEncoder`. It makes the architecture with fresh weights (the
    caller has seeded torch's generator, or entered the meta device to count parameters) and reads no file;
    `load_weights` then brings in pretrained ones.

    A component whose encoder implements `attend` says so with `provides=("patches", "query")`; one that only
    encodes says `provides=("patches",)` and works with connectors that need nothing more.

    Gradients reach every weight that the tokens, or what `attend` returns, depend on.
    """

    spec: EncoderSpec

    def load_weights(self) -> None:
        """Load the pretrained weights that the config names; do nothing when it names none.

        Raises `fvlm_core.utils.errors.MissingWeights`, with the command that fetches them, when they are not on this
        machine. Never falls back to random weights.
        """
        return

    def our_name(self, name: str) -> str:
        """The name in the composed model ("encoder.…") of a tensor called `name` in a weight file made elsewhere.

        What this component does not know stays as it is. `fvlm weights import` asks encoder, connector and LLM in turn.
        """
        return name

    def decays(self, name: str) -> bool | None:
        """Whether weight decay acts on this component's parameter `name`; None for what its kind says.

        By kind it acts on what is called weight and has two dimensions or more, in any module but an embedding.
        """
        return None

    def compile_layers(self) -> None:
        """Compile what a layer does (`torch.compile`), in place, for shapes that do not change; with equal results as
        far as float32 goes. Does nothing unless the encoder says how."""
        return

    @abstractmethod
    def encode(self, frames: Tensor, *, tokens: bool = True, layers: bool = True) -> PatchFeatures:
        """Look at every frame once.

        Frames of a batch do not see each other: what one gives is the same alone and beside others, in training too.
        frames: [F, 3, spec.image_size, spec.image_size], floating point, normalised with spec.mean and spec.std.
        tokens: whether the caller reads `PatchFeatures.tokens`; an encoder may skip the work when it does not.
        layers: whether the caller will call `attend`.
        F may be 0 (a batch of text only).
        """

    def attend(
        self,
        query: Tensor,
        features: PatchFeatures,
        *,
        depth: Depth = "deep",
        weights: list[Tensor] | None = None,
    ) -> Tensor:
        """Look at every frame again with a query of its own, over the cached keys and values.

        query: [F, D]. Returns [F, D] after the final norm. Patches never see the query.
        weights: a list to which each layer's attention probabilities [F, heads, N] are appended (one entry for
        `shallow`), for entropy and gaze pictures; None costs nothing.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot be queried")

"""The connector: from patch features to visual tokens in the LLM's width. It may drive the encoder and the LLM."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, Protocol

import torch
from attrs import define, field, frozen
from torch import Tensor, nn

from fvlm_core.interfaces.encoder import PatchFeatures, VisionEncoder
from fvlm_core.interfaces.llm import LLMBackend
from fvlm_core.interfaces.specs import ConnectorSpec, Mode


@define
class Auxiliary:
    """A second set of visual tokens whose text loss is added with a weight.

    name: one of `ConnectorSpec.auxiliary`. tokens: [F, k, W].
    """

    name: str
    weight: float
    tokens: Tensor


@define
class VisualTokens:
    """What the LLM reads for the F frames of a batch.

    tokens: [F, k, W], k tokens a frame, frames of all samples one after the other.
    auxiliary: further losses. diagnostics: named tensors for inspection (queries, encoder outputs), never for the
    loss.
    """

    tokens: Tensor
    auxiliary: list[Auxiliary] = field(factory=list[Auxiliary])
    diagnostics: dict[str, Tensor] = field(factory=dict[str, Tensor])


Reads = Literal["question", "keys"]
"""What a connector may read beside frames, see `Connector.reads`."""


@frozen(eq=False)
class Question:
    """What the samples of a batch ask, where the question comes before the frames.

    embeddings: [Q, W], those of all samples one after the other. lengths: int64 [B] on the host, tokens of each
    sample's question (sum Q; 0 where nothing is asked).
    """

    embeddings: Tensor
    lengths: Tensor

    def select(self, samples: Tensor) -> Question:
        """Those of some samples only; samples: bool [B] on the host."""
        rows = samples.repeat_interleave(self.lengths).nonzero()[:, 0]
        kept = self.embeddings.index_select(0, rows.to(self.embeddings.device, non_blocking=True))
        return Question(kept, self.lengths[samples])


class FrameStream(Protocol):
    """R videos watched in step, one frame at a time. Its tokens are those of one of the connector's modes."""

    def next_tokens(self, frames: Tensor) -> Tensor:
        """The visual tokens [R, k, W] of the next frame of every video: [R, 3, H, W], normalised as for
        `VisionEncoder.encode`."""
        ...


@frozen(eq=False)
class EachFrameAlone:
    """The `FrameStream` of a connector whose frames do not see each other, nor anything but themselves."""

    connector: Connector
    encoder: VisionEncoder
    llm: LLMBackend

    def next_tokens(self, frames: Tensor) -> Tensor:
        """The visual tokens [R, k, W] of the next frame of every video; see `FrameStream`."""
        connector = self.connector
        features = self.encoder.encode(
            frames, tokens=connector.encoder_tokens, layers=connector.encoder_layers
        )
        counts = torch.ones(len(frames), dtype=torch.int64)
        return connector.connect(features, counts, self.encoder, self.llm).tokens


class Connector(nn.Module, ABC):
    """A connector.

    The component's target is `build(config, encoder: EncoderSpec, llm: LLMSpec) -> Connector`; its config class has
    `spec(encoder: EncoderSpec) -> ConnectorSpec`. What it asks of the encoder is declared on the component:
    `needs=("query",)` or `needs=("patches",)`.

    It makes its weights as `VisionEncoder` does. Gradients reach every weight that its tokens depend on.
    """

    spec: ConnectorSpec
    encoder_tokens: bool
    """Whether `connect` reads `PatchFeatures.tokens`; when False the encoder may skip its last patch update."""
    encoder_layers: bool
    """Whether `connect` calls `encoder.attend`."""
    reads: tuple[Reads, ...] = ()
    """What else it reads of the samples, each a keyword argument that is None where there is none. "question", of
    `connect` and `attention`: a `Question`, in a model with `question_first`; of `stream` its embeddings [R, Q, W].
    "keys", of `connect` and `stream`: int64 [B] on the host, a number for each sample that is the same wherever it is
    met, so that what is drawn by it depends neither on the step nor on other samples; 0 where nobody knows it."""

    def our_name(self, name: str) -> str:
        """As `VisionEncoder.our_name`, for the connector's own weights ("connector.…")."""
        return name

    def decays(self, name: str) -> bool | None:
        """As `VisionEncoder.decays`."""
        return None

    @abstractmethod
    def connect(
        self,
        features: PatchFeatures,
        counts: Tensor,
        encoder: VisionEncoder,
        llm: LLMBackend,
        *,
        mode: Mode | None = None,
    ) -> VisualTokens:
        """Make the visual tokens of a batch.

        Samples do not see each other: what a sample gives is the same alone and beside others, in training too.
        A batch may hold samples without frames (text), and no others: then F is 0, and the tokens are [0, k, W].
        features: of F frames, those of sample 0 first. counts: int64 [B] on the host, frames of each sample (sum F;
        0 for text).
        mode: one of `spec.modes`; None for `spec.mode`. Padding does not exist here: every frame is a real one.
        It runs on the meta device, too, where tensors have shapes and no values: that is how its FLOPs are counted.
        What it does may depend on `counts`, and on no value of another tensor.
        """

    def attention(
        self, features: PatchFeatures, counts: Tensor, encoder: VisionEncoder, llm: LLMBackend
    ) -> dict[str, list[Tensor]]:
        """Where each pass looks: its name to the probabilities [F, heads, N] of each layer.

        Arguments as `connect`. For attention entropy and gaze pictures; empty for a connector without queries. The
        entropy of the first pass is the column `attention_entropy`, of another one X `attention_entropy_X`.
        """
        return {}

    def stream(self, encoder: VisionEncoder, llm: LLMBackend) -> FrameStream | None:
        """A stream that has seen no frame yet; None of a connector that needs all frames of a video at once."""
        return None

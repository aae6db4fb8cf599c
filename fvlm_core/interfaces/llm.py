"""The language model: embeddings, hidden states, output head."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from fvlm_core.interfaces.specs import LLMSpec
from fvlm_core.utils.errors import UsageError


class LLMBackend(nn.Module, ABC):
    """A causal language model.

    The component's target is `build(config, vocabulary: int) -> LLMBackend`: the architecture with fresh weights,
    reading no file (see `VisionEncoder`). Its config class has two methods: `spec() -> LLMSpec` and
    `chat(corpus, file=None) -> Chat`.

    Gradients reach every weight that the logits depend on.
    """

    spec: LLMSpec

    def load_weights(self) -> None:
        """Load the pretrained weights that the config names; as `VisionEncoder.load_weights`."""
        return

    def our_name(self, name: str) -> str:
        """As `VisionEncoder.our_name`, for the LLM's own weights ("llm.…"); a tied head has the embedding's name."""
        return name

    def decays(self, name: str) -> bool | None:
        """As `VisionEncoder.decays`."""
        return None

    def compile_layers(self) -> None:
        """As `VisionEncoder.compile_layers`."""
        return

    @abstractmethod
    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [...] to embeddings [..., W]."""

    @abstractmethod
    def hidden(
        self,
        embeddings: Tensor,
        *,
        lengths: Sequence[int] | None = None,
        cache: Any = None,
    ) -> Tensor:
        """Hidden states after the final norm: [R, S, W] to [R, S, W].

        Attention is causal: position s sees 0..s of its own row, so right padding never leaks.
        Positions count from 0 in every row, from the cache's length when there is a cache.
        lengths: of the samples that lie one after the other in a single row: R is then 1, and they add up to S, each at
        least 1. Every one counts its positions from 0 and sees only itself. No cache goes with it.
        cache: what `new_cache` made; it is extended in place. R may shrink from call to call: the first R rows go on,
        the others are finished.
        """

    @abstractmethod
    def new_cache(self) -> Any:
        """An empty key/value cache for `hidden`."""

    def select_rows(self, cache: Any, rows: Tensor) -> None:
        """Let a cache go on with these of its rows, int64 [R] on its device: row r is then what row rows[r] was.

        A row may be taken several times, or not at all. Beam search needs it; an LLM without it raises `UsageError`.
        """
        raise UsageError(
            f"beams: {type(self).__name__} does not say how to select rows of its cache (LLMBackend.select_rows); "
            "expected 1"
        )

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., W] to logits [..., vocabulary]."""

    def head_weight(self) -> Tensor | None:
        """The weight [vocabulary, W] of which `logits` are the product with hidden states, where they are that and
        nothing else; None where they are more (a bias, a cap), or where nobody says.

        Where it is given, many losses are made with their gradients, chunk by chunk; where not, logits are made twice.
        """
        return None

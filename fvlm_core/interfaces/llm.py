"""The language model: embeddings, hidden states, output head; and the chat format that feeds it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from torch import Tensor, nn

from fvlm_core.interfaces.data import Turn
from fvlm_core.interfaces.specs import LLMSpec


@frozen(eq=False)
class EncodedChat:
    """A chat as token ids, with what each token is. All arrays are [S].

    ids: int64. answer: the assistant's text, its end-of-turn token and the newline after it. content: the
    assistant's text alone, no token of the template. A token that holds characters of both sides of a boundary
    belongs to the answer.
    spelled: control tokens that the texts spell out, as "<|im_end|>" in a caption. They are read as text: only the
    template makes control tokens.
    """

    ids: NDArray[np.int64]
    answer: NDArray[np.bool_]
    content: NDArray[np.bool_]
    spelled: tuple[str, ...] = ()


class Chat(Protocol):
    """Turns chats into token ids. Picklable: data workers hold a copy.

    An LLM component's config object makes one: `config.chat(corpus, file=None) -> Chat`, where `corpus` is a
    callable that returns an iterator over every text of the training sources (for tokenizers made from the data)
    and `file` is a tokenizer saved earlier by `save`.
    """

    vocabulary: int
    end_of_turn: int

    def encode(self, turns: Sequence[Turn]) -> EncodedChat:
        """The whole chat, answers included. What a turn says is text, whatever it spells: no content becomes one of the
        tokenizer's special or added tokens."""
        ...

    def prompt(self, turns: Sequence[Turn]) -> NDArray[np.int64]:
        """The chat up to where the assistant begins to speak: int64 [S]."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids back to text, without special tokens."""
        ...

    def save(self, file: Path) -> None:
        """Write the tokenizer to `file` (JSON)."""
        ...

    def tokenizer_config(self) -> dict[str, Any]:
        """What stands beside the tokenizer in a Hugging Face folder (`tokenizer_config.json`): its class, the special
        tokens and the chat format as a Jinja template."""
        ...


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

    @abstractmethod
    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., W] to logits [..., vocabulary]."""

"""The chat format that feeds a language model: chats to token ids and back, without torch, which no packing needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

from fvlm_core.interfaces.data import Turn


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

    @property
    def question(self) -> int:
        """How many tokens stand before the first answer; 0 in a chat without one."""
        return int(self.answer.argmax()) if self.answer.any() else 0


class Chat(Protocol):
    """Turns chats into token ids. Picklable: data workers hold a copy.

    An LLM component's config object makes one: `config.chat(corpus, file=None) -> Chat`, where `corpus` is a
    callable that returns an iterator over every text of the training sources (for tokenizers made from the data)
    and `file` is a tokenizer saved earlier by `save`. What the chat depends on beside the corpus it may say by
    `config.chat_settings()`, any value that compares equal where chats are: without it, by all of the config.
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

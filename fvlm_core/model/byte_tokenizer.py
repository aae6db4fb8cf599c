"""A chat format without a tokenizer: UTF-8 bytes, and four tokens that say whose turn it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fvlm_core.interfaces.chat import Chat, EncodedChat
from fvlm_core.interfaces.data import Turn

_ROLES = {"system": 256, "user": 257, "assistant": 258}
_END = 259


class ByteChat(Chat):
    """A `Chat` for a language model that has no tokenizer yet: any text, nothing to train and nothing to read.

    Every turn is the token of its role, the bytes of its text and the end-of-turn token. Ids: the bytes 0 to 255,
    then system, user, assistant, end of turn; 260 in all, so the config's `spec()` says `vocabulary=260`. Texts take
    four to five times as many tokens as with a tokenizer of words.
    """

    vocabulary = 260
    end_of_turn = _END

    def encode(self, turns: Sequence[Turn]) -> EncodedChat:
        """The whole chat, answers included; see `EncodedChat`."""
        ids: list[int] = []
        answer: list[bool] = []
        content: list[bool] = []
        for turn in turns:
            text, said = turn.content.encode(), turn.role == "assistant"
            ids += [_ROLES[turn.role], *text, _END]
            answer += [False, *[said] * len(text), said]
            content += [False, *[said] * len(text), False]
        return EncodedChat(np.array(ids, np.int64), np.array(answer, np.bool_), np.array(content, np.bool_))

    def prompt(self, turns: Sequence[Turn]) -> NDArray[np.int64]:
        """The chat up to where the assistant begins to speak, its last answer left out if there is one."""
        asked = turns[:-1] if turns and turns[-1].role == "assistant" else turns
        return np.append(self.encode(asked).ids, np.int64(_ROLES["assistant"]))

    def decode(self, ids: Sequence[int]) -> str:
        """Token ids back to text, without special tokens; bytes that are no UTF-8 become the replacement character."""
        return bytes(token for token in ids if token < 256).decode(errors="replace")

    def save(self, file: Path) -> None:
        """Write what it is to `file` (JSON): there is no tokenizer to keep."""
        file.write_text(json.dumps({"format": "bytes"}), encoding="utf-8")

    def tokenizer_config(self) -> dict[str, Any]:
        """No class of transformers reads it, and no chat template is given."""
        return {"tokenizer_class": "ByteTokenizer"}

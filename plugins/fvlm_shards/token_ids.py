"""Token ids that were frozen into shards, back to the chat that they were made from."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any

from attrs import define

from fvlm_core.plugin_api import NOTES, MissingData, Turn, check_data

_TURN = re.compile(r"<\|im_start\|>(system|user|assistant)\n(.*?)<\|im_end\|>\n?", re.DOTALL)
_START = "<|im_start|>"


@define(slots=False)
class TokenIds:
    """The tokenizer that made the ids (a tokenizer.json with the ChatML tokens)."""

    file: Path

    @cached_property
    def tokenizer(self) -> Any:
        from tokenizers import Tokenizer

        if not self.file.exists():
            raise MissingData(f"{self.file}: the tokenizer that made the shards' token ids is not there")
        check_data(self.file, limit=NOTES)
        return Tokenizer.from_file(str(self.file))

    def turns(self, ids: Any) -> tuple[Turn, ...]:
        """The chat. Raises ValueError when the ids are no whole chat of this tokenizer."""
        if not isinstance(ids, list) or not all(type(one) is int and one >= 0 for one in ids):
            raise ValueError("expected a list of ids")
        text: str = self.tokenizer.decode(ids, skip_special_tokens=False)
        again: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        if again != ids:
            raise ValueError(f"made by another tokenizer: {self.file.name} gives other ids for the same text")
        turns: list[Turn] = []
        end = 0
        for match in _TURN.finditer(text):
            if match.start() != end:
                break
            role, content = match.groups()
            turns.append(Turn(role, content))  # type: ignore[arg-type]  # the pattern's three roles
            end = match.end()
        if rest := text[end:]:
            if rest.startswith(_START):
                raise ValueError(f"cut in the middle of a turn, after {len(ids)} tokens")
            raise ValueError("not a chat in the ChatML format")
        return tuple(turns)

    def __getstate__(self) -> Path:
        return self.file

    def __setstate__(self, state: Path) -> None:
        self.file = state

"""Chats as data sets write them, checked."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fvlm_core.datasets.sources.rows import Refused
from fvlm_core.interfaces.data import Turn
from fvlm_core.utils.text_encodings import fault_of

_ROLES = ("system", "user", "assistant")


def chat_of(pairs: Iterable[tuple[Any, Any]]) -> tuple[Turn, ...]:
    """(role, text) pairs to turns, all of them, white space kept: an answer may be empty as long as not all are.

    Raises `Refused` for a chat that nothing can be learnt from: an unknown role, what is no text, a system turn that is
    not the first, no question before an answer, no answer with a word in it.
    """
    turns: list[Turn] = []
    for number, (role, text) in enumerate(pairs, 1):
        if role not in _ROLES:
            raise Refused(f'turn {number}: expected one of {", ".join(_ROLES)} as its role, got "{role}"')
        if not isinstance(text, str):
            raise Refused(f"turn {number}: expected a text, got {type(text).__name__}")
        if fault := fault_of(text):
            raise Refused(f"turn {number}: {fault}")
        if role == "system" and turns:
            raise Refused(f"turn {number}: a system turn that is not the first")
        if role == "assistant" and not any(turn.role == "user" for turn in turns):
            raise Refused(f"turn {number}: an answer before any question")
        turns.append(Turn(role, text))
    if not any(turn.role == "assistant" and turn.content.strip() for turn in turns):
        raise Refused("no answer in it" if turns else "empty chat")
    return tuple(turns)

"""Multiple-choice questions as texts: the choices of a prompt, and which of them an answer names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from string import ascii_uppercase

_CHOICE = re.compile(r"^[ \t]*\(?([A-Z])[.):][ \t]+(\S.*?)[ \t]*$", re.MULTILINE)
_LETTER = re.compile(
    r"\W*(?:(?:the )?(?:correct )?(?:answer|option|choice)(?: is)?:? *)?\(?([A-Z])\)?(?:[.):,]|$)", re.I
)


def choices(prompt: str) -> tuple[str, ...]:
    """The choices of a prompt that lists them a line each, "A. red", "B) blue" or "(C) none", from A on and each once;
    empty for one that lists fewer than two, or in another way."""
    found = _CHOICE.findall(prompt)
    letters = "".join(letter for letter, _ in found)
    return tuple(text for _, text in found) if len(found) > 1 and ascii_uppercase.startswith(letters) else ()


def chosen(text: str, choices: Sequence[str]) -> int | None:
    """The index of the choice that a text names, or None.

    It names the one whose letter it begins with ("B", "(b)", "B. blue", "Answer: B", "The answer is B."), else the one
    whose text it is, upper and lower case and a full stop left aside. "A red square" begins with a word and no letter.
    """
    text = text.strip()
    letter = _LETTER.match(text)
    if letter is not None and (at := ascii_uppercase.index(letter[1].upper())) < len(choices):
        return at
    plain = text.rstrip(".").casefold()
    same = [at for at, choice in enumerate(choices) if choice.rstrip(".").casefold() == plain]
    return same[0] if len(same) == 1 else None

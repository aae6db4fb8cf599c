"""Lists inside a message: the first few, and how many more there are. Files of others decide how long they would be."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

MOST = 10
"""Names or lines of one message."""

_LONGEST = 300
"""Characters of one name."""


def listed(names: Iterable[object], most: int = MOST, *, none: str = "none") -> str:
    """`a, b, c`; of more than `most` the first, `a, b and 12 more`; `none` where there is no name."""
    texts = [*map(str, names)]
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return (", ".join(map(_short, texts[:most])) or none) + more


def lines(texts: Iterable[object], most: int = MOST, *, indent: str = "") -> str:
    """The first `most`, a line each, and a line that counts the others."""
    found = iter(texts)
    shown = [f"{indent}{text}" for text in islice(found, most)]
    more = more_lines(most + sum(1 for _ in found), most)
    return "\n".join([*shown, f"{indent}{more}"] if more else shown)


def more_lines(count: int, most: int = MOST) -> str:
    """What stands below the first `most` of so many lines; nothing where these are all."""
    return f"and {count - most:,} more" if count > most else ""


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def shorten(text: str, most: int = 100) -> str:
    """Long lists cut with an ellipsis."""
    return text if len(text) <= most else text[: most - 1].rstrip(" ,") + "…"

"""Numbers as people write them, with the field's suffixes: 360M, 1.7B, 20k, 1.6e16."""

from __future__ import annotations

import math
from decimal import Decimal

_SUFFIXES = {"": 0, "k": 3, "K": 3, "M": 6, "B": 9, "T": 12}


def parse_count(text: str) -> float | None:
    """`0.05`, `1e6`, `702_000`, `20k`, `1.5M`; None for what is no finite number."""
    text = text.strip()
    suffix = text[-1:] if text[-1:] in _SUFFIXES else ""
    try:
        # In tens: 1.001 * 1e6 in twos is no whole number.
        number = float(Decimal(text[: len(text) - len(suffix)]).scaleb(_SUFFIXES[suffix]))
    except (ArithmeticError, ValueError):
        return None
    return number if math.isfinite(number) else None

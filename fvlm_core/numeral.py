"""Numbers as people write them, with the field's suffixes: 360M, 1.7B, 20k, 1.6e16."""

from __future__ import annotations

import math

_SUFFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def parse_count(text: str) -> float | None:
    """`0.05`, `1e6`, `702_000`, `20k`, `1.5M`; None for what is no finite number."""
    text = text.strip()
    suffix = text[-1:] if text[-1:] in _SUFFIXES else ""
    try:
        number = float(text[: len(text) - len(suffix)]) * _SUFFIXES[suffix]
    except ValueError:
        return None
    return number if math.isfinite(number) else None

"""What the CPU can do by itself."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path


@cache
def bf16_instructions() -> bool | None:
    """Whether the CPU multiplies bf16 matrices itself, by what Linux says of it; None where it says nothing."""
    try:
        said = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    if re.search(r"^(flags|Features)\b", said, re.MULTILINE) is None:
        return None
    return bool(re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", said))


@cache
def has_bf16() -> bool:
    """As `bf16_instructions`; True where nothing is said."""
    return bf16_instructions() is not False

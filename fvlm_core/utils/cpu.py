"""What the CPU can do by itself."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path


@cache
def has_bf16() -> bool:
    """Whether the CPU multiplies bf16 matrices itself, by what Linux says of it; True where it says nothing."""
    try:
        said = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return True
    return re.search(r"^(flags|Features)\b", said, re.MULTILINE) is None or bool(
        re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", said)
    )

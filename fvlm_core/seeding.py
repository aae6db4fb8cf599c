"""Randomness as a function of (seed, purpose, place): nothing to save, nothing to continue, nothing to disturb."""

from __future__ import annotations

from hashlib import blake2b


def derive(seed: int, *purpose: str | int) -> int:
    """A 63-bit seed for one purpose of one run: derive(42, "mixture", 7). Stable across machines and versions."""
    text = "\x1f".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest()) >> 1

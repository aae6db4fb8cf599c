"""Versions of installed distributions, each looked up once: reading a distribution's metadata takes milliseconds."""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def version(distribution: str) -> str:
    """As `importlib.metadata.version`. Raises `PackageNotFoundError` for one that is not installed."""
    return metadata.version(distribution)

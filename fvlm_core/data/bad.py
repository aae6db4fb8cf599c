"""A sample that cannot be used, and why."""

from __future__ import annotations

from pathlib import Path

from fvlm_core.errors import FvlmError


class BadSample(FvlmError):
    """A sample that cannot be decoded: the file (or the sample's id) and why. Crosses process boundaries."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"

"""A sample that cannot be used, and why."""

from __future__ import annotations

from pathlib import Path

from fvlm_core.utils.errors import FvlmError

MIN_BAD = 10
"""Distinct bad samples that are always tolerated under `on_bad_sample = "skip"`."""


def allowed_bad(max_bad: float, samples: int) -> float:
    """How many distinct samples of `samples` may be bad under `data.max_bad`."""
    return max(MIN_BAD, max_bad * samples)


class BadSample(FvlmError):
    """A sample that cannot be decoded: the file (or the sample's id) and why. Crosses process boundaries."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class Unusable(Exception):
    """Why a file that can be opened gives no sample; whoever knows the file makes a `BadSample` of it."""

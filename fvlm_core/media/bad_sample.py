"""A sample that cannot be used, and why."""

from __future__ import annotations

from pathlib import Path

from fvlm_core.utils.errors import FvlmError

MIN_BAD = 10
"""Distinct bad samples that are tolerated under `on_bad_sample = "skip"`, however few are seen."""


def allowed_bad(max_bad: float, samples: int) -> float:
    """How many distinct samples of `samples` may be bad under `data.max_bad`; none where that is 0."""
    return max(MIN_BAD, max_bad * samples) if max_bad else 0


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

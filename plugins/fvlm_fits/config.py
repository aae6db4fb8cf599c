"""Settings of the laws; an unknown key is an error."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen
from attrs.validators import ge, gt, lt


@frozen
class NoSettings:
    """The law has no settings."""


@frozen
class Tissue:
    """Settings of `tissue`. decay: lambda, what a step leaves of the annealing's momentum."""

    decay: float = field(default=0.999, validator=[gt(0.0), lt(1.0)])


@frozen
class Envelope:
    """Settings of `envelope`. of: what the power of compute is of, the model's size "n" or the samples "d"."""

    of: Literal["n", "d"] = "n"


@frozen
class Repetition:
    """Settings of `repetition`. unique_samples: different samples every run drew from; 0: column `unique`. excess:
    whether parameters beyond what the different samples can use count less as well (N' of the paper)."""

    unique_samples: float = field(default=0.0, validator=ge(0.0))
    excess: bool = False


@frozen
class VisualTokens:
    """Settings of `visual-tokens`. text_tokens: Q, those that are read beside the visual ones and not cached."""

    text_tokens: float = field(default=0.0, validator=ge(0.0))


@frozen
class Accuracy:
    """Settings of `accuracy`. of: what the accuracy is a law of, the "loss" or "compute"."""

    of: Literal["loss", "compute"] = "loss"


def _several(_: object, __: object, value: tuple[str, ...]) -> None:
    if len(value) < 2 or len(set(value)) < len(value):
        raise ValueError(
            f"proportions: expected two or more names of columns, got {', '.join(value) or 'none'}"
        )


@frozen
class Mixture:
    """Settings of `mixture`. proportions: the columns of proportions, which sum to 1 in every row."""

    proportions: tuple[str, ...] = field(default=("p1", "p2", "p3"), converter=tuple, validator=_several)

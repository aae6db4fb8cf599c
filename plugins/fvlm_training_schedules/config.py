"""Settings of warm-up, stable, decay."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, optional


@frozen(kw_only=True)
class WSD:
    """decay: share of the steps after the warm-up in which the rate falls, at the end. decay_steps: the same as a
    number of steps, in its place; 0 never falls: the stable part alone. shape: of the fall, in a straight line, along
    half a cosine, or as one less the square root (Hägele et al. 2024, arXiv:2405.18392).
    """

    decay: float = field(default=0.2, validator=and_(gt(0), le(1)))
    decay_steps: int | None = field(default=None, validator=optional(ge(0)))
    shape: Literal["linear", "cosine", "sqrt"] = "linear"

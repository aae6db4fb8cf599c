"""How the frames of training samples are varied: settings alone."""

from __future__ import annotations

from attrs import field, fields, frozen
from attrs.validators import and_, ge, gt, le, lt, optional


@frozen(kw_only=True)
class Augment:
    """Changes of the frames of training samples, never of validation; the same ones for all frames of a sample.

    crop: a square part of each frame, of this share of its area at least, scaled up to the frame's size. flip: with
    what probability left and right change sides; a text that names sides is then wrong. colour: brightness, contrast
    and saturation are multiplied by factors from 1 - colour to 1 + colour. drop: with what probability a frame of a
    clip is left out; one stays at least.
    """

    crop: float | None = field(default=None, validator=optional(and_(gt(0), le(1))))
    flip: float | None = field(default=None, validator=optional(and_(ge(0), le(1))))
    colour: float | None = field(default=None, validator=optional(and_(ge(0), le(1))))
    drop: float | None = field(default=None, validator=optional(and_(ge(0), lt(1))))

    def __attrs_post_init__(self) -> None:
        names = [of.name for of in fields(Augment)]
        if all(getattr(self, name) is None for name in names):
            raise ValueError(f"expected one of {', '.join(names)}, got none")

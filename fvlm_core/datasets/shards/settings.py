"""How samples are packed. Imports nothing heavy."""

from __future__ import annotations

from attrs import field, frozen
from attrs.validators import and_, ge, gt, le, optional


@frozen(kw_only=True)
class PackSettings:
    """What decides the bytes of a pack, and how long a sample may take.

    fps, max_frames: frames a second of clips; longer clips give `max_frames`, evenly spaced over their whole length.
    None stands for what the source says. Frames that are stored already stay as they are.
    size: side in pixels; the short side is scaled to it (bicubic), the centre cropped. quality: of the JPEGs (4:2:0).
    samples: of a shard. timeout: seconds that one sample may take; what takes longer is skipped and named.
    """

    fps: float | None = field(default=None, validator=optional(gt(0)))
    max_frames: int | None = field(default=None, validator=optional(and_(ge(1), le(4096))))
    size: int = field(default=224, validator=and_(ge(14), le(2048)))
    quality: int = field(default=90, validator=and_(ge(1), le(95)))
    samples: int = field(default=1000, validator=ge(1))
    timeout: float = field(default=120.0, validator=gt(0))

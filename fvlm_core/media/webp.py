"""Pictures that are read as videos with Pillow: WebP, of which FFmpeg reads none that moves, and what does not move."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate

import numpy as np
from av.video.frame import VideoFrame

from fvlm_core.media.pictures import open_image, to_rgb


def durations(content: bytes) -> tuple[float, ...]:
    """How long each frame is shown, in seconds; (0,) for a picture that does not move."""
    if content[:4] != b"RIFF":
        return (0.0,)
    found: list[float] = []
    place = 12
    while place + 8 <= len(content):
        length = int.from_bytes(content[place + 4 : place + 8], "little")
        if (
            content[place : place + 4] == b"ANMF"
        ):  # where and how large it is: 12 bytes; then milliseconds, in 3 bytes
            found.append(int.from_bytes(content[place + 20 : place + 23], "little") / 1000)
        place += 8 + length + length % 2
    return tuple(found) or (0.0,)


def frames(content: bytes, shown: Sequence[float]) -> Iterator[tuple[float, VideoFrame]]:
    """Every frame, upright and on white, with its time. shown: what `durations` gave. Raises ValueError: corrupt."""
    with open_image(content) as image:
        for number, time in enumerate(accumulate(shown[:-1], initial=0.0)):
            image.seek(number)
            yield time, VideoFrame.from_ndarray(np.ascontiguousarray(to_rgb(image)), "rgb24")

"""Writes test videos whose frames carry their own index, as black and white columns."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

BITS = 10
CODECS = {
    "libx264": ("yuv420p", {"crf": "20", "preset": "veryfast"}),
    "libx265": ("yuv420p", {"crf": "20", "preset": "ultrafast", "x265-params": "log-level=none"}),
    "mpeg4": ("yuv420p", {"qscale": "3"}),
    "libvpx-vp9": ("yuv420p", {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"}),
    "mjpeg": ("yuvj420p", {"qscale": "3"}),
}


def picture(index: int, width: int, height: int) -> NDArray[np.uint8]:
    """[height, width, 3]: the bits of `index` as white (1) and black (0) columns of the centre square."""
    side = min(width, height)
    frame = np.full((height, width, 3), 128, np.uint8)
    left, top = (width - side) // 2, (height - side) // 2
    edges = np.linspace(0, side, BITS + 1).round().astype(int) + left
    for bit, (start, stop) in enumerate(pairwise(edges)):
        frame[top : top + side, start:stop] = 255 if index >> bit & 1 else 0
    return frame


def index_of(frame: NDArray[np.uint8]) -> int:
    """The index that a decoded frame [3, S, S] carries; S of 40 at least."""
    size = frame.shape[-1]
    centres = ((np.arange(BITS) + 0.5) * size / BITS).astype(int)
    rows = frame[:, size // 4 : 3 * size // 4].mean(axis=(0, 1))
    bits = [rows[centre - 1 : centre + 2].mean() for centre in centres]
    assert all(value < 70 or value > 185 for value in bits), f"columns are neither black nor white: {bits}"
    return sum(1 << bit for bit, value in enumerate(bits) if value > 127)


def write_video(
    path: Path,
    frames: int = 8,
    *,
    first: int = 0,
    fps: Fraction | int = 25,
    width: int = 96,
    height: int = 64,
    codec: str = "libx264",
    times_ms: Sequence[int] | None = None,
    rotation: int = 0,
    options: dict[str, str] | None = None,
) -> Path:
    """Write a video of `frames` frames, each carrying its index, which is counted from `first`.

    times_ms: presentation times for a variable frame rate (the container's time base must hold milliseconds).
    rotation: degrees that a player turns the picture by; stored so that the turned ones read right.
    """
    pix_fmt, defaults = CODECS[codec]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            codec, rate=fps, options={**defaults, "threads": "1", **(options or {})}
        )
        turned = rotation % 180 != 0
        stream.width, stream.height = (height, width) if turned else (width, height)
        stream.pix_fmt = pix_fmt
        if rotation:
            stream.set_display_rotation(rotation)
        if times_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for index in range(frames):
            upright = picture(first + index, width, height)
            stored = np.ascontiguousarray(np.rot90(upright, -rotation // 90))
            frame = av.VideoFrame.from_ndarray(stored, "rgb24")
            if times_ms is None:
                frame.pts, frame.time_base = index, 1 / Fraction(fps)
            else:
                frame.pts, frame.time_base = times_ms[index], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path

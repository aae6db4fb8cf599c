"""How a decoded video frame is shown: upright, not mirrored unless it was meant so, with square pixels, on white."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any, cast

import numpy as np
from attrs import frozen
from av.codec.codec import UnknownCodecError
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from fvlm_core.media.bad_sample import Unusable


@frozen
class Orientation:
    """One of the eight ways to lay a picture: its sides exchanged first, then mirrored left and right, up and down."""

    exchanged: bool = False
    mirrored: bool = False
    upside_down: bool = False

    def of(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A view of a picture [H, W, 3] as it is shown."""
        if self.exchanged:
            picture = picture.swapaxes(0, 1)
        return picture[:: -1 if self.upside_down else 1, :: -1 if self.mirrored else 1]


def turn_of(matrix: NDArray[np.int32] | NDArray[np.int64]) -> Orientation:
    """What a display matrix does to a picture, to the nearest of the eight.

    matrix: [9], rows (a, b, u), (c, d, v), (x, y, w) as in a track header of QuickTime: the point (p, q) is shown at
    (a p + c q + x, b p + d q + y). Sizes and places have no say here, nor has a rotation by less than half a quarter.
    """
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def turn_of_frame(frame: VideoFrame) -> Orientation:
    """How a frame is to be shown, as its container or its codec says."""
    matrix = _matrix(frame)
    return Orientation() if matrix is None else turn_of(np.frombuffer(bytes(matrix), np.int32))


def _matrix(frame: VideoFrame) -> Any:
    """PyAV before 19 fails over side data that it has no name for, such as EXIF data: FFmpeg takes them off then."""
    try:
        return cast(Any, frame.side_data).get("DISPLAYMATRIX")
    except ValueError as error:
        unnamed = re.match(r"\d+(?= is not a valid)", str(error))
        if unnamed is None:
            raise
    graph = Graph()
    graph.link_nodes(
        graph.add_buffer(
            width=frame.width,
            height=frame.height,
            format=frame.format,
            time_base=frame.time_base or Fraction(1),
        ),
        graph.add("sidedata", f"mode=delete:type={unnamed[0]}"),
        graph.add("buffersink"),
    ).configure()
    graph.vpush(frame)
    return _matrix(graph.vpull())


def pixel_aspect(stream: VideoStream) -> float:
    """Width over height of one pixel, as the container says, else the codec; 1 where neither does."""
    return float(stream.sample_aspect_ratio or 0) or 1.0


_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
"""What decodes the transparency of WebM, which FFmpeg's own decoders leave out: they show what lies behind it."""


def alpha_decoder(stream: VideoStream, max_pixels: int) -> VideoCodecContext | None:
    """What decodes a stream with its transparency; None for what has none, or whose own decoder sees it.

    max_pixels: of its largest picture. Raises `Unusable` where this FFmpeg has none.
    """
    codec = _ALPHA.get(stream.codec_context.name)
    if codec is None or stream.metadata.get("alpha_mode") != "1":
        return None
    try:
        made = cast(VideoCodecContext, VideoCodecContext.create(codec, "r"))
    except UnknownCodecError:
        raise Unusable(f"transparent, which takes {codec}, and this FFmpeg has none") from None
    made.width, made.height = stream.width, stream.height
    made.thread_count = 1
    made.options = {"max_pixels": str(max_pixels)}
    return made


@frozen
class FrameTransform:
    """What is shown of the frames of a clip in another way than they are stored.

    aspect: width over height of a pixel. turn: how they are laid; None, or nothing turned: as each frame says.
    """

    aspect: float = 1.0
    turn: Orientation | None = None


def square(
    frame: VideoFrame, look: FrameTransform, size: int, reformatter: VideoReformatter
) -> NDArray[np.uint8]:
    """A frame as it is shown, its short side scaled to `size` (bicubic), its centre cropped: uint8 [3, size, size]."""
    shown_width = frame.width * look.aspect
    scale = size / min(shown_width, frame.height)
    width, height = max(size, round(shown_width * scale)), max(size, round(frame.height * scale))
    transparent = any(component.is_alpha for component in frame.format.components)
    small = reformatter.reformat(
        frame,
        width,
        height,
        "rgba" if transparent else "rgb24",
        interpolation=Interpolation.BICUBIC,
        threads=1,
    )
    scaled = cast(NDArray[np.uint8], small.to_ndarray())
    if transparent:
        scaled = _on_white(scaled)
    turn = look.turn if look.turn and look.turn != Orientation() else turn_of_frame(frame)
    upright = turn.of(scaled)
    top, left = (upright.shape[0] - size) // 2, (upright.shape[1] - size) // 2
    return upright[top : top + size, left : left + size].transpose(2, 0, 1)


def _on_white(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGBA [H, W, 4] to RGB [H, W, 3], what is transparent laid on white, as in still pictures."""
    alpha = picture[..., 3:].astype(np.uint16)
    return ((picture[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)

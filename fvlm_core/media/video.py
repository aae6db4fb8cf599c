"""Video files to frames, with PyAV: which are taken, how they are scaled, what is wrong with a file."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from math import ceil
from typing import IO, Any, cast

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from fvlm_core.interfaces.data import VideoFile
from fvlm_core.media import webp
from fvlm_core.media.archive_members import open_member
from fvlm_core.media.bad_sample import BadSample as BadSample
from fvlm_core.media.bad_sample import Unusable
from fvlm_core.media.clip import CLOCK, Clip, Unforeseen
from fvlm_core.media.containers import avi_pictures, lost_bytes, track_matrix
from fvlm_core.media.moving_pictures import is_still
from fvlm_core.media.packet_choice import may_leave_out
from fvlm_core.media.pictures import MAX_BYTES
from fvlm_core.media.suffixes import ANIMATED_SUFFIXES
from fvlm_core.media.upright import FrameTransform, Orientation, alpha_decoder, pixel_aspect, square, turn_of
from fvlm_core.utils.data_files import check_data, open_data

MAX_SIDE = 4096
"""Largest width and height in pixels; a small file can declare a picture that fills the memory."""

MAX_ASPECT = 20
"""Largest ratio of the sides: the short side is scaled to size, the long one by the same factor."""

_FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,gif,apng,mxf,dv,rm,wtv,nut,ivf,yuv4mpegpipe,mpegvideo,h264,hevc"
)
"""Containers that are opened. Playlists and scripts (hls, concat, ...) are not: they open further files."""

_OPTIONS = {
    "format_whitelist": _FORMATS,
    "protocol_whitelist": "file",
    "max_pixels": str(MAX_SIDE * MAX_SIDE),
    "threads": "1",
}
_LENIENT: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)
"""Titles that are not UTF-8 are no reason to refuse a film; from 19 on, PyAV is of the same opinion by itself."""
_UNDECLARED = ("mpeg", "mpegts", "mpegvideo", "h264", "hevc")
"""Containers without a header that declares a duration; what FFmpeg gives for them is a guess."""
_FRAGMENTED = ("mov,mp4,m4a,3gp,3g2,mj2",)
"""Containers that may be written piece by piece, each with its own share of the duration."""
_TAIL = 0.02
"""Share of the declared duration that may be missing at the end of a healthy file."""

_STILLS = ("mjpeg", "png", "webp")
"""Codecs whose pictures may hold EXIF data, which FFmpeg lets replace the display matrix of the container."""


def decoder_versions() -> dict[str, str]:
    """PyAV and the FFmpeg libraries that decide what pixels a file gives, for the record of a run."""
    names = ("libavformat", "libavcodec", "libswscale")
    return {"av": av.__version__} | {name: ".".join(map(str, av.library_versions[name])) for name in names}


def decode(video: VideoFile, size: int) -> NDArray[np.uint8]:
    """The frames of a clip: uint8 RGB [T, 3, size, size], 1 <= T <= video.max_frames.

    Frame k is the picture on screen k / video.fps seconds after the clip's first picture, up to the clip's
    end. When that makes more than `video.max_frames`, the rate is lowered until exactly `max_frames` span the
    whole clip. Pictures are turned upright and mirrored as the file says, with square pixels, on white; their short
    side is scaled to `size` (bicubic), their centre cropped.

    Raises `BadSample`: no such file, not a video, no video track, more than `MAX_SIDE` pixels a side, cut
    short, or corrupt. A picture that is damaged but still decodes is not noticed, nor one that no
    picture shown is made from.
    """
    return decode_timed(video, size)[0]


def decode_timed(video: VideoFile, size: int) -> tuple[NDArray[np.uint8], list[float]]:
    """As `decode`, and the time that each frame stands for, in seconds after the clip's first picture."""
    with _explained(video):
        return _decode(video, size)


def count_frames(video: VideoFile) -> int:
    """How many frames `decode` gives of a clip, from the length its source or its header states; nothing is decoded.

    A header that states none (MPEG streams) leaves FFmpeg's guess. Raises `BadSample` when the file cannot be opened.
    """
    seconds = video.seconds
    if seconds is None:
        with _explained(video):
            seconds = _stated_seconds(video)
    return len(look_times(seconds, video.fps, video.max_frames))


def _stated_seconds(video: VideoFile) -> float:
    if content := _picture(video):
        return sum(webp.durations(content))
    with _opened(video) as container:
        declared = _declared(container, _video_track(container))
        return declared or (container.duration or 0) / av.time_base


@contextmanager
def _explained(video: VideoFile) -> Generator[None]:
    """Whatever is wrong with a file, as `BadSample`."""
    path = video.path
    try:
        check_data(path)
        size = path.stat().st_size
    except OSError as error:
        raise BadSample(path, f"cannot be read: {error.strerror}") from error
    if not size or (video.member is not None and not video.member.size):
        raise BadSample(path, "empty file (0 bytes)")
    try:
        yield
    except Unusable as error:
        raise BadSample(path, str(error)) from error
    except (av.error.FFmpegError, EOFError, MemoryError, OverflowError, ValueError) as error:
        raise BadSample(path, _why(video, error)) from error
    except OSError as error:
        raise BadSample(path, error.strerror or str(error)) from error


def _decode(
    video: VideoFile,
    size: int,
    seconds: float | None = None,
    *,
    as_decoded: bool = False,
    every: bool = False,
) -> tuple[NDArray[np.uint8], list[float]]:
    """`decode`, with the clip's length if the header is known not to tell it.

    as_decoded: the times of the pictures are those of their decoding; see `Clip`. every: every packet is decoded, also
    where the pictures shown need but some.
    """
    if content := _picture(video):
        lasting = webp.durations(content)
        times = look_times(sum(lasting), video.fps, video.max_frames)
        return np.stack(on_screen(webp.frames(content, lasting), times, size, FrameTransform())), times
    with _opened(video) as container:
        stream = _video_track(container)
        clip = Clip(
            container.format.name,
            stream.codec_context.name,
            as_decoded,
            alpha_decoder(stream, MAX_SIDE * MAX_SIDE),
        )
        declared = _declared(container, stream) or 0.0
        times = look_times(seconds or declared, video.fps, video.max_frames)
        look = FrameTransform(pixel_aspect(stream), _container_turn(video, clip, stream))
        some = not every and clip.decoder is None and may_leave_out(stream, len(times))
        frames = clip.read_shown(container, stream, times) if some else clip.read(container, stream)
        try:
            chosen = on_screen(frames, times, size, look)
        except (Unforeseen, av.error.FFmpegError):
            if not some:
                raise
            return _decode(video, size, seconds, as_decoded=as_decoded, every=True)
        number, tick = stream.index, float(stream.time_base or 0)
    clip.check()
    if clip.falls and not as_decoded:
        return _decode(video, size, seconds, as_decoded=True, every=True)
    if seconds is None:
        length = _length(video, clip, declared, number, tick)
        if look_times(length, video.fps, video.max_frames) != times:
            return _decode(video, size, length, as_decoded=as_decoded, every=every)
    return np.stack(chosen), times


def _length(video: VideoFile, clip: Clip, declared: float, stream: int, tick: float) -> float:
    """How many seconds a clip lasts: what its header declares, or what is really there where that is something else.

    Editing tools leave wrong durations behind, and MP4 counts decoding times, which fall behind those of the pictures
    when the frame rate varies. declared: 0 if unsaid. tick: seconds of one chunk of an AVI. Raises `Unusable` when the
    end of the file is missing, or may be.
    """
    told = declared - clip.doubt <= clip.seconds <= (1 + _TAIL) * declared
    if told and clip.container not in _FRAGMENTED:
        return declared
    with _file(video) as file:
        lost = lost_bytes(file, clip.container)
        chunks = avi_pictures(file, stream) if clip.container == "avi" else 0
    length = max(clip.seconds, chunks * tick)
    if chunks and length > declared - 0.5 * tick:
        return length
    if lost:
        raise Unusable(f"cut short: pictures end after {length:.2f} s, and the file {lost:,} bytes too early")
    if told or (1 - _TAIL) * declared <= length <= (1 + _TAIL) * declared:
        return declared
    if lost is None and length < declared:
        raise Unusable(f"cut short: pictures end after {length:.2f} s of the {declared:.2f} s declared")
    return length


def _picture(video: VideoFile) -> bytes:
    """The content of a WebP that moves, or of a still picture that is called one that may move; empty for others."""
    name = video.member.name if video.member else video.path.name
    with _file(video) as file:
        still = is_still(file)
        file.seek(0)
        if not (
            name.lower().endswith(ANIMATED_SUFFIXES) if still else still is False and file.read(4) == b"RIFF"
        ):
            return b""
        file.seek(0)
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Unusable(f"more than {MAX_BYTES >> 20} MB, which no picture has")
    return content


def _file(video: VideoFile) -> IO[bytes]:
    return open_member(video.member) if video.member else open_data(video.path)


@contextmanager
def _opened(video: VideoFile) -> Generator[InputContainer]:
    with ExitStack() as stack:
        place: Any = os.path.abspath(video.path)
        if video.member is not None:
            place = stack.enter_context(open_member(video.member))
        opened = cast(InputContainer, av.open(place, "r", options=_OPTIONS, **_LENIENT))
        yield stack.enter_context(opened)


def _video_track(container: InputContainer) -> VideoStream:
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.disposition & stream.disposition.attached_pic:
        raise Unusable("has no video track")
    context = stream.codec_context
    if context is None:  # pyright: ignore[reportUnnecessaryComparison]: PyAV's stubs do not say so
        raise Unusable("corrupt, cut short, or in a codec that this FFmpeg cannot decode")
    _check_sides(context.width, context.height, pixel_aspect(stream))
    context.thread_count = 1
    return stream


def _container_turn(video: VideoFile, clip: Clip, stream: VideoStream) -> Orientation | None:
    """How the container says that pictures are shown whose own data FFmpeg puts in its place; None for others."""
    if clip.codec not in _STILLS or clip.container not in _FRAGMENTED:
        return None
    with _file(video) as file:
        matrix = track_matrix(file, stream.id)
    return None if matrix is None else turn_of(matrix)


def _check_sides(width: int, height: int, aspect: float) -> None:
    """aspect: width over height of a pixel: it decides how long the picture is as it is shown."""
    long, short = sorted((width * aspect, height), reverse=True)
    if max(width, height) > MAX_SIDE or long > MAX_ASPECT * short:
        limits = f"at most {MAX_SIDE} a side and 1:{MAX_ASPECT} are decoded"
        pixels = "" if aspect == 1 else f" of {aspect:.4g}:1"
        raise Unusable(f"{width} x {height} pixels{pixels}, where {limits}")


def _declared(container: InputContainer, stream: VideoStream) -> float | None:
    """The seconds of the track's own duration, or Matroska's tag, or that of a file with no other track."""
    assert stream.time_base is not None
    if container.format.name in _UNDECLARED:
        return None
    ticks = stream.duration
    if container.format.name == "avi":  # FFmpeg shortens the duration of an AVI that is cut
        ticks = stream.frames or ticks
    if ticks:
        return float(ticks * stream.time_base)
    start = float((stream.start_time or 0) * stream.time_base)
    if tag := stream.metadata.get("DURATION"):
        hours, minutes, rest = tag.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(rest) - start
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base - start
    return None


def look_times(seconds: float, fps: float, max_frames: int) -> list[float]:
    """When to look, in seconds after the first picture."""
    count = max(
        1, ceil((seconds - 2 * CLOCK) * fps)
    )  # the last picture's time and its own length are rounded
    step = 1 / fps if count <= max_frames else seconds / max_frames
    return [k * step for k in range(min(count, max_frames))]


def on_screen(
    frames: Iterator[tuple[float, VideoFrame]], times: list[float], size: int, look: FrameTransform
) -> list[NDArray[np.uint8]]:
    """The picture on screen at each time, scaled; the last one after the end."""
    reformatter = VideoReformatter()
    chosen: list[NDArray[np.uint8]] = []
    shown: VideoFrame | None = None
    picture: NDArray[np.uint8] | None = None

    def seen(frame: VideoFrame) -> NDArray[np.uint8]:
        _check_sides(frame.width, frame.height, look.aspect)
        return square(frame, look, size, reformatter)

    for time, frame in frames:
        while shown is not None and len(chosen) < len(times) and time > times[len(chosen)] + CLOCK:
            picture = seen(shown) if picture is None else picture
            chosen.append(picture)
        shown, picture = frame, None
    if shown is None:
        raise Unusable("corrupt or cut short: no picture can be decoded")
    if len(chosen) < len(times):
        chosen += [seen(shown)] * (len(times) - len(chosen))
    return chosen


def _why(video: VideoFile, error: Exception) -> str:
    """The decoder's complaint in words that say what to look at."""
    try:
        with _file(video) as file:
            head = file.read(512).lstrip().lower()
    except (OSError, ValueError) as unreadable:
        return str(unreadable)
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "not a video but a web page (a download that failed?)"
    reason = (getattr(error, "strerror", "") or str(error) or type(error).__name__).rstrip(".")
    return f"corrupt, cut short, or not a video: {reason[0].lower()}{reason[1:]}"

"""Videos, pictures and questions as the model was trained on them: numpy, PyAV and tokenizers are all that it needs
(Pillow, for pictures that do not move).

Frame k of a video is the picture on screen k / fps seconds after its first one; a video that gives more than
`max_frames` gives exactly so many, evenly spaced. Pictures are turned upright as the file says, with square pixels, the
short side scaled bicubically, the centre cropped. A file whose header and pictures disagree in a way that leaves its
length in doubt is refused, never guessed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer


def _module(name: str) -> Any:
    """A module that is needed for files of its kind alone, None where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        return None


av, Image, ImageOps = map(_module, ("av", "PIL.Image", "PIL.ImageOps"))
BROKEN = (
    *(OSError, EOFError, MemoryError, OverflowError, ValueError, SyntaxError, IndexError, TypeError),
    *(struct.error, zlib.error),
    *([av.FFmpegError] if av else []),
    *([Image.DecompressionBombError] if Image else []),
)
"""What PyAV and Pillow raise for damaged files."""

MAX_SIDE = 4096
"""Largest width and height in pixels that are decoded: a small file can declare a picture that fills the memory."""
MAX_PIXELS = 50_000_000
"""Of a picture that does not move."""
MAX_ASPECT = 20
CLOCK = 0.6e-3
"""Seconds by which a picture may be late: some containers round times to milliseconds."""
TAIL = 0.02
"""Share of the declared duration by which the pictures of a healthy file may end early or late."""
LOST = 0.05
"""Share of the packets that may give no picture."""
FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,flv,asf,ogg,gif,apng,mxf,dv,rm,wtv,nut,ivf,yuv4mpegpipe,mpegvideo,h264,hevc"
)
"""Containers that are opened; playlists and scripts, which open further files, are not."""
OPTIONS = {
    "format_whitelist": FORMATS,
    "protocol_whitelist": "file",
    "max_pixels": str(MAX_SIDE**2),
    "threads": "1",
}
UNDECLARED = ("mpeg", "mpegts", "mpegvideo", "h264", "hevc")
"""Containers whose header declares no duration."""


def read_frames(
    file: str | Path,
    size: int,
    fps: float = 1.0,
    max_frames: int = 64,
    fit: str = "letterbox",
    repeats: int = 1,
) -> NDArray[np.uint8]:
    """The frames of a video or a picture: uint8 RGB [T, 3, size, size].

    fit: how a picture becomes a square, "letterbox" or "crop". repeats: frames that a picture makes. Raises ValueError,
    with the reason, for a file that cannot be read or shown.
    """
    try:
        with open(file, "rb") as opened:
            head = opened.read(64 << 10)
    except OSError as error:
        raise ValueError(f"{file}: cannot be read: {error.strerror}") from None
    if not head:
        raise ValueError(f"{file}: empty file (0 bytes)")
    try:
        if is_still(head):
            return np.stack([_picture(file, size, fit)] * repeats)
        return _video(str(file), size, fps, max_frames)
    except BROKEN as error:
        raise ValueError(f"{file}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What is wrong with a file, without its path, which FFmpeg and Pillow say again."""
    if Image and isinstance(error, Image.DecompressionBombError):
        return f"too many pixels, where at most {MAX_PIXELS:,} are decoded"
    if Image and isinstance(error, _module("PIL").UnidentifiedImageError):
        return "corrupt, cut short, or not a picture"
    if said := getattr(error, "strerror", None):
        return f"corrupt, cut short, or not a video: {said[0].lower()}{said[1:]}"
    return str(error) or type(error).__name__


def is_still(head: bytes) -> bool:
    """Whether a file that begins so is a picture that does not move: JPEG, PNG or WebP."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        if head[12:16] == b"VP8X" and head[20] & 2:
            raise ValueError("a WebP that moves is not decoded here; expected a GIF or a video")
        return True
    if head[:8] == b"\x89PNG\r\n\x1a\n":
        return b"acTL" not in head[: head.find(b"IDAT")]
    return head[:3] == b"\xff\xd8\xff"


def look_times(seconds: float, fps: float, max_frames: int) -> list[float]:
    """When to look at a video of this length, in seconds after its first picture."""
    count = max(1, ceil((seconds - 2 * CLOCK) * fps))
    step = 1 / fps if count <= max_frames else seconds / max_frames
    return [k * step for k in range(min(count, max_frames))]


def _video(file: str, size: int, fps: float, max_frames: int) -> NDArray[np.uint8]:
    if av is None:
        raise ValueError("videos are decoded by PyAV: pip install av")
    declared = _declared(file)
    times = look_times(declared, fps, max_frames)
    frames, seconds, doubt = _frames_at(file, size, times)
    if declared - doubt <= seconds <= (1 + TAIL) * declared or abs(seconds - declared) <= TAIL * declared:
        return frames
    if seconds < declared:
        raise ValueError(f"cut short? pictures end after {seconds:.2f} s of the {declared:.2f} s declared")
    again = look_times(seconds, fps, max_frames)
    return frames if again == times else _frames_at(file, size, again)[0]


def _open(file: str) -> tuple[Any, Any]:
    """A container and its video track."""
    container = av.open(file, "r", options=OPTIONS)
    stream = container.streams.best("video")
    if stream is None or stream.codec_context is None or stream.disposition & stream.disposition.attached_pic:
        raise ValueError("has no video track that this FFmpeg decodes")
    _check_sides(stream.codec_context.width, stream.codec_context.height, _aspect(stream))
    if stream.codec_context.name in ("vp8", "vp9") and stream.metadata.get("alpha_mode") == "1":
        raise ValueError("a transparent WebM is not decoded here; expected a video without transparency")
    stream.codec_context.thread_count = 1
    return container, stream


def _aspect(stream: Any) -> float:
    """Width over height of one pixel."""
    return float(stream.sample_aspect_ratio or 0) or 1.0


def _check_sides(width: int, height: int, aspect: float) -> None:
    long, short = sorted((width * aspect, height), reverse=True)
    if max(width, height) > MAX_SIDE or long > MAX_ASPECT * short:
        raise ValueError(
            f"{width} x {height} pixels, where at most {MAX_SIDE} a side and 1:{MAX_ASPECT} are decoded"
        )


def _declared(file: str) -> float:
    """The seconds that the header declares, 0 if none."""
    container, stream = _open(file)
    with container:
        if container.format.name in UNDECLARED:
            return 0.0
        ticks = stream.frames or stream.duration if container.format.name == "avi" else stream.duration
        if ticks:
            return float(ticks * stream.time_base)
        start = float((stream.start_time or 0) * stream.time_base)
        if tag := stream.metadata.get("DURATION"):
            hours, minutes, rest = tag.split(":")
            return int(hours) * 3600 + int(minutes) * 60 + float(rest) - start
        if container.duration and len(container.streams) == 1:
            return container.duration / av.time_base - start
        return 0.0


def _frames_at(file: str, size: int, times: Sequence[float]) -> tuple[NDArray[np.uint8], float, float]:
    """The picture on screen at each time; the seconds that the pictures really last, and how far that can be off."""
    container, stream = _open(file)
    with container:
        aspect, reformatter = _aspect(stream), av.video.reformatter.VideoReformatter()
        chosen: list[NDArray[np.uint8]] = []
        shown: Any = None
        square: NDArray[np.uint8] | None = None
        begins: list[float] = []
        for time, frame in _pictures(container, stream):
            while (
                shown is not None
                and len(chosen) < len(times)
                and time - begins[0] > times[len(chosen)] + CLOCK
            ):
                square = _square(shown, aspect, size, reformatter) if square is None else square
                chosen.append(square)
            begins.append(time)
            shown, square = frame, None
        if shown is None:
            raise ValueError("corrupt or cut short: no picture can be decoded")
        if len(chosen) < len(times):
            chosen += [_square(shown, aspect, size, reformatter)] * (len(times) - len(chosen))
        usual = 1 / float(stream.average_rate or stream.guessed_rate or 1)
        end = begins[-1] + (float(shown.duration * shown.time_base) or usual)
        steps = np.diff(begins)
        vary = steps.max() - 0.5 * steps.min() if len(steps) else 0.5 * (end - begins[0])
        doubt = 0.0 if container.format.name == "avi" else float(vary)
        return np.stack(chosen), end - begins[0], max(doubt, 2 * CLOCK)


def _pictures(container: Any, stream: Any) -> Iterator[tuple[float, Any]]:
    """Every picture in the order of presentation, and its time in seconds."""
    packets = whole = 0
    step, last = 1 / float(stream.average_rate or stream.guessed_rate or 1), None
    for packet in container.demux(stream):
        if not packet.size and packet.dts is not None:  # an empty packet repeats the picture before it
            continue
        packets += bool(packet.size) and not packet.is_discard
        for frame in packet.decode():
            time = (last or 0.0) + step if frame.pts is None else float(frame.pts * frame.time_base)
            if last is not None and time < last:
                raise ValueError("the times of its pictures go backwards; a copy made by FFmpeg may be whole")
            last, whole = time, whole + (not packet.is_corrupt)
            yield time, frame
    if stream.codec_context.name != "vp8" and packets - whole > LOST * packets:
        raise ValueError(f"corrupt or cut short: {whole} of its {packets} pictures are there")


def _square(frame: Any, aspect: float, size: int, reformatter: Any) -> NDArray[np.uint8]:
    """A frame upright, with square pixels, on white: uint8 [3, size, size]."""
    _check_sides(frame.width, frame.height, aspect)
    wide = frame.width * aspect
    scale = size / min(wide, frame.height)
    width, height = max(size, round(wide * scale)), max(size, round(frame.height * scale))
    clear = any(component.is_alpha for component in frame.format.components)
    bicubic = av.video.reformatter.Interpolation.BICUBIC
    layout = "rgba" if clear else "rgb24"
    small = reformatter.reformat(frame, width, height, layout, interpolation=bicubic, threads=1).to_ndarray()
    if clear:
        alpha = small[..., 3:].astype(np.uint16)
        small = ((small[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    small = _upright(small, frame)
    top, left = (small.shape[0] - size) // 2, (small.shape[1] - size) // 2
    return small[top : top + size, left : left + size].transpose(2, 0, 1)


def _upright(picture: NDArray[np.uint8], frame: Any) -> NDArray[np.uint8]:
    """Turned and mirrored as the display matrix of its container says, by quarters."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return picture
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()
    if abs(a) + abs(d) < abs(b) + abs(c):
        picture, a, d = picture.swapaxes(0, 1), c, b
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def _picture(file: str | Path, size: int, fit: str) -> NDArray[np.uint8]:
    """A picture that does not move: uint8 [3, size, size]."""
    if Image is None:
        raise ValueError("pictures are decoded by Pillow: pip install pillow")
    image: Any = Image.open(file, formats=("JPEG", "PNG", "WEBP"))
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels, where at most {MAX_PIXELS:,} are decoded")
    if image.mode.startswith("I"):
        raise ValueError("16 bits of grey are not decoded here; expected 8 bits a colour")
    image = ImageOps.exif_transpose(image)
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.new("RGBA", over.size, "white")
        image.alpha_composite(over)
    image = image.convert("RGB")
    width, height = image.size
    if fit == "crop":
        short = min(width, height)
        box = ((width - short) / 2, (height - short) / 2, (width + short) / 2, (height + short) / 2)
        square = (
            image
            if image.size == (size, size)
            else image.resize((size, size), Image.Resampling.BICUBIC, box=box)
        )
    else:
        scale = size / max(width, height)
        fitted = max(1, round(width * scale)), max(1, round(height * scale))
        square = Image.new("RGB", (size, size))
        place = (size - fitted[0]) // 2, (size - fitted[1]) // 2
        square.paste(image.resize(fitted, Image.Resampling.BICUBIC), place)
    return np.asarray(square).transpose(2, 0, 1)


def prompt_ids(tokenizer: Tokenizer, question: str, system: str = "") -> list[int]:
    """The chat `<|im_start|>ROLE\\nTEXT<|im_end|>\\n` up to where the assistant begins to speak, as token ids.

    Only the format itself makes control tokens. A text that spells one out is read as text; where this tokenizer cannot
    read it so, ValueError.
    """
    plain: Any = Tokenizer(tokenizer.model)
    plain.normalizer, plain.pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    control = {id: token.content for id, token in tokenizer.get_added_tokens_decoder().items()}
    named: Any = tokenizer
    start, end = named.token_to_id("<|im_start|>"), named.token_to_id("<|im_end|>")

    def read(text: str) -> Iterable[int]:
        ids = plain.encode(text, add_special_tokens=False).ids
        if spelled := [control[id] for id in ids if id in control and control[id] in text]:
            raise ValueError(
                f'a text that spells the control token "{spelled[0]}" cannot be read by this tokenizer'
            )
        return ids

    turns = [("system", system)] if system else []
    ids: list[int] = []
    for role, text in [*turns, ("user", question)]:
        ids += [start, *read(f"{role}\n{text}"), end, *read("\n")]
    return [*ids, start, *read("assistant\n")]

"""Pictures that were stored as files inside a file: read in place, checked, decoded with Pillow."""

from __future__ import annotations

import os
import re
import struct
import warnings
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from fvlm_core.interfaces.data import StoredFrames
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.utils.data_files import data_handle

MAX_PIXELS = 50_000_000
"""Largest picture that is decoded: a PNG of 18 KB can declare one that fills the memory."""

MAX_BYTES = 64 << 20
"""Largest stored picture: 50 million pixels of JPEG at its best quality are smaller."""

MAX_PICTURES = 4096
"""Most pictures of one sample."""

FORMATS = ("JPEG", "PNG", "WEBP")
"""What is decoded; Pillow would open fifty more, some of which start other programs."""

_BROKEN = (
    *(OSError, SyntaxError, MemoryError, OverflowError, EOFError, IndexError, TypeError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow raises for damaged files."""

_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a stored picture upright, by its EXIF orientation; 1, and what the standard does not know, is upright."""

_GAP = 1 << 16
"""Bytes between two pictures that are read along rather than skipped by a second call to the system."""


def read_stored(stored: StoredFrames) -> list[bytes]:
    """The bytes of every picture, by as few reads as their places allow. Raises `BadSample`."""
    if not stored.starts or len(stored.starts) > MAX_PICTURES or max(stored.sizes) > MAX_BYTES:
        limits = f"1 to {MAX_PICTURES} of at most {MAX_BYTES >> 20} MB"
        raise BadSample(stored.path, f"{len(stored.starts)} pictures, where {limits} are read")
    if stored.data is not None:
        return _held(stored, stored.data)
    pictures: list[bytes] = []
    try:
        handle = data_handle(Path(stored.path))
    except OSError as error:
        raise BadSample(stored.path, error.strerror or str(error)) from error
    try:
        first = 0
        for last in range(1, len(stored.starts) + 1):
            if last < len(stored.starts) and _adjoin(stored, last):
                continue
            begin = stored.starts[first]
            end = stored.starts[last - 1] + stored.sizes[last - 1]
            content = os.pread(handle, end - begin, begin)
            if len(content) < end - begin:
                text = f"cut short: bytes {begin:,} to {end:,} are not all there"
                raise BadSample(stored.path, text)
            for start, size in zip(stored.starts[first:last], stored.sizes[first:last], strict=True):
                pictures.append(content[start - begin : start - begin + size])
            first = last
    finally:
        os.close(handle)
    return pictures


def _held(stored: StoredFrames, data: bytes) -> list[bytes]:
    """The pictures where their bytes are at hand."""
    last = stored.base + len(data)
    spans = [(start, start + size) for start, size in zip(stored.starts, stored.sizes, strict=True)]
    if min(stored.starts) < stored.base or max(end for _, end in spans) > last:
        raise BadSample(stored.path, f"pictures that are not within bytes {stored.base:,} to {last:,}")
    return [data[start - stored.base : end - stored.base] for start, end in spans]


def decode_stored(stored: StoredFrames, size: int) -> NDArray[np.uint8]:
    """The frames of a sample: uint8 RGB [T, 3, size, size]. Pictures of another size are scaled and cropped.

    Raises `BadSample`, naming the file and the place of the picture, when one cannot be decoded: a sample with a
    hole would shift its time.
    """
    pictures = read_stored(stored)
    # Filled as they are decoded, colours last: what Pillow hands over is copied while it is still in the cache, and
    # its memory serves the next picture. The transposed view costs no copy, nor does the collation of it.
    frames = np.empty((len(pictures), size, size, 3), np.uint8)
    for number, content in enumerate(pictures):
        try:
            frames[number] = decode_picture(content, size)
        except ValueError as error:
            raise BadSample(stored.path, f"picture at byte {stored.starts[number]:,}: {error}") from error
    return frames.transpose(0, 3, 1, 2)


def decode_picture(content: bytes, size: int) -> NDArray[np.uint8]:
    """One picture, upright, uint8 RGB [size, size, 3]: its short side scaled to `size` (bicubic), its centre cropped.

    Raises ValueError with the reason when it is none of `FORMATS`, larger than `MAX_PIXELS`, cut short or corrupt.
    """
    return cast(NDArray[np.uint8], np.asarray(fit_square(open_picture(content), size)))


def open_picture(content: bytes) -> Image.Image:
    """A picture decoded to upright RGB, as `to_rgb` does it. Raises ValueError; see `decode_picture`."""
    return to_rgb(open_image(content))


def open_image(content: bytes) -> Image.Image:
    """A picture opened and not yet decoded. Raises ValueError: none of `FORMATS`, far too large, or damaged."""
    try:
        return Image.open(BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        raise ValueError(_what_else(content)) from None
    except Image.DecompressionBombError as error:  # unless a library has set Pillow's own limit aside
        pixels = "".join(re.findall(r"\d+", str(error))[:1]) or "too many"
        raise ValueError(f"{pixels} pixels, where at most {MAX_PIXELS:,} are decoded") from error
    except _BROKEN as error:
        raise ValueError(f"corrupt or cut short: {error}") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """A picture that Pillow has opened, decoded to RGB and turned upright as its EXIF data say.

    Of an animation, the first frame. What is transparent is laid on white, as on paper; 16 bits of grey are scaled to
    8; colour profiles are left alone. Raises ValueError; see `decode_picture`.
    """
    if image.width * image.height > MAX_PIXELS:
        text = f"{image.width} x {image.height} pixels, where at most {MAX_PIXELS:,} are decoded"
        raise ValueError(text)
    try:
        low = _low_bytes(image)
        _scale_transparency(image)
        image.load()
        turn = _TURNS.get(_orientation(image))
        plain = image.mode == "RGB" and not image.has_transparency_data
        upright = image if plain else _convert(image, low)
        if turn is not None:
            upright = upright.transpose(turn)
            upright.info = {}  # a copy of the EXIF data would turn it once more
        return upright
    except _BROKEN as error:
        raise ValueError(f"corrupt or cut short: {error}") from error


def fit_square(image: Image.Image, size: int) -> Image.Image:
    """The short side scaled to `size` (bicubic), the centre cropped."""
    width, height = image.size
    if (width, height) == (size, size):
        return image
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    box = (left, top, left + short, top + short)
    return image.resize((size, size), Image.Resampling.BICUBIC, box=box)


def letterbox(image: Image.Image, size: int) -> Image.Image:
    """The long side scaled to `size` (bicubic), centred on black: all of the picture is there."""
    width, height = image.size
    scale = size / max(width, height)
    fitted = (max(1, round(width * scale)), max(1, round(height * scale)))
    square = Image.new("RGB", (size, size))
    place = ((size - fitted[0]) // 2, (size - fitted[1]) // 2)
    square.paste(image.resize(fitted, Image.Resampling.BICUBIC), place)
    return square


def _orientation(image: Image.Image) -> object:
    """The EXIF orientation of a picture; None where there is none to read. Of a loaded one: a PNG may say it last."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # whatever Pillow raises for damaged EXIF data: the picture itself is whole
        return None


def _raw_mode(image: Any) -> object:
    """How a PNG that is not yet decoded stores its pixels, in Pillow's words; None for other formats."""
    return image.tile[0].args if image.format == "PNG" and image.tile else None


def _scale_transparency(image: Image.Image) -> None:
    """Say which grey is transparent in the values that Pillow decodes 2 and 4 bits to."""
    most = {"L;2": 3, "L;4": 15}.get(str(_raw_mode(image)))
    key = image.info.get("transparency")
    if most and isinstance(key, int):
        image.info["transparency"] = (key & most) * 255 // most


def _low_bytes(image: Any) -> NDArray[np.uint8] | None:
    """Of a PNG with 16 bits a colour, one of which is transparent, the low bytes [H, W, 3], which Pillow drops: they
    are what it decodes when it takes the bytes the other way round."""
    if _raw_mode(image) != "RGB;16B" or "transparency" not in image.info or image.fp is None:
        return None
    place = image.fp.tell()
    image.fp.seek(0)
    again: Any = Image.open(BytesIO(image.fp.read()), formats=("PNG",))
    image.fp.seek(place)
    again.tile = [tile._replace(args="RGB;16L") for tile in again.tile]
    return np.asarray(again)


def _convert(image: Image.Image, low: NDArray[np.uint8] | None) -> Image.Image:
    """Grey, palette, CMYK, transparent and 16-bit pictures to RGB. low: see `_low_bytes`."""
    if low is not None:
        colours = np.array(image)
        clear = (colours * np.uint16(256) + low == image.info["transparency"]).all(axis=2)
        colours[clear] = 255
        return Image.fromarray(colours)
    if image.mode.startswith("I"):  # 16 bits of grey, which `convert` would clip at 255
        deep = np.asarray(image, dtype=np.float64)
        grey = (deep / 257).clip(0, 255).round().astype(np.uint8)
        grey[deep == image.info.get("transparency")] = 255
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        image = Image.new("RGBA", over.size, "white")
        image.alpha_composite(over)
    return image.convert("RGB")


def _adjoin(stored: StoredFrames, number: int) -> bool:
    """Whether a picture follows the one before it closely enough to be read in one go."""
    gap = stored.starts[number] - stored.starts[number - 1] - stored.sizes[number - 1]
    return 0 <= gap <= _GAP


def _what_else(content: bytes) -> str:
    head = content[:512].lstrip().lower()
    if not content:
        return "empty (0 bytes)"
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "not a picture but a web page (a download that failed?)"
    return f"not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} picture"


warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own limit is lower, and an error
warnings.filterwarnings(
    "ignore", module=r"PIL\.TiffImagePlugin"
)  # of EXIF data, which are TIFF: damaged ones say nothing

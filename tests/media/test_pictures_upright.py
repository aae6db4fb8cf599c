"""A picture is seen upright, as its EXIF orientation says, in every format and wherever pictures are read."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fvlm_lmms_eval.visuals import Eye
from numpy.typing import NDArray
from PIL import Image

from fvlm_core.interfaces.data import ImageFile
from fvlm_core.media.frames import decode_frames
from fvlm_core.media.pictures import MAX_PIXELS, decode_picture, open_picture, to_rgb
from fvlm_core.media.stills import decode_still

Picture = NDArray[np.uint8]

SIDES = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
"""The EXIF standard: which side of the visual image the 0th row and the 0th column of the stored one are."""


def seen(stored: Picture, orientation: int) -> Picture:
    """A stored picture as it is to be looked at, written from the standard's words."""
    row, column = SIDES[orientation]
    upright = stored if row in ("top", "bottom") else stored.swapaxes(0, 1)
    if "bottom" in (row, column):
        upright = upright[::-1]
    if "right" in (row, column):
        upright = upright[:, ::-1]
    return upright


def squares(width: int = 64, height: int = 32) -> Picture:
    """Red, green above blue, white, with a black corner: no turn and no mirror gives the same picture."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    picture[height // 2 :, width // 2 :] = (255, 255, 255)
    picture[: height // 4, : width // 8] = 0
    return picture


GREY = squares().mean(axis=2).astype(np.uint8)
ALPHA = np.where(squares()[..., 2:] == 255, 0, 255).astype(np.uint8)  # the lower half cannot be seen
ON_WHITE = np.where(ALPHA == 0, 255, squares()).astype(np.uint8)
GREY3 = np.repeat(GREY[..., None], 3, axis=2)


def exif(orientation: object) -> bytes:
    """EXIF data with nothing but an orientation, a short in little-endian order."""
    return b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHIHH", 0x112, 3, 1, orientation, 0) + bytes(4)


def saved(image: Image.Image, form: str, orientation: int, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, exif=b"Exif\0\0" + exif(orientation), **options)
    return out.getvalue()


def jpeg(mode: str) -> Callable[[int], bytes]:
    options = {"quality": 100, "subsampling": 0}
    return lambda orientation: saved(Image.fromarray(squares()).convert(mode), "JPEG", orientation, **options)


def adobe_cmyk(orientation: int) -> bytes:
    """As Adobe writes CMYK: inverted, with its own marker."""
    content = saved(
        Image.fromarray(squares()).convert("CMYK"), "JPEG", orientation, quality=100, subsampling=0
    )
    assert b"Adobe" in content
    return content


def mpo(orientation: int) -> bytes:
    second = Image.new("RGB", (64, 32), "yellow")
    first = Image.fromarray(squares())
    return saved(first, "MPO", orientation, quality=100, subsampling=0, save_all=True, append_images=[second])


def moving(form: str, image: Picture) -> Callable[[int], bytes]:
    after = [Image.new("RGBA" if image.shape[2] == 4 else "RGB", (64, 32), "yellow")]
    options = {"save_all": True, "append_images": after, "duration": 100, "lossless": True}
    if form == "PNG":
        del options["lossless"]
    return lambda orientation: saved(Image.fromarray(image), form, orientation, **options)


def png(orientation: int, bits: int, kind: int, raw: bytes, row: int, *extra: tuple[bytes, bytes]) -> bytes:
    """A PNG of 64 x 32, written by hand, with its eXIf chunk after the pixels. row: bytes of one row."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    lines = b"".join(b"\0" + raw[at : at + row] for at in range(0, len(raw), row))
    parts = [(b"IHDR", struct.pack(">IIBBBBB", 64, 32, bits, kind, 0, 0, 0)), *extra]
    parts += [(b"IDAT", zlib.compress(lines)), (b"eXIf", exif(orientation)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def palette(transparent: bool) -> Callable[[int], bytes]:
    colours = np.array([(0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)], np.uint8)
    places = (squares()[:, :, None] == colours).all(axis=3).argmax(axis=2).astype(np.uint8)
    extra = [(b"PLTE", colours.tobytes())]
    if transparent:  # blue and white
        extra.append((b"tRNS", bytes([255, 255, 255, 0, 0])))
    return lambda orientation: png(orientation, 8, 3, places.tobytes(), 64, *extra)


def deep(*channels: Picture) -> bytes:
    """16 bits a channel, the low byte as the high one."""
    return np.concatenate(channels, axis=2).astype(">u2").__mul__(257).astype(">u2").tobytes()


BILEVEL = np.where(GREY3 > 127, 255, 0).astype(np.uint8)
CLEAR_RED = np.where((squares() == (255, 0, 0)).all(axis=2, keepdims=True), 255, squares()).astype(np.uint8)
FORMATS: dict[str, tuple[Callable[[int], bytes], Picture, int]] = {
    "jpeg": (jpeg("RGB"), squares(), 40),
    "jpeg grey": (jpeg("L"), np.asarray(Image.fromarray(squares()).convert("L").convert("RGB")), 40),
    "jpeg cmyk": (adobe_cmyk, squares(), 40),
    "mpo": (mpo, squares(), 40),
    "png": (lambda o: saved(Image.fromarray(squares()), "PNG", o), squares(), 0),
    "png grey": (lambda o: saved(Image.fromarray(GREY), "PNG", o), GREY3, 0),
    "png bilevel": (lambda o: saved(Image.fromarray(BILEVEL).convert("1"), "PNG", o), BILEVEL, 0),
    "png rgba": (
        lambda o: saved(Image.fromarray(np.concatenate([squares(), ALPHA], 2)), "PNG", o),
        ON_WHITE,
        0,
    ),
    "png la": (
        lambda o: saved(Image.fromarray(np.concatenate([GREY3[..., :1], ALPHA], 2)), "PNG", o),
        np.where(ALPHA == 0, 255, GREY3).astype(np.uint8),
        0,
    ),
    "png palette": (palette(False), squares(), 0),
    "png palette, transparent": (palette(True), ON_WHITE, 0),
    "png one colour transparent": (
        lambda o: png(o, 8, 2, squares().tobytes(), 192, (b"tRNS", struct.pack(">HHH", 255, 0, 0))),
        CLEAR_RED,
        0,
    ),
    "png 16 bits grey": (lambda o: png(o, 16, 0, deep(GREY3[..., :1]), 128), GREY3, 0),
    "png 16 bits grey, transparent": (
        lambda o: png(o, 16, 0, deep(GREY3[..., :1]), 128, (b"tRNS", struct.pack(">H", 85 * 257))),
        np.where(GREY3 == 85, 255, GREY3).astype(np.uint8),
        0,
    ),
    "png 16 bits rgb": (lambda o: png(o, 16, 2, deep(squares()), 384), squares(), 0),
    "png 16 bits rgba": (lambda o: png(o, 16, 6, deep(squares(), ALPHA), 512), ON_WHITE, 0),
    "png 16 bits la": (
        lambda o: png(o, 16, 4, deep(GREY3[..., :1], ALPHA), 256),
        np.where(ALPHA == 0, 255, GREY3).astype(np.uint8),
        0,
    ),
    "apng": (moving("PNG", squares()), squares(), 0),
    "webp": (lambda o: saved(Image.fromarray(squares()), "WEBP", o, lossless=True), squares(), 0),
    "webp rgba": (
        lambda o: saved(Image.fromarray(np.concatenate([squares(), ALPHA], 2)), "WEBP", o, lossless=True),
        ON_WHITE,
        0,
    ),
    "webp, moving": (moving("WEBP", squares()), squares(), 0),
    "webp, moving, rgba": (moving("WEBP", np.concatenate([squares(), ALPHA], 2)), ON_WHITE, 0),
}


@pytest.mark.parametrize("orientation", SIDES)
@pytest.mark.parametrize("name", FORMATS)
def test_every_orientation_of_every_format_comes_upright(name: str, orientation: int) -> None:
    write, stored, tolerance = FORMATS[name]
    content = write(orientation)
    image = open_picture(content)
    expected = seen(stored, orientation)
    assert (image.mode, image.size) == ("RGB", expected.shape[1::-1])
    off = np.abs(np.asarray(image).astype(int) - expected).max(axis=2)
    assert (off > tolerance).mean() < (0.02 if tolerance else 1e-9), off.max()
    assert np.array_equal(np.asarray(to_rgb(image)), np.asarray(image)), "turned twice"


@pytest.mark.parametrize("orientation", SIDES)
def test_an_upright_square_is_cut_from_the_upright_picture(orientation: int) -> None:
    """The centre of what is seen: 64 x 32 or 32 x 64, to 32 x 32."""
    content = FORMATS["png"][0](orientation)
    upright = seen(squares(), orientation)
    top, left = (upright.shape[0] - 32) // 2, (upright.shape[1] - 32) // 2
    assert np.array_equal(decode_picture(content, 32), upright[top : top + 32, left : left + 32])


@pytest.mark.parametrize("value", [0, 9, 4096])
def test_an_orientation_that_the_standard_does_not_know_is_none(value: int) -> None:
    assert np.array_equal(np.asarray(open_picture(FORMATS["png"][0](value))), squares())


@pytest.mark.parametrize(
    "data", [b"", b"II*", b"Exif\0\0garbage", b"II*\0\xff\xff\xff\x7f", b"MM\0*" + b"\xff" * 40]
)
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_data_do_not_cost_the_picture(form: str, data: bytes) -> None:
    out = io.BytesIO()
    Image.fromarray(squares()).save(out, form, exif=data, quality=100)
    assert np.abs(np.asarray(open_picture(out.getvalue())).astype(int) - squares()).mean() < 5


def test_the_limit_on_pixels_comes_before_decoding_whatever_the_orientation() -> None:
    width = MAX_PIXELS // 5000 + 1
    for orientation in SIDES:
        content = bytearray(FORMATS["png 16 bits grey"][0](orientation))
        content[16:24] = struct.pack(">II", width, 5000)
        content[29:33] = struct.pack(">I", zlib.crc32(bytes(content[12:29])))
        with pytest.raises(ValueError, match=f"{width} x 5000 pixels"):
            open_picture(bytes(content))


UPRIGHT = [[(0, 0, 255), (255, 0, 0)], [(255, 255, 255), (0, 255, 0)]]
"""Blue, red above white, green."""


def corners(picture: Picture, *, first: bool = False) -> list[list[tuple[int, ...]]]:
    """The colours at a quarter and three quarters of each side, to 0 or 255. first: [3, S, S] instead of [S, S, 3]."""
    picture = picture.transpose(1, 2, 0) if first else picture
    height, width = picture.shape[:2]
    cut = picture[[height // 4, height * 3 // 4]][:, [width // 4, width * 3 // 4]]
    return [[tuple(int(value > 127) * 255 for value in colour) for colour in row] for row in cut]


CASES = ("exif_orientation_6.jpg", "exif_orientation_6_rgba.png")


@pytest.mark.parametrize("name", CASES)
def test_a_camera_s_picture_is_upright_wherever_pictures_are_read(
    name: str, shared: Path, tmp_path: Path
) -> None:
    from fvlm_datasets.configs.cauldron import Cauldron
    from fvlm_datasets.configs.rlaif_v import RLAIFV
    from fvlm_datasets.sources.cauldron import build as cauldron
    from fvlm_datasets.sources.rlaif_v import build as rlaif_v
    from fvlm_shards.config import Shards
    from fvlm_shards.source import build as shards

    file = shared / "cases/media" / name
    content = file.read_bytes()
    assert open_picture(content).size == (32, 64)
    assert corners(np.asarray(open_picture(content))) == UPRIGHT

    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        for member, data in ((f"0000{Path(name).suffix}", content), ("0000.txt", b"Squares.")):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    shard = shards(Shards(path=tmp_path, holdout=0.0, cache=tmp_path / "cache"), "train")
    assert corners(decode_frames(shard[0], 32)[0], first=True) == UPRIGHT

    (tmp_path / "ai2d").mkdir()
    row = {
        "images": [{"bytes": content, "path": None}],
        "texts": [{"user": "What?", "assistant": "Squares.", "source": "x"}],
    }
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "ai2d/train-0.parquet")
    for fit in ("crop", "letterbox"):
        chat = cauldron(Cauldron(path=tmp_path, holdout=0.0, fit=fit), "train")[0]
        frame = decode_frames(chat, 64)[0]
        assert corners(frame[:, :, 16:48] if fit == "letterbox" else frame, first=True) == UPRIGHT

    row = {"image": {"bytes": content, "path": None}, "question": "What?", "chosen": "A.", "rejected": "B."}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "RLAIF-V-Dataset_000.parquet")
    pair = rlaif_v(RLAIFV(path=tmp_path, holdout=0.0, fit="crop"), "train")[0]
    assert corners(decode_frames(pair, 64)[0], first=True) == UPRIGHT

    still = decode_still(ImageFile(file, fit="crop"), 64)
    assert corners(still) == UPRIGHT
    eye = Eye(size=64, fit="crop", decoder=None)
    for visual in (str(file), Image.open(io.BytesIO(content))):
        assert corners(eye.see([visual])[0], first=True) == UPRIGHT


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("flagged", [0, 1])
def test_the_grey_that_a_png_calls_transparent_is_white(bits: int, flagged: int) -> None:
    """Left half in one of the darker greys, right half in another; `flagged` of the two is transparent."""
    greys = (0, 1) if bits == 1 else (1 << bits - 2, 1 << bits - 1)
    row = "".join(f"{grey:0{bits}b}" * 32 for grey in greys)
    raw = int(row, 2).to_bytes(8 * bits, "big")
    content = png(1, bits, 0, raw * 32, 8 * bits, (b"tRNS", struct.pack(">H", greys[flagged])))
    left, right = (
        255 if place == flagged else round(255 * grey / ((1 << bits) - 1)) for place, grey in enumerate(greys)
    )
    seen = np.asarray(open_picture(content))
    assert (seen[:, :32] == left).all()
    assert (seen[:, 32:] == right).all()


@pytest.mark.parametrize("off", [0, 1, 256])
def test_a_colour_of_16_bits_is_transparent_only_where_all_its_bits_agree(off: int) -> None:
    key = np.array([0x1234, 0x5678, 0x9ABC])
    pixels = np.zeros((32, 64, 3), ">u2")
    near = key + np.array([0, 0, off])
    pixels[:, :32] = near
    content = png(1, 16, 2, pixels.tobytes(), 384, (b"tRNS", struct.pack(">HHH", *key)))
    seen = np.asarray(open_picture(content))
    assert (seen[:, :32] == ((255, 255, 255) if not off else near >> 8)).all()
    assert not seen[:, 32:].any()


def test_sixteen_bits_of_grey_are_scaled_to_eight() -> None:
    deep = np.repeat(np.array([[0, 257 * 100, 65_535, 257 * 200]], np.uint16), 4, axis=0)
    out = io.BytesIO()
    Image.fromarray(deep).save(out, "PNG")
    read = decode_picture(out.getvalue(), 4)
    assert read[:, :, 0].tolist() == [[0, 100, 255, 200]] * 4
    assert (read == read[:, :, :1]).all()

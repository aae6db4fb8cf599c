"""A video is shown as its file says: upright, mirrored only where it was meant to be, with square pixels."""

from __future__ import annotations

import math
import struct
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image

from fvlm_core.interfaces.data import VideoFile
from fvlm_core.media.upright import turn_of
from fvlm_core.media.video import BadSample, decode

Picture = NDArray[np.uint8]
ONE = 1 << 16

MATRICES = {
    "upright": (1, 0, 0, 1),
    "mirrored": (-1, 0, 0, 1),
    "half a turn": (-1, 0, 0, -1),
    "upside down": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "quarter to the right": (0, 1, -1, 0),
    "quarter to the left": (0, -1, 1, 0),
    "transposed the other way": (0, -1, -1, 0),
}
"""a, b, c, d of a track header: the point (p, q) is shown at (a p + c q, b p + d q)."""


def squares(width: int, height: int) -> Picture:
    """Red, green above blue, white, with a black corner: none of the eight ways to lay it looks like another."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (255, 0, 0)
    picture[: height // 2, width // 2 :] = (0, 255, 0)
    picture[height // 2 :, : width // 2] = (0, 0, 255)
    picture[height // 2 :, width // 2 :] = (255, 255, 255)
    picture[height // 8 : height // 3, width // 8 : width // 3] = 0
    return picture


def laid(stored: Picture, a: float, b: float, c: float, d: float) -> Picture:
    """Where the matrix puts each pixel, one by one."""
    height, width = stored.shape[:2]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    to_x, to_y = (np.rint(moved).astype(int) for moved in (a * x + c * y, b * x + d * y))
    to_x, to_y = to_x - to_x.min(), to_y - to_y.min()
    shown = np.zeros((to_y.max() + 1, to_x.max() + 1, 3), np.uint8)
    shown[to_y, to_x] = stored
    return shown


def written(path: Path, picture: Picture, *, aspect: Fraction | None = None, codec: str = "libx264") -> Path:
    """A film of three frames of one picture. aspect: width over height of its pixels, told by the codec."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=1, options={"crf": "5", "threads": "1", "qscale": "2"})
        stream.width, stream.height = picture.shape[1], picture.shape[0]
        stream.pix_fmt = "yuv444p" if codec == "libx264" else "yuv420p"
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def with_matrix(path: Path, a: float, b: float, c: float, d: float, x: int = 0, y: int = 0) -> Path:
    """Write the display matrix into the track header of an MP4."""
    content = bytearray(path.read_bytes())
    place = content.index(b"tkhd") + 4 + 40
    values = (a * ONE, b * ONE, 0, c * ONE, d * ONE, 0, x * ONE, y * ONE, 1 << 30)
    content[place : place + 36] = struct.pack(">9i", *map(round, values))
    path.write_bytes(content)
    return path


def cropped(shown: Picture, size: int) -> Picture:
    """The short side scaled to size, the centre cut out, with Pillow."""
    height, width = shown.shape[:2]
    short = min(width, height)
    left, top = (width - short) / 2, (height - short) / 2
    image = Image.fromarray(shown).resize(
        (size, size), Image.Resampling.BICUBIC, (left, top, left + short, top + short)
    )
    return np.asarray(image)


def agree(path: Path, expected: Picture, size: int = 48) -> None:
    frames = decode(VideoFile(path), size).transpose(0, 2, 3, 1).astype(int)
    assert len(frames) == 3
    for frame in frames:
        off = np.abs(frame - cropped(expected, size)).max(axis=2)
        assert (off > 48).mean() < 0.12, (
            "the squares lie elsewhere"
        )  # edges: other filters, compressed colours
        assert np.median(off) < 8


@pytest.mark.parametrize(("width", "height"), [(96, 64), (64, 96), (80, 80), (98, 62)])
@pytest.mark.parametrize("name", MATRICES)
def test_every_display_matrix_is_obeyed(name: str, width: int, height: int, tmp_path: Path) -> None:
    stored = squares(width, height)
    path = with_matrix(written(tmp_path / "a.mp4", stored), *MATRICES[name])
    agree(path, laid(stored, *MATRICES[name]))


def exif_film(path: Path, picture: Picture, orientation: int) -> Path:
    """A film of JPEGs that have EXIF data of their own."""
    data = Image.Exif()
    data[ExifTags.Base.Orientation] = orientation
    jpeg = BytesIO()
    Image.fromarray(picture).save(jpeg, "JPEG", quality=95, exif=data)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=1)
        stream.width, stream.height, stream.pix_fmt = picture.shape[1], picture.shape[0], "yuvj420p"
        stream.codec_context.open()
        for number in range(3):
            packet = av.Packet(jpeg.getvalue())
            packet.pts = packet.dts = number
            packet.time_base, packet.stream, packet.is_keyframe = Fraction(1), stream, True
            container.mux(packet)
    return path


@pytest.mark.parametrize("orientation", [1, 2, 6])
@pytest.mark.parametrize("name", MATRICES)
def test_exif_data_of_a_films_pictures_do_not_hide_its_matrix(
    name: str, orientation: int, tmp_path: Path
) -> None:
    stored = squares(96, 64)
    path = with_matrix(exif_film(tmp_path / "a.mov", stored, orientation), *MATRICES[name])
    shown = laid(stored, *MATRICES[name])
    if np.array_equal(shown, stored):  # the film turns nothing: its pictures have the word
        shown = {1: stored, 2: np.fliplr(stored), 6: np.rot90(stored, -1)}[orientation]
    agree(path, np.ascontiguousarray(shown))


@pytest.mark.parametrize("kind", ["mkv", "avi", "mov"])
@pytest.mark.parametrize("orientation", [1, 2, 6])
def test_exif_data_of_pictures_have_the_word_where_the_film_says_nothing(
    kind: str, orientation: int, tmp_path: Path
) -> None:
    """As the command ffmpeg (9.0.2) writes their first pictures."""
    stored = squares(96, 64)
    shown = {1: stored, 2: np.fliplr(stored), 6: np.rot90(stored, -1)}[orientation]
    agree(exif_film(tmp_path / f"a.{kind}", stored, orientation), np.ascontiguousarray(shown))


@pytest.mark.parametrize("name", MATRICES)
def test_a_matrix_that_is_nearly_one_of_the_eight_is_that_one(name: str, tmp_path: Path) -> None:
    """Half a degree off, scaled, and moved: what cameras and editors write."""
    a, b, c, d = MATRICES[name]
    stored = squares(96, 64)
    for degrees, scale, x, y in ((0.5, 1, 0, 0), (-0.7, 1, 640, -480), (0.0, 2.5, 0, 0), (0.0, 0.1, -96, 64)):
        cos, sin = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
        turned = (a * cos - b * sin, a * sin + b * cos, c * cos - d * sin, c * sin + d * cos)
        path = with_matrix(written(tmp_path / "a.mp4", stored), *turned, x, y)
        agree(path, laid(stored, a, b, c, d))


def test_a_matrix_of_nothing_but_zeros_turns_nothing() -> None:
    picture = squares(8, 6)
    assert np.array_equal(turn_of(np.zeros(9, np.int32)).of(picture), picture)


ASPECTS = [
    Fraction(*pair) for pair in ((64, 45), (16, 11), (12, 11), (10, 11), (8, 9), (32, 27), (1, 2), (1, 1))
]


def slopes(width: int, height: int) -> Picture:
    """Brighter to the right, and less so downwards: how far each place of a picture is from its middle can be read."""
    x, y = np.meshgrid(np.linspace(0, 200, width), np.linspace(0, 50, height))
    return np.repeat((x + y).astype(np.uint8)[..., None], 3, axis=2)


def lie_alike(path: Path, expected: Picture, size: int = 48) -> None:
    """Every place of the slopes is where it should be, to two or three levels of 250."""
    for frame in decode(VideoFile(path), size).transpose(0, 2, 3, 1).astype(int):
        assert np.percentile(np.abs(frame - cropped(expected, size)), 95) <= 3


@pytest.mark.parametrize("aspect", ASPECTS, ids=str)
@pytest.mark.parametrize(("codec", "extension"), [("libx264", "mp4"), ("libx264", "mkv"), ("mpeg4", "avi")])
def test_pixels_are_square_before_the_crop(
    codec: str, extension: str, aspect: Fraction, tmp_path: Path
) -> None:
    path = written(tmp_path / f"a.{extension}", slopes(96, 64), aspect=aspect, codec=codec)
    lie_alike(path, slopes(round(96 * aspect), 64))


@pytest.mark.parametrize("name", MATRICES)
def test_pixels_that_are_not_square_are_turned_too(name: str, tmp_path: Path) -> None:
    path = written(tmp_path / "a.mp4", slopes(96, 64), aspect=Fraction(16, 11))
    lie_alike(with_matrix(path, *MATRICES[name]), laid(slopes(140, 64), *MATRICES[name]))


def test_the_container_knows_better_than_the_codec_how_wide_a_pixel_is(tmp_path: Path) -> None:
    """As in a film whose header was corrected after it was encoded."""
    path = written(tmp_path / "a.mp4", slopes(96, 64), aspect=Fraction(16, 11))
    content = bytearray(path.read_bytes())
    place = content.index(b"pasp") + 4
    content[place : place + 8] = struct.pack(">2I", 3, 4)
    path.write_bytes(content)
    lie_alike(path, slopes(72, 64))


def test_pixels_that_make_a_picture_a_line_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "a.mp4", squares(96, 64), aspect=Fraction(16, 11))
    content = bytearray(path.read_bytes())
    place = content.index(b"pasp") + 4
    content[place : place + 8] = struct.pack(">2I", 200, 1)
    path.write_bytes(content)
    with pytest.raises(BadSample, match=r"96 x 64 pixels of 200:1, where at most 4096 a side and 1:20"):
        decode(VideoFile(path), 48)


def test_a_mirrored_recording_is_shown_mirrored(shared: Path) -> None:
    path = shared / "cases/media/flip_horizontal.mp4"
    frame = decode(VideoFile(path), 96)[0].transpose(1, 2, 0)
    corners = [[tuple(int(v > 127) * 255 for v in frame[y, x]) for x in (8, 88)] for y in (8, 88)]
    assert corners == [[(0, 255, 0), (255, 0, 0)], [(255, 255, 255), (0, 0, 255)]]


def test_a_disc_of_wide_pixels_is_round(shared: Path) -> None:
    frame = decode(VideoFile(shared / "cases/media/pixels_64_45.mp4"), 288)[0].astype(float).mean(axis=0)
    rows, columns = np.nonzero(frame > 127)
    assert np.ptp(columns) == pytest.approx(np.ptp(rows), abs=2)
    assert np.ptp(rows) == pytest.approx(200, abs=3)  # a radius of 200 of 576, at half the size


@pytest.mark.parametrize("extension", ["mov", "gif", "apng", "webp"])
def test_what_is_transparent_is_laid_on_white(extension: str, tmp_path: Path) -> None:
    """Red, and nothing below it."""
    picture = np.zeros((64, 96, 4), np.uint8)
    picture[:32] = (255, 0, 0, 255)
    path = tmp_path / f"a.{extension}"
    if extension == "mov":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("qtrle", rate=1)
            stream.width, stream.height, stream.pix_fmt = 96, 64, "argb"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgba").reformat(format="argb")))
            container.mux(stream.encode())
    else:
        images = [Image.fromarray(picture), Image.fromarray(picture[:, ::-1].copy())]
        images[1].putpixel((0, 63), (0, 0, 255, 255))
        form = "PNG" if extension == "apng" else extension.upper()
        images[0].save(path, form, save_all=True, append_images=images[1:], duration=500)
    frame = decode(VideoFile(path), 64)[0].astype(int)
    assert np.abs(frame[:, 8, 32] - (255, 0, 0)).max() < 8
    assert np.abs(frame[:, 56, 32] - 255).max() < 8


@pytest.mark.parametrize("times", [(500,), (500, 500, 500), (100, 900, 40, 1960)])
def test_a_moving_webp_is_read_by_its_times(times: tuple[int, ...], tmp_path: Path) -> None:
    grey = [Image.new("RGB", (64, 48), (40 * n, 40 * n, 40 * n)) for n in range(len(times))]
    path = tmp_path / "a.WEBP"
    grey[0].save(path, "WEBP", save_all=True, append_images=grey[1:], duration=list(times), lossless=True)
    frames = decode(VideoFile(path, fps=10, max_frames=99), 48)
    ends = np.cumsum(times) / 1000
    expected = [
        int(np.searchsorted(ends, k / 10 + 1e-3, side="right"))
        for k in range(math.ceil(ends[-1] * 10 - 1e-6))
    ]
    expected = expected if len(times) > 1 else [0]
    assert np.abs(frames.mean(axis=(1, 2, 3)) / 40 - expected).max() < 0.1

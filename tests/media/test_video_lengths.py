"""A clip lasts as long as what is in it: no header is believed against it, and no end is lost without a word."""

from __future__ import annotations

import math
import struct
import tempfile
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from videos import index_of, picture, write_video

from fvlm_core.interfaces.data import Member, VideoFile
from fvlm_core.media.video import BadSample, decode

CODECS = {"mpeg4": {}, "mjpeg": {}, "libx264": {}, "libx264 without B": {"bf": "0"}}


def chunks_of(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of an AVI's list of pictures, or of any other list."""
    place = 0
    while place + 8 <= len(content):
        name, size = content[place : place + 4], struct.unpack("<I", content[place + 4 : place + 8])[0]
        yield name, content[place + 8 : place + 8 + size]
        place += 8 + size + size % 2


def chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def avi(path: Path, shown: list[bool], codec: str, *, index: bool = True, told: int | None = None) -> Path:
    """An AVI of 10 pictures a second: True for the next picture, False for an empty chunk, which shows the one before.

    told: how many pictures its header declares, if not as many as there are chunks. index: whether it ends in one.
    """
    name = codec.partition(" ")[0]
    made = write_video(path, sum(shown), fps=10, codec=name, options=CODECS[codec])
    ((_, riff),) = chunks_of(made.read_bytes())
    header, pictures = b"", []
    for _, content in chunks_of(riff[4:]):
        if content[:4] == b"hdrl":
            header = content
        elif content[:4] == b"movi":
            pictures = [data for part, data in chunks_of(content[4:]) if part in (b"00dc", b"00db")]
    assert len(pictures) == sum(shown)
    count = struct.pack("<I", len(shown) if told is None else told)
    at = header.index(b"avih") + 8 + 16
    header = header[:at] + count + header[at + 4 :]
    at = header.index(b"strh") + 8 + 32
    header = header[:at] + count + header[at + 4 :]
    movi, entries, waiting = b"movi", b"", iter(pictures)
    for number, one in enumerate(shown):
        data = next(waiting) if one else b""
        flags = 16 if one and (number == 0 or name == "mjpeg") else 0
        entries += struct.pack("<4sIII", b"00dc", flags, len(movi), len(data))
        movi += chunk(b"00dc", data)
    parts = chunk(b"LIST", header) + chunk(b"LIST", movi) + (chunk(b"idx1", entries) if index else b"")
    path.write_bytes(chunk(b"RIFF", b"AVI " + parts))
    return path


def indices(path: Path, **choice: float) -> list[int]:
    return [index_of(frame) for frame in decode(VideoFile(path, fps=10, max_frames=500), 48)]


def on_screen(shown: list[bool]) -> list[int]:
    """Which picture is seen at each chunk."""
    return [max(0, number - 1) for number in np.cumsum(shown).tolist()]


@pytest.mark.parametrize("codec", CODECS)
@settings(max_examples=6, deadline=None)
@given(shown=st.lists(st.booleans(), min_size=3, max_size=30).map(lambda rest: [True, *rest, True]))
def test_an_empty_chunk_shows_the_picture_before_it(codec: str, shown: list[bool]) -> None:
    """Pictures of codecs that reorder them are held back by one chunk; there, FFmpeg's own times are the measure."""
    with tempfile.TemporaryDirectory() as folder:
        path = avi(Path(folder) / "a.avi", shown, codec)
        seen = indices(path)
        assert seen == sorted(seen)
        assert set(seen) == set(range(sum(shown)))
        if not codec.startswith("libx264"):
            assert seen == on_screen(shown)
        assert len(seen) == len(shown)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("index", [True, False])
def test_the_last_picture_stays_while_empty_chunks_follow(codec: str, index: bool, tmp_path: Path) -> None:
    path = avi(tmp_path / "a.avi", [True] * 6 + [False] * 24, codec, index=index)
    assert indices(path) == [*range(6), *[5] * 24]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("told", [1, 7, 120, 4000])
def test_the_count_in_an_avi_s_header_is_not_believed(codec: str, told: int, tmp_path: Path) -> None:
    path = avi(tmp_path / "a.avi", [True] * 30, codec, told=told)
    assert indices(path) == list(range(30))


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("index", [True, False])
def test_a_cut_avi_with_empty_chunks_is_noticed(codec: str, index: bool, tmp_path: Path) -> None:
    shown = [number % 3 != 2 for number in range(60)]
    path = avi(tmp_path / "a.avi", shown, codec, index=index)
    whole, content = indices(path), path.read_bytes()
    for share in np.linspace(0.3, 0.999, 15):
        path.write_bytes(content[: int(share * len(content))])
        try:
            assert indices(path) == whole, share
        except BadSample as error:
            assert "cut short" in error.reason or "no video track" in error.reason  # noqa: PT017


def times(content: bytearray, name: bytes, at: int, form: str, factor: float) -> None:
    """Multiply a number of a header that stands `at` bytes after a name."""
    place = content.index(name) + len(name) + at
    (value,) = struct.unpack_from(form, content, place)
    struct.pack_into(form, content, place, type(value)(value * factor))


def mp4(content: bytearray, factor: float) -> None:
    for name, at in ((b"mvhd", 16), (b"mdhd", 16), (b"tkhd", 20)):
        times(content, name, at, ">I", factor)
    if factor > 1:  # an edit list that is shorter than the film leaves the rest of it out on purpose
        times(content, b"elst", 8, ">I", factor)


def matroska(content: bytearray, factor: float) -> None:
    times(content, b"\x44\x89\x88", 0, ">d", factor)
    place = content.index(b"00:00:03")
    content[place : place + 8] = f"00:00:{math.ceil(3 * factor):02d}".encode()


def flv(content: bytearray, factor: float) -> None:
    times(content, b"duration\0", 0, ">d", factor)


def asf(content: bytearray, factor: float) -> None:
    for at in (48, 56):
        times(content, bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365"), at, "<Q", factor)


HEADERS: dict[str, tuple[str, Callable[[bytearray, float], None]]] = {
    "mp4": ("libx264", mp4),
    "mkv": ("libx264", matroska),
    "webm": ("libvpx-vp9", matroska),
    "flv": ("libx264", flv),
    "wmv": ("mpeg4", asf),
}


@pytest.mark.parametrize("factor", [0.4, 4.0, 15.0])
@pytest.mark.parametrize("extension", HEADERS)
def test_a_duration_in_a_header_is_not_believed(extension: str, factor: float, tmp_path: Path) -> None:
    codec, change = HEADERS[extension]
    path = write_video(tmp_path / f"a.{extension}", 30, fps=10, codec=codec)
    assert indices(path) == list(range(30))
    content = bytearray(path.read_bytes())
    change(content, factor)
    path.write_bytes(content)
    assert indices(path) == list(range(30))


@pytest.mark.parametrize("extension", ["mkv", "webm", "flv", "wmv", "fragments", "dash"])
def test_a_cut_file_is_noticed_whatever_its_header_says(extension: str, tmp_path: Path) -> None:
    """A file that is cut is refused, or gives all its pictures: the cut went through an index alone."""
    if extension in ("fragments", "dash"):
        path = fragments(tmp_path / "a.mp4", extension == "dash")
    else:
        path = write_video(tmp_path / f"a.{extension}", 60, fps=10, codec=HEADERS[extension][0])
    content = path.read_bytes()
    for share in np.linspace(0.2, 0.99, 15):
        path.write_bytes(content[: int(share * len(content))])
        try:
            assert indices(path) == list(range(60)), share
        except BadSample as error:
            assert "cut short" in error.reason or "no video track" in error.reason  # noqa: PT017


def fragments(path: Path, dash: bool) -> Path:
    """An MP4 of 60 pictures in pieces of 10."""
    flags = "dash+frag_keyframe" if dash else "frag_keyframe+empty_moov"
    with av.open(str(path), "w", options={"movflags": flags}) as container:
        stream = container.add_stream("libx264", rate=10, options={"g": "10", "threads": "1", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for number in range(60):
            frame = av.VideoFrame.from_ndarray(picture(number, 96, 64), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def test_empty_samples_of_an_mp4_show_the_picture_before_them(tmp_path: Path) -> None:
    """As a tool leaves them that drops repeated pictures and keeps their places."""
    path = write_video(tmp_path / "a.mp4", 30, fps=10, codec="mjpeg", options={"g": "1"})
    content = bytearray(path.read_bytes())
    at = content.index(b"stsz") + 16
    sizes = list(struct.unpack_from(">30I", content, at))
    data, start = b"", content.index(b"mdat") + 4
    for number, size in enumerate(sizes):
        if number % 4:
            sizes[number] = 0
        else:
            data += content[start : start + size]
        start += size
    struct.pack_into(">30I", content, at, *sizes)
    begin = content.index(b"mdat") + 4
    content[begin : begin + len(data)] = data
    path.write_bytes(content)
    assert indices(path) == [4 * (number // 4) for number in range(30)]


def test_a_member_of_an_archive_is_judged_by_its_own_bytes(tmp_path: Path) -> None:
    """Its structure ends where the member does, not where the archive does."""
    shown = [True] * 6 + [False] * 24
    content = avi(tmp_path / "a.avi", shown, "mpeg4", told=300).read_bytes()
    cut = content[: int(0.55 * len(content))]
    archive = tmp_path / "a.tar"
    for stored, good in ((content, True), (cut, False)):
        archive.write_bytes(bytes(512) + stored + bytes(1 << 16))
        clip = VideoFile(
            archive, 10, 500, member=Member("a.avi", (archive,), "tar", 512, len(stored), len(stored))
        )
        if good:
            assert [index_of(frame) for frame in decode(clip, 48)] == on_screen(shown)
        else:
            with pytest.raises(BadSample, match="cut short"):
                decode(clip, 48)


def test_a_healthy_avi_with_empty_chunks_decodes_whole(shared: Path) -> None:
    frames = decode(VideoFile(shared / "cases/media/empty_chunks.avi", fps=10, max_frames=500), 48)
    assert len(frames) == 96
    assert len({frame.tobytes() for frame in frames}) == 14

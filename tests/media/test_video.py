"""Decoding takes the pictures that were on screen, and says what is wrong with a file."""

from __future__ import annotations

import pickle
import re
import struct
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from videos import index_of, picture, write_video

from fvlm_core.interfaces.data import VideoFile
from fvlm_core.media import video
from fvlm_core.media.video import BadSample, decode, decoder_versions

KINDS = [
    ("libx264", "mp4"),
    ("libx264", "mkv"),
    ("libx264", "ts"),
    ("mpeg4", "avi"),
    ("mpeg4", "mp4"),
    ("libvpx-vp9", "webm"),
    ("mjpeg", "mov"),
    ("mjpeg", "avi"),
]
RATES = [Fraction(25), Fraction(30000, 1001), Fraction(10), Fraction(1)]


def indices(path: Path, size: int = 48, **choice: float) -> list[int]:
    return [index_of(frame) for frame in decode(VideoFile(path, **choice), size)]  # type: ignore[arg-type]


@pytest.mark.parametrize(("codec", "extension"), KINDS)
def test_one_picture_a_second_is_the_one_on_screen(codec: str, extension: str, tmp_path: Path) -> None:
    for rate in RATES:
        frames = int(3 * rate) + 1
        path = write_video(tmp_path / f"{float(rate):.0f}.{extension}", frames, fps=rate, codec=codec)
        expected = [int(k * rate) for k in range(4) if k * rate < frames]
        assert indices(path) == expected, rate


@pytest.mark.parametrize(
    ("fps", "expected"), [(2.0, [0, 5, 10, 15]), (2.5, [0, 4, 8, 12, 16]), (20.0, [0, 0, 1, 1])]
)
def test_rate_is_obeyed(fps: float, expected: list[int], tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 20, fps=10)
    assert indices(path, fps=fps)[: len(expected)] == expected
    assert len(indices(path, fps=fps)) == 2 * fps


def test_long_clip_is_spread_evenly_over_its_whole_length(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 400, fps=10)
    assert indices(path, fps=1.0, max_frames=64) == [10 * k for k in range(40)]
    assert indices(path, fps=1.0, max_frames=8) == [50 * k for k in range(8)]
    assert indices(path, fps=1.0, max_frames=1) == [0]


def test_clip_shorter_than_one_interval_gives_one_picture(tmp_path: Path) -> None:
    assert indices(write_video(tmp_path / "a.mp4", 1, fps=25)) == [0]
    assert indices(write_video(tmp_path / "b.webm", 12, fps=25, codec="libvpx-vp9")) == [0]


@pytest.mark.parametrize("extension", ["mp4", "mkv"])
def test_variable_frame_rate_is_read_by_time(extension: str, tmp_path: Path) -> None:
    times = [0, 40, 80, 950, 1000, 3500, 3540, 5200]
    path = write_video(tmp_path / f"a.{extension}", len(times), times_ms=times)
    expected = [max(i for i, time in enumerate(times) if time <= 1000 * k) for k in range(6)]
    assert indices(path)[:6] == expected


@pytest.mark.parametrize("extension", ["mkv", "mp4"])
def test_times_rounded_to_milliseconds_are_in_time(extension: str, tmp_path: Path) -> None:
    """Matroska keeps 2/3 s as 667 ms: a picture later than it is asked for, in every third place."""
    path = write_video(tmp_path / f"a.{extension}", 75, fps=15)
    assert indices(path, fps=3.0) == [5 * k for k in range(15)]


@pytest.mark.parametrize("frames", [2, 4, 5])
def test_a_length_rounded_up_gives_no_frame_beyond_the_end(frames: int, tmp_path: Path) -> None:
    """At 15 a second: four pictures last 266.67 ms, which Matroska keeps as 267, and two 133.33 ms, which it keeps as
    134, for it rounds the time of the last picture and how long that one lasts."""
    path = write_video(tmp_path / "a.mkv", frames, fps=15)
    assert indices(path, fps=15.0) == list(range(frames))


@pytest.mark.parametrize(("width", "height"), [(97, 63), (64, 200), (320, 180), (49, 49), (48, 48), (42, 60)])
def test_any_size_is_scaled_and_cropped_to_the_centre(width: int, height: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", 3, fps=1, width=width, height=height, codec="mjpeg")
    for size in (42, 56):
        frames = decode(VideoFile(path), size)
        assert frames.shape == (3, 3, size, size)
        assert frames.dtype == np.uint8
        assert [index_of(frame) for frame in frames] == [0, 1, 2]


def test_colours_are_rgb(tmp_path: Path) -> None:
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1, options={"crf": "10"})
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        red = np.zeros((64, 64, 3), np.uint8)
        red[..., 0] = 200
        container.mux(stream.encode(av.VideoFrame.from_ndarray(red, "rgb24")))
        container.mux(stream.encode())
    assert np.abs(decode(VideoFile(path), 48).mean(axis=(0, 2, 3)) - [200, 0, 0]).max() < 6


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotated_recordings_come_upright(rotation: int, tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 6, fps=1, rotation=rotation)
    assert indices(path) == [0, 1, 2, 3, 4, 5]


def bad(path: Path) -> str:
    with pytest.raises(BadSample) as caught:
        decode(VideoFile(path), 48)
    assert str(path) in str(caught.value)
    return caught.value.reason


def test_what_is_not_a_video_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    assert "No such file" in bad(path)
    path.write_bytes(b"")
    assert "0 bytes" in bad(path)
    path.write_text("\n<!DOCTYPE html><html><body>404 not found</body></html>")
    assert "web page" in bad(path)
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    assert "not a video" in bad(path)
    assert "not a file" in bad(tmp_path)


def test_a_playlist_opens_no_further_file(tmp_path: Path) -> None:
    video = write_video(tmp_path / "real.mp4")
    path = tmp_path / "list.mp4"
    path.write_text(f"ffconcat version 1.0\nfile {video.name}\n")
    bad(path)
    path.with_suffix(".m3u8").write_text(f"#EXTM3U\n#EXTINF:1,\n{video.name}\n#EXT-X-ENDLIST\n")
    bad(path.with_suffix(".m3u8"))


def test_sound_without_pictures_is_named(tmp_path: Path) -> None:
    import av

    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        stream.layout = "mono"
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode())
    assert bad(path) == "has no video track"


def test_pictures_beyond_the_cap_are_refused_before_decoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "on_screen", lambda *_: pytest.fail("it was decoded"))
    assert "4160 x 208 pixels" in bad(write_video(tmp_path / "a.mp4", 1, width=4160, height=208))
    assert "1600 x 16 pixels" in bad(write_video(tmp_path / "b.mp4", 1, width=1600, height=16))


@pytest.mark.parametrize(("codec", "extension"), KINDS)
@pytest.mark.parametrize(("frames", "fps"), [(4, 1), (75, 25)])
def test_cut_files_are_noticed(codec: str, extension: str, frames: int, fps: int, tmp_path: Path) -> None:
    """A cut file raises, or, where only the index after the pictures is cut, gives every picture."""
    if extension == "ts":
        pytest.skip("a transport stream declares no length: a shorter one is a whole one")
    path = write_video(tmp_path / f"a.{extension}", frames, fps=fps, codec=codec)
    whole, content = decode(VideoFile(path), 48), path.read_bytes()
    for share in (0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.99):
        path.write_bytes(content[: int(share * len(content))])
        try:
            assert np.array_equal(decode(VideoFile(path), 48), whole), share
        except BadSample as error:
            assert "cut short" in error.reason or "no video track" in error.reason  # noqa: PT017
        else:
            assert share > 0.7


def test_pictures_that_vanish_without_a_complaint_are_counted(tmp_path: Path) -> None:
    """Blank packets inside a healthy container: FFmpeg skips them in silence."""
    path = write_video(tmp_path / "a.mkv", 40, fps=10, options={"g": "1"}, codec="mjpeg")
    content = bytearray(path.read_bytes())
    starts = [i for i in range(len(content)) if content.startswith(b"\xff\xd8\xff", i)]
    for start, stop in pairwise(starts[10:21]):
        content[start : stop - 40] = bytes(stop - 40 - start)
    path.write_bytes(content)
    bad(path)


def test_a_stream_with_lost_packets_is_counted(tmp_path: Path) -> None:
    """What reception loses of a transport stream leaves pictures that decode, half of them from nothing."""
    path = write_video(tmp_path / "a.ts", 40, fps=10, codec="mpeg4", options={"g": "1"})
    content = path.read_bytes()
    packets = [content[at : at + 188] for at in range(0, len(content), 188)]
    quarter = len(packets) // 4
    path.write_bytes(b"".join(p for n, p in enumerate(packets) if not quarter < n < 2 * quarter or n % 3))
    assert re.fullmatch(r"corrupt or cut short: \d+ of its \d+ pictures are there", bad(path))


def test_a_cut_file_whose_structure_tells_nothing_is_held_to_its_declared_length(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ivf", 40, fps=10, codec="libvpx-vp9")
    with av.open(str(path)) as container:
        after = [packet.pos for packet in container.demux(video=0) if packet.size][20]
    assert after is not None
    path.write_bytes(path.read_bytes()[:after])  # between two pictures
    assert bad(path) == "cut short: pictures end after 2.00 s of the 4.00 s declared"


def test_bad_samples_cross_processes() -> None:
    error = pickle.loads(pickle.dumps(BadSample(Path("x.mp4"), "empty file")))
    assert (str(error), error.path, error.reason) == ("x.mp4: empty file", Path("x.mp4"), "empty file")


def test_versions_name_the_decoder() -> None:
    assert set(decoder_versions()) == {"av", "libavformat", "libavcodec", "libswscale"}
    assert all(value[0].isdigit() for value in decoder_versions().values())


def test_thousands_of_clips_leave_no_open_file_and_no_message(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", 4, fps=1, width=42, height=42)
    (tmp_path / "bad.mp4").write_bytes(path.read_bytes()[:-400])
    script = f"""
import os
from pathlib import Path
from fvlm_core.media.video import BadSample, decode
from fvlm_core.interfaces.data import VideoFile
def burst(n):
    for _ in range(n):
        for name in ("a.mp4", "bad.mp4"):
            try: decode(VideoFile(Path({str(tmp_path)!r}) / name), 42)
            except BadSample: pass
    return len(os.listdir("/proc/self/fd"))
assert burst(5) == burst(500)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


def packed(path: Path, frames: int) -> list[int]:
    """Write an AVI as DivX does: a packet holds a picture and the B picture before it, the next one nothing.

    Gives the pictures as FFmpeg decodes them one by one.
    """
    context: Any = av.CodecContext.create("mpeg4", "w")
    context.width, context.height, context.pix_fmt = 96, 64, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 10), Fraction(10)
    context.max_b_frames, context.options = 1, {"g": "12", "threads": "1"}
    coded: list[bytes] = []
    for index in range(frames):
        frame = av.VideoFrame.from_ndarray(picture(index, 96, 64), "rgb24").reformat(format="yuv420p")
        frame.pts, frame.time_base = index, Fraction(1, 10)
        coded += map(bytes, context.encode(frame))
    coded += map(bytes, context.encode(None))
    b_picture = [one[one.index(b"\0\0\1\xb6") + 4] >> 6 == 2 for one in coded]
    following = zip([*coded[1:], b""], [*b_picture[1:], False], strict=True)
    packets = [
        bytes.fromhex("000001b6510000") if b else one + after * joined
        for one, b, (after, joined) in zip(coded, b_picture, following, strict=True)
    ]
    start = packets[0].index(b"\0\0\1\xb6")
    about = packets[0].find(b"\0\0\1\xb2")
    packets[0] = (
        packets[0][: about if about >= 0 else start] + b"\0\0\1\xb2DivX503b1393p" + packets[0][start:]
    )

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)

    count = len(packets)
    avih = struct.pack("<14I", 100_000, 0, 0, 0x10, count, 0, 1, 100_000, 96, 64, 0, 0, 0, 0)
    strh = b"vidsDX50" + struct.pack("<10I4H", 0, 0, 0, 1, 10, 0, count, 100_000, 0, 0, 0, 0, 96, 64)
    strf = struct.pack("<IiiHH4sIiiII", 40, 96, 64, 1, 24, b"DX50", 96 * 64 * 3, 0, 0, 0, 0)
    strl = chunk(b"LIST", b"strl" + chunk(b"strh", strh) + chunk(b"strf", strf))
    movi, index = b"movi", b""
    for number, one in enumerate(packets):
        index += b"00dc" + struct.pack("<III", 0 if number else 0x10, len(movi), len(one))
        movi += chunk(b"00dc", one)
    header = chunk(b"LIST", b"hdrl" + chunk(b"avih", avih) + strl)
    path.write_bytes(chunk(b"RIFF", b"AVI " + header + chunk(b"LIST", movi) + chunk(b"idx1", index)))
    with av.open(str(path)) as container:
        return [
            index_of(frame.reformat(72, 48, "rgb24").to_ndarray()[:, 12:60].transpose(2, 0, 1))
            for frame in container.decode(video=0)
        ]


@pytest.mark.parametrize("frames", [29, 30])
@pytest.mark.parametrize("fps", [10, 5])
def test_pictures_whose_times_fall_come_in_the_order_of_decoding(
    tmp_path: Path, frames: int, fps: int
) -> None:
    path = tmp_path / "packed.avi"
    assert packed(path, frames) == list(range(frames))
    shown = decode(VideoFile(path, fps=fps, max_frames=64), 48)
    assert [index_of(frame) for frame in shown] == list(range(0, frames, 10 // fps))

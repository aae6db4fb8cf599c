"""What no shown picture needs is not decoded, and what is shown is the same to the bit."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import av
import numpy as np
import pytest
from attrs import evolve
from av.packet import PacketSideData
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from videos import index_of, write_video

from fvlm_core.interfaces.data import VideoFile
from fvlm_core.media import video
from fvlm_core.media.clip import Clip, Unforeseen
from fvlm_core.media.packet_choice import Coded, choose, reader, shown


def decoded(file: VideoFile, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many pictures come out of the decoder."""
    count = 0
    plain, foreseen = Clip._pictures, Clip._foreseen

    def counting(given: Any) -> Any:
        def counted(*arguments: Any) -> Any:
            nonlocal count
            for one in given(*arguments):
                count += 1
                yield one

        return counted

    with monkeypatch.context() as patch:
        patch.setattr(Clip, "_pictures", counting(plain))
        patch.setattr(Clip, "_foreseen", counting(foreseen))
        video.decode(file, 40)
    return count


def alike(file: VideoFile) -> bool:
    every, times = video._decode(file, 40, every=True)
    some, looked = video.decode_timed(file, 40)
    return np.array_equal(every, some) and times == looked


X264 = st.fixed_dictionaries(
    {
        "preset": st.sampled_from(["ultrafast", "veryfast", "medium"]),
        "g": st.sampled_from(["7", "12", "250"]),
        "bf": st.sampled_from(["0", "1", "3", "7"]),
        "b-pyramid": st.sampled_from(["none", "strict", "normal"]),
        "flags": st.sampled_from(["+cgop", "-cgop"]),
        "refs": st.sampled_from(["1", "4"]),
        "weightp": st.sampled_from(["0", "2"]),
        "direct-pred": st.sampled_from(["spatial", "temporal"]),
    }
)
X265 = st.builds(
    lambda *given: {"preset": "ultrafast", "x265-params": ":".join(["log-level=none", *given])},
    st.sampled_from(["keyint=7", "keyint=12:min-keyint=4", "keyint=250"]),
    st.sampled_from(["bframes=0", "bframes=3", "bframes=4"]),
    st.sampled_from(["b-pyramid=0:open-gop=0", "open-gop=0", "open-gop=1", "open-gop=0:temporal-layers=3"]),
)


@pytest.mark.parametrize(("codec", "options"), [("libx264", X264), ("libx265", X265)], ids=["H.264", "H.265"])
@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_pictures_and_times_are_those_of_decoding_everything(
    codec: str, options: st.SearchStrategy[dict[str, str]], suffix: str, tmp_path: Path
) -> None:
    @settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)
    @given(options, st.sampled_from([0.4, 1.0, 3.0]), st.integers(20, 70))
    def check(how: dict[str, str], fps: float, frames: int) -> None:
        path = tmp_path / f"clip.{suffix}"
        write_video(path, frames, fps=10, width=64, height=64, codec=codec, options=how)
        assert alike(VideoFile(path, max_frames=16, fps=fps))

    check()


def test_the_rest_of_a_group_and_what_nothing_refers_to_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"g": "10", "bf": "0", "sc_threshold": "0"}
    grouped = VideoFile(
        write_video(tmp_path / "groups.mp4", 60, fps=10, options=options), max_frames=8, fps=1.0
    )
    assert decoded(grouped, monkeypatch) == 6  # each second begins a group
    assert [index_of(one) for one in video.decode(evolve(grouped, fps=1.0), 64)] == [0, 10, 20, 30, 40, 50]
    between = {"g": "250", "bf": "3", "b-pyramid": "none", "b_strategy": "0", "sc_threshold": "0"}
    loose = VideoFile(write_video(tmp_path / "loose.mp4", 61, fps=10, options=between), max_frames=2, fps=0.1)
    assert decoded(loose, monkeypatch) <= 61 / 4 + 3


def test_pictures_out_of_their_order_are_all_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Presentation times that are those of decoding, as some programs write them."""
    source = write_video(tmp_path / "right.mp4", 40, fps=10, options={"bf": "3", "g": "8", "b_strategy": "0"})
    wrong = tmp_path / "wrong.mp4"
    with av.open(str(source)) as read, av.open(str(wrong), "w") as written:
        came = read.streams.video[0]
        goes = written.add_stream_from_template(came)
        for place, packet in enumerate(one for one in read.demux(came) if one.size):
            packet.stream, packet.time_base = goes, Fraction(1, 10)
            packet.pts = packet.dts = place
            packet.duration = 1
            written.mux(packet)
    assert alike(VideoFile(wrong, max_frames=5, fps=1.0))
    assert alike(VideoFile(wrong, max_frames=5, fps=0.3))
    looked_through: list[int] = []
    monkeypatch.setattr("fvlm_core.media.clip.survey", lambda *_: looked_through.append(1))
    video.decode(VideoFile(wrong, max_frames=5, fps=0.3), 40)
    assert len(looked_through) == 1  # though it is read again for the times of decoding


def parameters(head: bytes) -> bytes:
    """The sets that an avcC of one of each holds, as units of a packet."""
    units, place = b"", 6
    for _ in range(2):
        length = int.from_bytes(head[place : place + 2], "big")
        units += length.to_bytes(4, "big") + head[place + 2 : place + 2 + length]
        place += 3 + length
    return units


def join(path: Path, first: Path, second: Path, *, after: float, told: str = "") -> Path:
    """Two films, without a word of how the second is read but in its first packet (told: "inside" or "beside" it)."""
    with av.open(str(path), "w") as written, av.open(str(first)) as one, av.open(str(second)) as other:
        stream = written.add_stream_from_template(one.streams.video[0])
        head = bytes(other.streams.video[0].codec_context.extradata or b"")
        packets = [(packet, 0.0) for packet in one.demux(video=0) if packet.size]
        anew = len(packets)
        packets += [(packet, after) for packet in other.demux(video=0) if packet.size]
        for place, (packet, start) in enumerate(packets):
            assert packet.pts is not None
            inside = parameters(head) if place == anew and told == "inside" else b""
            new = av.Packet(inside + bytes(packet))
            new.stream, new.time_base, new.is_keyframe = stream, Fraction(1, 1000), packet.is_keyframe
            new.pts, new.dts = round(1000 * (packet.pts * packet.time_base + Fraction(start))), place
            if place == anew and told == "beside":
                beside = cast(Any, PacketSideData)(1, len(head))  # 1: new_extradata
                beside.update(head)
                new.set_sidedata(beside)
            written.mux(new)
    return path


SPARSE = {"g": "10", "bf": "0", "sc_threshold": "0"}
OTHER = {**SPARSE, "crf": "35"}
"""Read with the parameters of the first, it is another film, and nothing is wrong with it."""


@pytest.mark.parametrize("told", ["inside", "beside"])
def test_what_tells_how_later_groups_are_read_is_not_left_out(told: str, tmp_path: Path) -> None:
    """Two films in one, the second's parameters only where it begins: in a group of which nothing is shown."""
    first = write_video(tmp_path / "first.mp4", 20, fps=10, options=SPARSE)
    second = write_video(tmp_path / "second.mp4", 40, fps=10, first=300, options=OTHER)
    both = join(tmp_path / "both.mp4", first, second, after=2.0, told=told)
    assert both.read_bytes().count(b"avcC") == (2 if told == "beside" else 1)
    file = VideoFile(both, max_frames=2, fps=0.3)
    assert alike(file)
    assert [index_of(one) for one in video.decode(file, 64)][1] > 300


def test_a_sequence_that_ends_inside_a_film_is_left_to_the_decoder(tmp_path: Path) -> None:
    """What leads the next picture then refers to nothing and is never shown."""
    how = "log-level=none:open-gop=1:keyint=10:bframes=4:b-adapt=0:scenecut=0"
    options = {"preset": "ultrafast", "x265-params": how}
    source = write_video(tmp_path / "source.mp4", 120, fps=10, codec="libx265", options=options)
    ended = tmp_path / "ended.mp4"
    with av.open(str(source)) as read, av.open(str(ended), "w") as written:
        came = read.streams.video[0]
        goes = written.add_stream_from_template(came)
        for place, packet in enumerate(one for one in read.demux(came) if one.size):
            # In an 8 bit film of x265: 26 is made into the start of a sequence by a unit of type 36 behind 25.
            new = av.Packet(bytes(packet) + (b"\0\0\0\2\x48\1" if place == 25 else b""))
            new.stream, new.time_base, new.pts, new.dts = goes, packet.time_base, packet.pts, packet.dts
            new.is_keyframe = packet.is_keyframe
            written.mux(new)
    assert alike(VideoFile(ended, max_frames=8, fps=0.37))


@pytest.mark.parametrize("after", [1.55, 0.45])
def test_groups_whose_times_overlap_are_all_decoded(after: float, tmp_path: Path) -> None:
    source = write_video(tmp_path / "source.mp4", 20, fps=10, options=SPARSE)
    both = join(tmp_path / "both.mkv", source, source, after=after)
    assert alike(VideoFile(both, max_frames=3, fps=100))


def test_a_film_that_gives_other_pictures_than_it_said_is_decoded_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = VideoFile(write_video(tmp_path / "clip.mp4", 40, fps=10), max_frames=4, fps=1.0)
    expected = video.decode(file, 40)
    monkeypatch.setattr("fvlm_core.media.clip.choose", lambda coded, _: [n > 0 for n in range(len(coded))])
    assert np.array_equal(video.decode(file, 40), expected)


def test_a_picture_of_another_time_than_its_packet_said_is_told() -> None:
    packet: Any = SimpleNamespace(decode=lambda: [SimpleNamespace(pts=2)])
    clip = Clip("mov", "h264")
    assert [time for time, _ in clip._foreseen(packet, deque([(2, 0.2)]))] == [0.2]
    for due in ([(1, 0.1)], []):
        with pytest.raises(Unforeseen):
            list(clip._foreseen(packet, deque(due)))


# I P B b b P | I P, in the order of decoding: pts, anew, referred.
GROUPS = [
    Coded(pts, None, 1, 1, anew, 0, referred)
    for pts, anew, referred in [
        *[(0, True, True), (4, False, True), (2, False, True), (1, False, False), (3, False, False)],
        *[(5, False, True), (6, True, True), (7, False, True)],
    ]
]


@pytest.mark.parametrize(
    ("wanted", "decoded"),
    [
        ([0], [0]),
        ([1], [0, 4, 2, 1]),
        ([2], [0, 4, 2]),
        ([3], [0, 4, 2, 3]),
        ([5], [0, 4, 2, 5]),
        ([6], [6]),
        ([0, 7], [0, 6, 7]),
        (range(8), range(8)),
    ],
)
def test_a_picture_needs_what_it_may_be_made_from(wanted: list[int], decoded: list[int]) -> None:
    taken = [one.pts for one, is_taken in zip(GROUPS, choose(GROUPS, wanted), strict=True) if is_taken]
    assert sorted(taken) == sorted(decoded)


def test_a_lower_layer_of_time_may_be_referred_to_from_above_it() -> None:
    layered = [evolve(one, layer=int(one.pts in (1, 3)), referred=False) for one in GROUPS]
    assert choose(layered, [3])[:5] == [True, True, True, False, True]


def test_a_picture_is_shown_until_the_next_is_in_time() -> None:
    seconds = [0.0, 0.4, 1.0005, 2.0]
    assert shown(seconds, [0.0, 0.5, 1.0, 1.9, 9.0], 0.6e-3) == {0, 1, 2, 3}
    assert shown(seconds, [1.0], 0.0) == {1}


def reader_of(codec: str, head: bytes) -> Any:
    return reader(SimpleNamespace(codec_context=SimpleNamespace(name=codec, extradata=head)))  # type: ignore[arg-type]


@given(st.sampled_from(["h264", "hevc"]), st.binary(max_size=40), st.binary(max_size=60))
def test_bytes_that_are_no_units_are_not_understood(codec: str, head: bytes, data: bytes) -> None:
    read = reader_of(codec, b"\1" + head)
    assert read is None or read(memoryview(data)) is None or len(data) > 2
    assert reader_of(codec, b"\0" + head) is None


def test_a_set_of_parameters_inside_a_group_is_left_to_the_decoder() -> None:
    """It changes how the units behind it are read."""

    class Stream:
        class codec_context:
            name = "h264"
            extradata = bytes([1, 0, 0, 0, 0xFF, 0x67, 0, 0x68, 0])

    def units(*heads: int) -> memoryview:
        return memoryview(b"".join((2).to_bytes(4, "big") + bytes([head, 0]) for head in heads))

    read = reader_of("h264", Stream.codec_context.extradata)
    assert read(units(0x65)) == (True, 0, True)
    assert read(units(0x67, 0x68, 0x65)) == (True, 0, True)
    assert read(units(0x41)) == (False, 0, True)
    assert read(units(0x01)) == (False, 0, False)
    assert read(units(0x68, 0x41)) == (False, 0, True)  # as in the header
    assert read(units(0x6D, 0x65)) is None
    assert read(units(0x27, 0x41)) is None
    assert read(units(0x06)) is None
    assert read(units(0x41)[:-1]) is None
    assert read(units(*[0x41] * 4096)) == (False, 0, True)
    assert read(units(*[0x41] * 4097)) is None

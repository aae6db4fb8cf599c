"""Every file that can be read is found, whatever its kind and case, linked or not, in a folder or a tar."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import av
import numpy as np
import pytest
from fvlm_clips.config import Clips
from fvlm_clips.source import build as clips
from fvlm_shards.config import Shards
from fvlm_shards.source import build as shards
from videos import index_of, write_video

from fvlm_core.interfaces.data import VideoFile
from fvlm_core.media import video
from fvlm_core.media.frames import decode_frames
from fvlm_core.media.suffixes import PICTURE_SUFFIXES, VIDEO_SUFFIXES, by_kind, is_picture, is_video
from fvlm_core.media.video import decode
from fvlm_core.plugin_api import Sample, find_media
from fvlm_core.utils.errors import UsageError

WRITTEN = {
    "mov": ("mp4 m4v mov qt 3gp 3g2 f4v ismv mj2", "libx264"),
    "matroska": ("mkv mk3d", "libx264"),
    "webm": ("webm", "libvpx-vp9"),
    "avi": ("avi divx", "mpeg4"),
    "flv": ("flv", "libx264"),
    "asf": ("wmv asf", "mpeg4"),
    "mpegts": ("ts mts m2ts m2t", "libx264"),
    "vob": ("mpg mpeg mpe vob m2p", "mpeg2video"),
    "mpeg2video": ("m1v m2v mpv", "mpeg2video"),
    "ogg": ("ogv ogm", "libvpx"),
    "nut": ("nut", "mpeg4"),
    "ivf": ("ivf", "libvpx-vp9"),
    "yuv4mpegpipe": ("y4m", "wrapped_avframe"),
    "h264": ("h264 264 avc", "libx264"),
    "mxf": ("mxf", "mpeg2video"),
    "rm": ("rm rmvb", "rv20"),
    "gif": ("gif", "gif"),
    "apng": ("apng", "apng"),
}
"""Containers that FFmpeg writes here, with the suffixes they go by and a codec that they hold."""

UNWRITTEN = {"dv", "wtv", "hevc", "h265", "265", "webp"}
"""Suffixes of what FFmpeg writes here in other sizes or not at all; WebP has tests of its own."""


def test_every_suffix_is_accounted_for() -> None:
    written = {f".{suffix}" for suffixes, _ in WRITTEN.values() for suffix in suffixes.split()}
    assert written | {f".{suffix}" for suffix in UNWRITTEN} == set(VIDEO_SUFFIXES)
    assert len(VIDEO_SUFFIXES) == len(set(VIDEO_SUFFIXES))


def test_suffixes_that_ffmpeg_declares_are_videos_or_known_to_be_something_else() -> None:
    other = {"m4a", "m4b", "isma", "mka", "mks", "psp", "ism", "avif", "heic", "heif", "ogg", "h26l", "dif"}
    for name in video._FORMATS.split(","):
        for suffix in av.format.ContainerFormat(name, "r").extensions - other:
            assert is_video(f"a.{suffix}"), (name, suffix)


@pytest.mark.parametrize("container", WRITTEN)
def test_a_folder_lists_and_reads_every_kind_in_any_case(container: str, tmp_path: Path) -> None:
    suffixes, codec = WRITTEN[container]
    made = tmp_path / "made"
    with av.open(str(made), "w", format=container) as out:
        stream = out.add_stream(codec, rate=25)
        stream.width, stream.height = 96, 64
        stream.pix_fmt = {"gif": "rgb8", "apng": "rgb24"}.get(codec, "yuv420p")
        for _ in range(30):
            frame = av.VideoFrame(96, 64, "rgb24")
            frame.planes[0].update(bytes([255, 0, 0]) * (96 * 64))
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    content = made.read_bytes()
    made.unlink()
    for suffix in suffixes.split():
        for name in (f"{suffix}.{suffix}", f"{suffix}.{suffix.upper()}".replace(suffix, f"up{suffix}", 1)):
            (tmp_path / name).write_bytes(content)
            (tmp_path / name).with_suffix(".txt").write_text("Red.")
    source = clips(Clips(path=tmp_path, holdout=0.0), "train")
    assert source.problems() == ()
    assert len(source) == 2 * len(suffixes.split())
    for sample in (source[index] for index in range(len(source))):
        frames = decode_frames(sample, 48)
        assert 1 <= len(frames) <= 3
        assert frames[:, 0].min() > 180 > 80 > frames[:, 1:].max()


@pytest.mark.parametrize("name", ["camera.MTS", "phone.3gp"])
def test_a_camera_s_and_a_phone_s_recordings_are_listed(name: str, shared: Path, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes((shared / "cases/media" / name).read_bytes())
    (tmp_path / name).with_suffix(".txt").write_text("A caption.")
    sample = clips(Clips(path=tmp_path, holdout=0.0), "train")[0]
    assert sample.id == name
    assert len(decode_frames(sample, 48)) in (3, 10)
    assert len(find_media([tmp_path], by="name")) == 1


def test_names_tell_videos_from_pictures() -> None:
    assert is_video("a/B.Mp4")
    assert not is_video("mp4")
    assert is_picture("x.JPEG")
    assert not is_picture("x.gif")
    assert set(VIDEO_SUFFIXES) & set(PICTURE_SUFFIXES) == {".webp"}
    assert by_kind(["a.jpg", "b.JPG", "c", "d.docx"]) == ".jpg (2), .docx (1), without a suffix (1)"


def test_what_a_folder_of_clips_passes_over_is_counted_by_kind(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4").with_suffix(".txt").write_text("A.")
    for name in ("b.jpg", "c.JPG", "d.braw", "lost.txt", "README.md", ".hidden.png", "captions/notes.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    source = clips(Clips(path=tmp_path, holdout=0.0), "train")
    text = "passed over, of kinds that are not read or without a video: .jpg (2), .braw (1), .txt (1)"
    assert [str(problem) for problem in source.problems()] == [f"{tmp_path}: {text}"]


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """A cache as the Hugging Face hub's: a revision whose files are links into the blobs of the repository."""
    repository = tmp_path / "hub/datasets--acme--clips"
    revision = repository / "snapshots/0123abcd"
    (repository / "blobs").mkdir(parents=True)
    for number, name in enumerate(("a.mp4", "b.txt", "deep/b.mp4", "captions.csv")):
        blob = repository / "blobs" / f"{number:064x}"
        link = revision / name
        link.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".mp4"):
            blob.write_bytes(write_video(tmp_path / "made.mp4", 5, first=100 * number).read_bytes())
        else:
            blob.write_text("video,caption\na.mp4,First.\ndeep/b.mp4,Second.\n./deep/../a.mp4,Third.\n")
        link.symlink_to(Path("../" * (1 + name.count("/") + 1)) / "blobs" / blob.name)
    return revision


def shown(source: list[Sample]) -> dict[str, int]:
    return {sample.id: index_of(decode_frames(sample, 48)[0]) for sample in source}


def test_clips_that_are_links_into_the_cache_s_own_blobs_are_read(cache: Path) -> None:
    expected = {"a.mp4": 0, "a.mp4#2": 0, "deep/b.mp4": 200}
    for path, videos in ((cache, None), (cache / "captions.csv", None), (cache / "captions.csv", cache)):
        source = clips(Clips(path=path, videos=videos, holdout=0.0), "train")
        assert shown([source[index] for index in range(len(source))]) == expected


def test_an_index_of_videos_follows_links_into_the_cache_s_own_blobs(cache: Path) -> None:
    media = find_media([cache], by="name")
    assert (len(media), media.problems) == (2, ())
    keys = np.array([media.key(name) for name in ("a.mp4", "b.mp4")], np.uint64)
    videos = [
        media.video(int(entry), name, 1.0, 8, None)
        for entry, name in zip(media.find(keys), ("a.mp4", "b.mp4"), strict=True)
    ]
    assert [index_of(decode(clip, 48)[0]) for clip in videos] == [0, 200]
    assert len(find_media([cache / "deep"], by="name")) == 1


def test_other_links_that_lead_out_stay_refused(cache: Path, tmp_path: Path) -> None:
    secret = write_video(tmp_path / "secret.mp4")
    other = tmp_path / "hub/datasets--acme--other/blobs/ff"
    other.parent.mkdir(parents=True)
    other.write_bytes(secret.read_bytes())
    (cache.parent.parent / "blobs/link").symlink_to(secret)
    (cache.parent.parent / "refs").mkdir()
    (cache.parent.parent / "refs/x.mp4").write_bytes(secret.read_bytes())
    for number, target in enumerate(
        (secret, other, cache.parent.parent / "blobs/link", cache.parent.parent / "refs/x.mp4")
    ):
        (cache / f"out{number}.mp4").symlink_to(target)
    (cache / "gone.mp4").symlink_to(cache.parent.parent / "blobs/gone")
    rows = "".join(f"out{number}.mp4,Out.\n" for number in range(4))
    (cache / "rows.csv").write_text(f"video,caption\n{rows}gone.mp4,Gone.\n")
    with pytest.raises(UsageError) as caught:
        clips(Clips(path=cache / "rows.csv", holdout=0.0), "train")
    assert str(caught.value).count("leads out of") == 4
    assert str(caught.value).count("no such file") == 1
    problems = [str(problem) for problem in find_media([cache], by="name").problems]
    assert sum("leads out of" in problem for problem in problems) == 4
    assert sum("a link to a file that is not there" in problem for problem in problems) == 1


def tar_of(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


DOTTED = {
    "one dot": (["Track 2.0.mp4", "Track 2.0.txt"], {"Track 2.0": 0}),
    "two of them": (
        ["Track 2.0.mp4", "Track 2.0.txt", "Track 2.1.mp4", "Track 2.1.txt"],
        {"Track 2.0": 0, "Track 2.1": 2},
    ),
    "text first": (["v1.2.3-final.txt", "v1.2.3-final.mp4"], {"v1.2.3-final": 1}),
    "in a folder": (["my.films/a.b.mp4", "my.films/a.b.txt"], {"my.films/a.b": 0}),
    "beside a plain one": (["a.mp4", "a.txt", "b.c.mp4", "b.c.txt"], {"a": 0, "b.c": 2}),
    "a text more": (["a.mp4", "a.txt", "a.notes.txt"], {"a": 0}),
}


@pytest.mark.parametrize("name", DOTTED)
def test_a_name_with_dots_finds_its_caption_in_a_tar(name: str, tmp_path: Path) -> None:
    names, expected = DOTTED[name]
    made = tmp_path / "made.mp4"
    contents = {
        member: write_video(made, 3, first=number).read_bytes()
        if member.endswith(".mp4")
        else f"About {member}".encode()
        for number, member in enumerate(names)
    }
    (tmp_path / "shards").mkdir()
    tar_of(tmp_path / "shards/0.tar", contents)
    source = shards(Shards(path=tmp_path / "shards", holdout=0.0, cache=tmp_path / "cache"), "train")
    samples = [source[index] for index in range(len(source))]
    assert shown(samples) == {f"0/{key}": number for key, number in expected.items()}
    for sample in samples:
        assert sample.turns[-1].content == f"About {sample.id[2:]}.txt"


def test_frames_of_a_dotted_name_stay_together(tmp_path: Path) -> None:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (48, 48), "red").save(out, "JPEG")
    members = {f"Track 2.0.{number:03d}.jpg": out.getvalue() for number in range(3)}
    (tmp_path / "shards").mkdir()
    tar_of(tmp_path / "shards/0.tar", {"Track 2.0.json": b'{"caption": "Red."}', **members})
    source = shards(Shards(path=tmp_path / "shards", holdout=0.0, cache=tmp_path / "cache"), "train")
    assert (len(source), source[0].id, len(decode_frames(source[0], 48))) == (1, "0/Track 2.0", 3)


def test_videos_without_times_of_their_own_are_read(tmp_path: Path) -> None:
    """Raw streams: the rate is all there is."""
    path = tmp_path / "a.h264"
    with av.open(str(path), "w", format="h264") as out:
        stream = out.add_stream("libx264", rate=25, options={"bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for _ in range(75):
            out.mux(stream.encode(av.VideoFrame(96, 64, "yuv420p")))
        out.mux(stream.encode())
    assert len(decode(VideoFile(path), 48)) == 3

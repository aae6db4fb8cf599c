"""Whatever stands where a file of data belongs is named with its reason: nothing leaks, waits or fills the memory."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import published_tables
import published_videos as published
import pytest
from fvlm_clips.config import Clips
from fvlm_clips.source import build as clips
from fvlm_datasets.configs.cauldron import Cauldron
from fvlm_datasets.configs.llava_video import LLaVAVideo
from fvlm_datasets.configs.openvid import OpenVid
from fvlm_datasets.configs.sharegpt4video import ShareGPT4Video
from fvlm_datasets.configs.vript import Vript
from fvlm_datasets.configs.webvid import WebVid
from fvlm_datasets.sources.cauldron import build as cauldron
from fvlm_datasets.sources.llava_video import build as llava_video
from fvlm_datasets.sources.openvid import build as openvid
from fvlm_datasets.sources.sharegpt4video import build as sharegpt4video
from fvlm_datasets.sources.vript import build as vript
from fvlm_datasets.sources.webvid import build as webvid
from fvlm_shards.config import Shards
from fvlm_shards.source import build as shards
from shard_fixtures import jpeg, write_tar

from fvlm_core.media.stills import decode_still
from fvlm_core.media.video import BadSample, decode
from fvlm_core.plugin_api import DataSource, ImageFile, StoredFrames, VideoFile
from fvlm_core.utils.data_files import NotData, read_data
from fvlm_core.utils.errors import FvlmError
from fvlm_core.utils.pretrained import check_whole, read_config

SECRET = "root:hunter2:0"
GIVE_UP = 20.0
"""Seconds: a pipe that nobody writes to would be waited for until the test's own time is up."""


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))


def _link(path: Path) -> None:
    secret = Path(os.environ["FVLM_CACHE"]).parent / f"secret{path.suffix}"  # beside what a test calls data
    secret.write_text(SECRET)
    path.symlink_to(secret)


def _socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket is short
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(path.name)
    os.chdir(here)


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        gone_through = path.suffix in (
            ".jsonl",
            ".tar",
        )  # line by line, or to see that nothing follows its end
        file.truncate(300 << 20 if gone_through else 3 << 30)


KINDS: dict[str, Callable[[Path], None]] = {
    "a link to a secret": _link,
    "a pipe": lambda path: os.mkfifo(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a socket": _socket,
    "a folder": lambda path: path.mkdir(),
    "3 GB": _sparse,
    "links in a circle": lambda path: path.symlink_to(path.name),
}


def a_folder_of_clips(root: Path) -> None:
    for name in "ab":
        published.write(root / f"{name}.mp4", published.mp4(10))
        published.write(root / f"{name}.txt", f"a caption of {name}")


def clips_with(manifest: str) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        published.write(root / "a.mp4", published.mp4(10))
        published.write(root / manifest, 'video,caption\na.mp4,"one, two"\n')

    return make


def a_shard(root: Path) -> None:
    write_tar(root / "0.tar", {"a.txt": b"one", "a.jpg": jpeg(1)})
    write_tar(root / "1.tar", {"b.txt": b"two", "b.jpg": jpeg(2)})


PLACES: dict[str, tuple[Callable[[Path], None], Callable[[Path], DataSource], str]] = {
    "a caption beside a clip": (
        a_folder_of_clips,
        lambda p: clips(Clips(path=p, holdout=0), "train"),
        "b.txt",
    ),
    "a clip": (a_folder_of_clips, lambda p: clips(Clips(path=p, holdout=0), "train"), "b.mp4"),
    "a folder's captions.csv": (
        clips_with("captions.csv"),
        lambda p: clips(Clips(path=p, holdout=0), "train"),
        "captions.csv",
    ),
    "a folder's metadata.jsonl": (
        clips_with("metadata.jsonl"),
        lambda p: clips(Clips(path=p, holdout=0), "train"),
        "metadata.jsonl",
    ),
    "OpenVid's table": (
        published.openvid,
        lambda p: openvid(OpenVid(path=p, holdout=0), "train"),
        "data/train/OpenVid-1M.csv",
    ),
    "Vript's captions": (published.vript, lambda p: vript(Vript(path=p, holdout=0), "train"), ""),
    "ShareGPT4Video's captions": (
        published.sharegpt4video,
        lambda p: sharegpt4video(ShareGPT4Video(path=p, holdout=0), "train"),
        "",
    ),
    "WebVid's partition": (
        published.webvid,
        lambda p: webvid(WebVid(path=p, permitted=True), "train"),
        "data/train/partitions/0000.csv",
    ),
    "LLaVA-Video's annotations": (
        published.llava_video,
        lambda p: llava_video(LLaVAVideo(path=p, holdout=0), "train"),
        "",
    ),
    "a Cauldron table": (
        published_tables.cauldron,
        lambda p: cauldron(Cauldron(path=p, holdout=0), "train"),
        "",
    ),
    "a shard": (
        a_shard,
        lambda p: shards(Shards(path=p, holdout=0, cache=p.parent / "index"), "train"),
        "1.tar",
    ),
}
_FIRST = {
    "Vript's captions": "*.jsonl",
    "ShareGPT4Video's captions": "*.jsonl",
    "LLaVA-Video's annotations": "*.json",
    "a Cauldron table": "*.parquet",
}


def everything_said(build: Callable[[Path], DataSource], root: Path) -> tuple[str, str]:
    """All texts that a source gives, and all that it says is wrong."""
    try:
        source = build(root)
        problems = "\n".join(map(str, source.problems()))
        return "\n".join(
            turn.content for place in range(len(source)) for turn in source[place].turns
        ), problems
    except FvlmError as error:
        return "", str(error)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("kind", "place"),
    [
        (kind, place)
        for kind in KINDS
        for place in PLACES
        # A folder may have any name, and how long a clip is nobody minds before it is decoded.
        if (kind, place) not in [("a folder", "a clip"), ("3 GB", "a clip"), ("a folder", "a shard")]
    ],
)
def test_what_is_no_file_of_the_data_is_named_where_it_stands(kind: str, place: str, tmp_path: Path) -> None:
    make, build, name = PLACES[place]
    root = tmp_path / "data"
    root.mkdir()
    make(root)
    path = root / name if name else sorted(root.rglob(_FIRST[place]))[0]
    path.unlink()
    KINDS[kind](path)
    began = time.monotonic()
    texts, problems = everything_said(build, root)
    assert time.monotonic() - began < GIVE_UP
    assert SECRET not in texts + problems
    assert path.name in problems, problems


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("a link to a secret", "3 GB")])
def test_no_reader_of_one_file_opens_what_is_none(kind: str, tmp_path: Path) -> None:
    readers: dict[str, Callable[[Path], Any]] = {
        "a.mp4": lambda path: decode(VideoFile(path), 48),
        "a.webp": lambda path: decode(VideoFile(path), 48),
        "a.png": lambda path: decode_still(ImageFile(path), 48),
        "config.json": read_config,
        "model.safetensors": check_whole,
        "note.json": lambda path: read_data(path, 100),
    }
    for name, read in readers.items():
        KINDS[kind](tmp_path / name)
        with pytest.raises((FvlmError, OSError)) as caught:
            read(tmp_path / name)
        assert name in str(caught.value)


def test_pictures_of_a_shard_that_was_replaced_by_a_pipe_are_a_bad_sample(tmp_path: Path) -> None:
    from fvlm_core.media.pictures import read_stored

    os.mkfifo(tmp_path / "0.tar")
    with pytest.raises(BadSample, match=r"a pipe, not a file"):
        read_stored(StoredFrames(tmp_path / "0.tar", (0,), (10,)))


def test_a_file_is_read_to_its_limit_and_the_links_of_a_hub_cache_are_its_own(tmp_path: Path) -> None:
    repository = tmp_path / "datasets--a--b"
    blob = published.write(repository / "blobs" / "0a1b", "x" * 100)
    (repository / "snapshots" / "main").mkdir(parents=True)
    file = repository / "snapshots" / "main" / "a.txt"
    file.symlink_to(Path("../..") / "blobs" / "0a1b")
    assert read_data(file, 100, inside=file.parent) == b"x" * 100
    with pytest.raises(NotData, match="100 bytes; at most 99 are read"):
        read_data(file, 99, inside=file.parent)
    other = published.write(tmp_path / "elsewhere" / "0a1b", "secret")
    file.unlink()
    file.symlink_to(other)
    with pytest.raises(NotData, match="leads out of"):
        read_data(file, 100, inside=file.parent)
    assert blob.exists()


Members = list[tuple[tarfile.TarInfo, bytes]]


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> Any:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, len(content)
    return info, content


def tar_of(path: Path, members: Members) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return path


SPECIAL = {
    "a symbolic link": member("b.jpg", kind=tarfile.SYMTYPE, link="/etc/passwd"),
    "a symbolic link inside": member("b.jpg", kind=tarfile.SYMTYPE, link="a.jpg"),
    "a hard link to nothing": member("b.jpg", kind=tarfile.LNKTYPE, link="missing.jpg"),
    "a hard link to a later member": member("b.jpg", kind=tarfile.LNKTYPE, link="c.jpg"),
    "a hard link to itself": member("b.jpg", kind=tarfile.LNKTYPE, link="b.jpg"),
    "a hard link out": member("b.jpg", kind=tarfile.LNKTYPE, link="../../etc/passwd"),
    "a pipe": member("b.jpg", kind=tarfile.FIFOTYPE),
    "a device": member("b.jpg", kind=tarfile.CHRTYPE),
    "a disk": member("b.jpg", kind=tarfile.BLKTYPE),
    "a folder": member("b.jpg", kind=tarfile.DIRTYPE),
    "an unknown kind": member("b.jpg", kind=b"Z"),
    "a clip that is a pipe": member("b.mp4", kind=tarfile.FIFOTYPE),
    "a clip that is a folder": member("b.mp4", kind=tarfile.DIRTYPE),
    "its text a second time": member("b.txt", b"another"),
    "its text as a pipe": member("b.json", kind=tarfile.FIFOTYPE),
    "an empty picture": member("b.jpg"),
}


@pytest.mark.parametrize("what", SPECIAL)
def test_a_sample_with_a_member_that_is_no_file_is_left_out_and_named(what: str, tmp_path: Path) -> None:
    good: Members = [member("a.txt", b"one"), member("a.jpg", jpeg(1))]
    tar_of(
        tmp_path / "s" / "0.tar",
        [*good, member("b.txt", b"two"), SPECIAL[what], member("c.jpg", jpeg(3)), member("c.txt", b"three")],
    )
    source = shards(Shards(path=tmp_path / "s", holdout=0, cache=tmp_path / "index"), "train")
    assert [source[place].id for place in range(len(source))] == ["0/a", "0/c"]
    assert len(source.problems()) == 1
    assert SPECIAL[what][0].name in str(source.problems()[0])


def test_a_hard_link_has_the_content_of_the_member_that_it_names(tmp_path: Path) -> None:
    from fvlm_core.datasets.sources.media import find_media
    from fvlm_core.media.pictures import read_stored

    tar_of(
        tmp_path / "s" / "0.tar",
        [
            member("a.txt", b"one"),
            member("a.jpg", jpeg(1)),
            member("b.txt", kind=tarfile.LNKTYPE, link="./a.txt"),
            member("b.jpg", kind=tarfile.LNKTYPE, link="a.jpg"),
            member("c.txt", b"three"),
            member("c.jpg", kind=tarfile.LNKTYPE, link="b.jpg"),
        ],
    )
    source = shards(Shards(path=tmp_path / "s", holdout=0, cache=tmp_path / "index"), "train")
    assert [source[place].turns[-1].content for place in range(len(source))] == ["one", "one", "three"]
    shown = [source[place].video for place in range(3)]
    assert [read_stored(one) for one in shown if isinstance(one, StoredFrames)] == [[jpeg(1)]] * 3
    clip = published.mp4(10)
    tar_of(
        tmp_path / "m" / "0.tar", [member("a.mp4", clip), member("b.mp4", kind=tarfile.LNKTYPE, link="a.mp4")]
    )
    media = find_media([tmp_path / "m"], by="name")
    assert (media.sizes == len(clip)).all()
    assert len(media) == 2
    assert media.starts[0] == media.starts[1]


def pax(name: str, **records: str) -> Any:
    info, content = member(name, b"x")
    info.pax_headers = records
    return info, content


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "what",
    {
        "a size below zero": {"size": "-512"},
        "a size beyond the file": {"size": str(1 << 62)},
        "a size that is no number": {"size": "many"},
        "a path out": {"path": "../../escaped.jpg"},
        "an absolute path": {"path": "/etc/escaped.jpg"},
        "a path with a zero": {"path": "a\0.jpg"},
        "a path of a megabyte": {"path": "a" * (1 << 20) + ".jpg"},
        "a sparse map": {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.realsize": str(1 << 50),
            "GNU.sparse.name": "b.jpg",
        },
    }.items(),
    ids=lambda what: what[0],
)
def test_headers_that_lie_are_named(what: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    tar_of(
        tmp_path / "s" / "0.tar", [member("a.txt", b"one"), pax("b.jpg", **what[1]), member("b.txt", b"two")]
    )
    texts, problems = everything_said(
        lambda path: shards(Shards(path=path, holdout=0, cache=tmp_path / "index"), "train"), tmp_path / "s"
    )
    assert problems
    assert "one" not in texts or ".jpg" in problems or "no text" in problems
    assert not list(tmp_path.rglob("*escaped*"))


def test_a_tar_cut_anywhere_is_no_smaller_tar(tmp_path: Path) -> None:
    whole = tar_of(tmp_path / "s" / "0.tar", [member("a.txt", b"one"), member("a.jpg", jpeg(1))]).read_bytes()
    last = len(whole.rstrip(b"\0"))
    for end in (*range(0, last, 700), 1024, 1536, last // 512 * 512, last):
        (tmp_path / "s" / "0.tar").write_bytes(whole[:end])
        texts, problems = everything_said(
            lambda path: shards(Shards(path=path, holdout=0, cache=tmp_path / "index"), "train"),
            tmp_path / "s",
        )
        assert not texts
        assert "0.tar" in problems

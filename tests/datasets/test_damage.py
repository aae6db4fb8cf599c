"""Damaged and hostile files: each gives a sample or a line in the report, and touches nothing else.

Every case is packed by worker processes with a memory limit and a timeout, inside a folder beside which a canary lies.
"""

from __future__ import annotations

import io
import json
import os
import random
import struct
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fvlm_clips.config import Clips
from fvlm_clips.source import build as build_clips
from fvlm_shards.config import Shards
from fvlm_shards.source import build as build_shards
from shard_fixtures import clip, jpeg, write_tar
from videos import write_video

from fvlm_core.datasets.shards.pack import pack
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.frames import decode_frames
from fvlm_core.utils.errors import FvlmError

TIMEOUT = 20.0


def mutations(content: bytes, seed: int) -> bytes:
    """One damage of those that disks, networks and people do."""
    generator = random.Random(seed)
    kind, data = seed % 8, bytearray(content)
    place = generator.randrange(len(data))
    if kind == 0:  # bits
        for _ in range(generator.choice((1, 8, 64))):
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    elif kind == 1:  # cut short
        del data[place:]
    elif kind == 2:  # wrong magic
        data[: generator.choice((4, 12, 32))] = generator.randbytes(12)
    elif kind == 3:  # a hole of zeros
        data[place : place + 2000] = bytes(min(2000, len(data) - place))
    elif kind == 4:
        data = bytearray(
            generator.choice((b"", b"<!DOCTYPE html><html>404", b"\0" * 5000, generator.randbytes(3000)))
        )
    elif kind == 5:  # a piece twice
        data[place:place] = data[place : place + 700]
    elif kind == 6:  # absurd lengths in headers
        data[place : place + 4] = generator.choice((b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\0\0\0\0"))
    else:  # a piece missing
        del data[place : place + 300]
    return bytes(data)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder = tmp_path_factory.mktemp("videos")
    return [
        write_video(folder / "a.mp4", 30, fps=10, width=64, height=48).read_bytes(),
        write_video(folder / "b.webm", 20, fps=10, width=64, height=48, codec="libvpx-vp9").read_bytes(),
        write_video(folder / "c.mkv", 20, fps=10, width=64, height=48).read_bytes(),
        write_video(folder / "d.avi", 20, fps=10, width=64, height=48, codec="mjpeg").read_bytes(),
    ]


def check_videos(seeds: range, videos: list[bytes], folder: Path) -> None:
    """Damaged videos are packed: every one is a sample or a line."""
    root = folder / "data"
    root.mkdir(parents=True)
    canary = folder / "canary.txt"
    canary.write_text("untouched")
    for seed in seeds:
        suffix = ("mp4", "webm", "mkv", "avi")[seed // 8 % 4]
        (root / f"{seed:05d}.{suffix}").write_bytes(mutations(videos[seed // 8 % 4], seed))
        (root / f"{seed:05d}.txt").write_text(f"clip {seed}")
    (root / "healthy.mp4").write_bytes(videos[0])
    (root / "healthy.txt").write_text("whole")
    before = {file: file.read_bytes() for file in root.iterdir()}
    source = build_clips(Clips(path=root, holdout=0), "train")
    made = pack(source, {}, folder / "pack", PackSettings(size=42, samples=50, timeout=TIMEOUT), processes=2)
    skipped = [json.loads(line) for line in (folder / "pack" / "skipped.jsonl").open()]
    packed = build_shards(Shards(path=folder / "pack", holdout=0), "train")
    names = [packed[n].id for n in range(len(packed))] + [row["sample"] for row in skipped]
    assert sorted(names) == sorted(source[n].id for n in range(len(source)))
    assert all(row["reason"] for row in skipped)
    assert not [row for row in skipped if row["reason"].startswith("unexpected")]
    assert "healthy.mp4" in names[: made.manifest.samples]
    assert {file: file.read_bytes() for file in root.iterdir()} == before
    assert sorted(file.name for file in folder.iterdir()) == ["canary.txt", "data", "pack"]
    assert canary.read_text() == "untouched"


def check_shards(seeds: range, folder: Path) -> None:
    """Damaged shards are refused by name, or every sample of them is one, or a line, or a bad sample when read."""
    members: dict[str, Any] = {}
    for n in range(4):
        members |= clip(f"{n}", {"caption": f"clip {n}"}, 2, size=48)
    whole = write_tar(folder / "whole.tar", members).read_bytes()
    for seed in seeds:
        root = folder / f"{seed}"
        root.mkdir()
        (root / "0.tar").write_bytes(mutations(whole, seed))
        try:
            source = build_shards(Shards(path=root, holdout=0, cache=folder / "cache"), "train")
        except FvlmError as error:
            assert str(root) in str(error)  # noqa: PT017
            continue
        for number in range(len(source)):
            try:
                frames = decode_frames(source[number], 42)
            except BadSample:
                continue
            assert frames.shape[1:] == (3, 42, 42)
        seen = len(source) + len(source.problems())
        assert seen >= 4, f"{seed}: {4 - seen} samples of 4 vanished"


def check_pictures(seeds: range) -> None:
    """Damaged pictures decode or say why."""
    from fvlm_core.media.pictures import decode_picture

    whole = [jpeg(300, 80, 60), jpeg(300, 80, 60, "PNG"), jpeg(300, 80, 60, "WEBP")]
    for seed in seeds:
        try:
            assert decode_picture(mutations(whole[seed // 8 % 3], seed), 42).shape == (42, 42, 3)
        except ValueError as error:
            assert str(error)  # noqa: PT017


def test_damaged_videos_are_samples_or_lines(videos: list[bytes], tmp_path: Path) -> None:
    check_videos(range(64), videos, tmp_path)


def test_damaged_shards_lose_nothing_in_silence(tmp_path: Path) -> None:
    check_shards(range(48), tmp_path)


def test_damaged_pictures_say_why() -> None:
    check_pictures(range(96))


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_a_thousand_damaged_files(videos: list[bytes], tmp_path: Path) -> None:
    check_videos(range(1000, 1500), videos, tmp_path / "videos")
    (tmp_path / "shards").mkdir()
    check_shards(range(2000, 2250), tmp_path / "shards")
    check_pictures(range(3000, 3250))


def png_bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that declares side x side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    row = bytes(1 + 3 * side)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(200)) + packer.flush()
    header = struct.pack(">2I5B", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_bombs_are_refused_by_their_declared_size(tmp_path: Path) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for side in (8000, 20_000, 60_000):
        write_tar(tmp_path / f"{side}" / "0.tar", {"a.json": {"caption": "x"}, "a.png": png_bomb(side)})
        source = build_shards(Shards(path=tmp_path / f"{side}", holdout=0, cache=tmp_path / "c"), "train")
        with pytest.raises(BadSample, match=r"pixels, where at most|corrupt"):
            decode_frames(source[0], 42)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KB


def hostile_tars() -> Iterator[tuple[str, list[tarfile.TarInfo], list[bytes]]]:
    """Archives that an extraction would be harmed by."""
    content = json.dumps({"caption": "x"}).encode()
    for name in ("../../escape.json", "/tmp/escape.json", "a/../../escape.json"):
        info = tarfile.TarInfo(name)
        info.size = len(content)
        yield f"path {name}", [info], [content]
    for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "../canary.txt")):
        link = tarfile.TarInfo("a.json")
        link.type, link.linkname = kind, target
        yield f"link {target}", [link], [b""]
    for kind in (tarfile.FIFOTYPE, tarfile.CHRTYPE):
        device = tarfile.TarInfo("a.json")
        device.type = kind
        yield f"device {kind!r}", [device], [b""]


def test_hostile_archives_write_nothing_and_lead_nowhere(tmp_path: Path) -> None:
    for number, (what, infos, contents) in enumerate(hostile_tars()):
        root = tmp_path / "data" / f"{number}"
        root.mkdir(parents=True)
        with tarfile.open(root / "0.tar", "w") as archive:
            for info, content in zip(infos, contents, strict=True):
                archive.addfile(info, io.BytesIO(content))
            good = tarfile.TarInfo("good.json")
            good.size = len(b'{"caption": "fine"}')
            archive.addfile(good, io.BytesIO(b'{"caption": "fine"}'))
        source = build_shards(Shards(path=root, holdout=0, cache=tmp_path / "cache"), "train")
        assert [source[n].turns[-1].content for n in range(len(source))] == ["fine"], what
    assert sorted(file.name for file in tmp_path.iterdir()) == ["cache", "data"]
    assert not Path("/tmp/escape.json").exists()


@pytest.mark.parametrize(
    "name",
    ["pipe:touch canary", "http://localhost:9/a.mp4", "file:///etc/passwd", "concat:a.mp4|b.mp4", "../../etc/passwd",
     "/etc/passwd", "subfile,,start,0,end,9,,:/etc/passwd", "a.mp4\0.txt", "data:video/mp4;base64,AAAA"],
)  # fmt: skip
def test_no_name_in_a_list_opens_anything_but_a_file_of_the_folder(
    name: str, videos: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket
    import subprocess

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a process or a connection was started")

    for module, function in (
        (subprocess, "Popen"),
        (os, "system"),
        (os, "popen"),
        (socket, "create_connection"),
    ):
        monkeypatch.setattr(module, function, refuse)
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "data"
    root.mkdir()
    (root / "good.mp4").write_bytes(videos[0])
    rows = [{"video": name, "caption": "x"}, {"video": "good.mp4", "caption": "y"}]
    (root / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = build_clips(Clips(path=root / "list.jsonl", holdout=0), "train")
    assert [source[n].id for n in range(len(source))] == ["good.mp4"]
    assert len(source.problems()) == 1
    assert "list.jsonl:1" in str(source.problems()[0])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["data"]

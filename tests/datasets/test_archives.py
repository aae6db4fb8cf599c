"""Archives are read in place and trusted with nothing: damage and malice are problems or bad samples, never more."""

from __future__ import annotations

import io
import random
import tarfile
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import published_videos as published
import pytest
from fvlm_datasets.configs.llava_video import LLaVAVideo
from fvlm_datasets.configs.openvid import OpenVid
from fvlm_datasets.configs.vript import Vript
from fvlm_datasets.sources.llava_video import build as llava_video
from fvlm_datasets.sources.openvid import build as openvid
from fvlm_datasets.sources.vript import build as vript

from fvlm_core.datasets.sources.archives import Archive
from fvlm_core.datasets.sources.media import ABSENT, AMBIGUOUS, Media
from fvlm_core.media.archive_members import open_member
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.frames import decode_frames
from fvlm_core.plugin_api import Member, find_media
from fvlm_core.utils.errors import FvlmError, Problem

HOSTILE = [
    *(
        "../secret.mp4",
        "/etc/passwd",
        "http://example.org/a.mp4",
        "file:///etc/passwd",
        "pipe:cat /etc/passwd",
    ),
    *("concat:a.mp4|b.mp4", "a.mp4\0.txt", "a" * 5000, "..", "x/../../secret.mp4", "C:\\a.mp4"),
]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))


def has(media: Media, name: str) -> bool:
    import numpy as np

    return int(media.find(np.array([media.key(name)], np.uint64))[0]) != ABSENT


@pytest.mark.parametrize("name", HOSTILE)
def test_no_row_leads_out_of_the_download(name: str, tmp_path: Path) -> None:
    published.write(tmp_path / "secret.mp4", published.mp4(0))
    root = tmp_path / "root"
    published.vript(root)
    published.llava_video(root)
    rows = [
        {"clip_id": name, "caption": {"content": "x"}},
        {"clip_id": "_dash-id_-Scene-001", "caption": {"content": "y"}},
    ]
    published.write_jsonl(root / "vript_captions/vript_long_videos_captions.jsonl", rows)
    source = vript(Vript(path=root, holdout=0), "train")
    assert [sample.id for sample in (source[n] for n in range(len(source)))] == ["_dash-id_-Scene-001"]
    assert len([problem for problem in source.problems() if problem.line == 1]) == 1
    assert not has(find_media([root], by="path"), name)


def test_members_with_names_that_lead_out_and_links_are_named(tmp_path: Path) -> None:
    outside = published.write(tmp_path / "outside.mp4", published.mp4(0))
    root = tmp_path / "root"
    published.write(
        root / "a.zip", published.zip_of({"../escaped.mp4": published.mp4(10), "fine.mp4": published.mp4(20)})
    )
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        link = tarfile.TarInfo("link.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        archive.addfile(link)
    published.write(root / "b.tar", plain.getvalue())
    (root / "c.mp4").symlink_to(outside)
    media = find_media([root], by="name")
    assert [name for name in ("escaped.mp4", "fine.mp4", "link.mp4", "c.mp4") if has(media, name)] == [
        "fine.mp4"
    ]
    said = "\n".join(map(str, media.problems))
    assert "../escaped.mp4: a name that leads out of the archive" in said
    assert "link.mp4: a link, a device or a sparse file" in said
    assert f"c.mp4: a link that leads out of {root}" in said
    assert not (tmp_path / "escaped.mp4").exists()


def test_a_zip_member_unpacks_to_what_it_declares_and_no_further(tmp_path: Path) -> None:
    file = published.write(
        tmp_path / "bomb.zip", published.zip_of({"a.mp4": bytes(10**7)}, zipfile.ZIP_DEFLATED)
    )
    (listed,) = Archive((file,), "zip").members((".mp4",), [])
    whole = Member(listed.name, (file,), listed.packing, listed.start, listed.packed, listed.size)
    assert len(open_member(whole).read()) == 10**7
    for size in (1000, 10**7 - 1, 10**7 + 1):
        lying = Member(listed.name, (file,), listed.packing, listed.start, listed.packed, size)
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match="size or checksum is not the declared one"):
                open_member(lying)
            assert tracemalloc.get_traced_memory()[1] < 3 * size + 4 * 10**6
        finally:
            tracemalloc.stop()
    with pytest.raises(ValueError, match="where at most"):
        open_member(Member("a", (file,), "zip-deflated", 0, 100, 10**10))


def test_a_flipped_bit_of_a_zip_member_is_noticed_by_its_checksum(tmp_path: Path) -> None:
    """Noise is deflated to itself, so that a flipped bit of it unpacks without a complaint, to the declared size."""
    noise = random.Random(0).randbytes(5000)
    content = bytearray(published.zip_of({"a.mp4": noise}, zipfile.ZIP_DEFLATED))
    content[content.index(noise[1000:1100])] ^= 1
    file = published.write(tmp_path / "a.zip", bytes(content))
    (listed,) = Archive((file,), "zip").members((".mp4",), [])
    with pytest.raises(ValueError, match="size or checksum is not the declared one"):
        open_member(Member(listed.name, (file,), *listed[1:]))


def test_two_videos_of_one_name_are_not_taken_for_each_other(tmp_path: Path) -> None:
    for name, content in (("a", b"one video"), ("b", b"another one")):
        published.write(tmp_path / f"{name}.zip", published.zip_of({"x.mp4": content, "same.mp4": b"1"}))
    media = find_media([tmp_path], by="name")
    found = media.find(np.array([media.key(name) for name in ("x.mp4", "same.mp4")], np.uint64))
    assert found[0] == AMBIGUOUS
    assert found[1] >= 0  # copies are one


@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_may_be_split_at_any_byte(packing: int, tmp_path: Path) -> None:
    members = {"a.mp4": b"first" * 50, "b.mp4": bytes(range(200))}
    whole = published.zip_of(members, packing)
    for cut in range(1, len(whole), 3):
        files = (tmp_path / f"{cut}_partaa", tmp_path / f"{cut}_partab")
        files[0].write_bytes(whole[:cut])
        files[1].write_bytes(whole[cut:])
        problems: list[Problem] = []
        found = {
            listed.name: open_member(Member(listed.name, files, *listed[1:])).read()
            for listed in Archive(files, "zip").members((".mp4",), problems)
        }
        assert found == members, f"cut at {cut}: {problems}"


def test_members_that_cannot_be_read_in_place_are_named(tmp_path: Path) -> None:
    content = bytearray(published.zip_of({"encrypted.mp4": b"x", "fine.mp4": b"y"}))
    place = content.index(b"PK\x01\x02")
    content[place + 8] |= 1
    published.write(tmp_path / "a.zip", bytes(content))
    published.write(tmp_path / "b.zip", published.zip_of({"lzma.mp4": b"x" * 99}, zipfile.ZIP_LZMA))
    media = find_media([tmp_path], by="name")
    said = [str(problem) for problem in media.problems]
    assert said[0].endswith("encrypted.mp4: encrypted")
    assert "lzma.mp4: packed with method 14" in said[1]
    assert has(media, "fine.mp4")


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_tar_gz_that_is_cut_short_is_named_and_its_beginning_is_used(share: float, tmp_path: Path) -> None:
    generator = random.Random(0)
    members = {f"{n}.mp4": generator.randbytes(10_000) for n in range(20)}
    whole = published.tar_gz_of(members)
    published.write(tmp_path / "videos.tar.gz", whole[: int(share * len(whole))])
    media = find_media([tmp_path], by="path")
    assert 0 < len(media) < 20
    assert "corrupt or cut short" in str(media.problems[0])


def mutated(content: bytes, generator: random.Random) -> bytes:
    kind = generator.randrange(5)
    if kind == 0:
        return content[: generator.randrange(len(content))]
    if kind == 1:
        return b"<!doctype html><html></html>"
    if kind == 2:
        return b""
    changed = bytearray(content)
    for _ in range(generator.choice([1, 8, 64])):
        changed[generator.randrange(len(changed))] = generator.randrange(256)
    return bytes(changed)


def survive(folder: Path, seed: int) -> None:
    """Damage one file of a download; every row is a sample, a bad sample, or a problem."""
    generator = random.Random(seed)
    published.openvid(folder)
    published.llava_video(folder)
    file = generator.choice(sorted(path for path in folder.rglob("*") if path.is_file()))
    file.write_bytes(mutated(file.read_bytes(), generator))
    for build, config in ((openvid, OpenVid), (llava_video, LLaVAVideo)):
        try:
            source = build(config(path=folder, holdout=0), "train")  # type: ignore[arg-type]
        except FvlmError:
            continue
        for place in range(len(source)):
            try:
                decode_frames(source[place], 48)
            except BadSample:
                continue
        assert all(problem.text for problem in source.problems())


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_file_is_no_crash(seed: int, tmp_path: Path) -> None:
    survive(tmp_path / "data", seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(12, 412))
def test_damaged_files_are_no_crash(seed: int, tmp_path: Path) -> None:
    survive(tmp_path / "data", seed)

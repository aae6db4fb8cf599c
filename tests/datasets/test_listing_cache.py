"""Listings of downloads are kept: opened again without reading an archive, made again when anything changed."""

from __future__ import annotations

import os
import random
import zipfile
from pathlib import Path
from typing import Any

import published_videos as published
import pytest
from fvlm_datasets.configs.openvid import OpenVid
from fvlm_datasets.configs.vript import Vript
from fvlm_datasets.sources.openvid import build as openvid
from fvlm_datasets.sources.vript import build as vript

from fvlm_core.datasets.sources import video_rows
from fvlm_core.datasets.sources.archives import Archive
from fvlm_core.interfaces.data import DataSource


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(video_rows, "_LISTINGS", {})
    return tmp_path / "cache"


def opened(build: Any, config: Any) -> list[Any]:
    """Everything that a source says, as a new process would hear it."""
    video_rows._LISTINGS.clear()  # pyright: ignore[reportPrivateUsage]
    source: DataSource = build(config, "train")
    samples = [source[index] for index in range(len(source))]
    return [samples, source.fingerprint(), sorted(map(str, source.problems()))]


def test_a_listing_is_read_once(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published.openvid(tmp_path / "openvid")
    config = OpenVid(path=tmp_path / "openvid", holdout=0.0)
    cold = opened(openvid, config)
    assert cold[0]
    asked: list[str] = []
    real = zipfile.ZipFile.infolist

    def infolist(self: zipfile.ZipFile) -> Any:
        asked.append(str(self.filename))
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(zipfile.ZipFile, "infolist", infolist)
        assert opened(openvid, config) == cold
    kept = len(list((cache / "archives").glob("*.arrays")))
    assert kept >= 2
    assert asked == []


def test_a_changed_archive_or_table_is_read_again(tmp_path: Path) -> None:
    root = tmp_path / "openvid"
    published.openvid(root)
    config = OpenVid(path=root, holdout=0.0)
    before = opened(openvid, config)
    names = [sample.id for sample in before[0]]
    archive = before[0][0].video.path
    with zipfile.ZipFile(archive) as old:
        members = {info.filename: old.read(info) for info in old.infolist()}
    kept = {name: content for name, content in members.items() if not name.endswith(names[0])}
    stamp = archive.stat().st_mtime_ns
    archive.write_bytes(published.zip_of(kept))
    after = [sample.id for sample in opened(openvid, config)[0]]
    assert after == [name for name in names if name != names[0]]
    archive.write_bytes(published.zip_of(members))
    os.utime(archive, ns=(stamp, stamp + 1))
    assert [sample.id for sample in opened(openvid, config)[0]] == names
    table = root / config.table
    table.write_text(table.read_text().replace(names[1], "gone.mp4"))
    assert [sample.id for sample in opened(openvid, config)[0]] == [n for n in names if n != names[1]]


@pytest.mark.parametrize("kind", ["openvid", "vript"])
def test_a_damaged_cache_is_made_again(kind: str, cache: Path, tmp_path: Path) -> None:
    root = tmp_path / kind
    if kind == "openvid":
        published.openvid(root)
        build, config = openvid, OpenVid(path=root, holdout=0.0)
    else:
        published.vript(root)
        build, config = vript, Vript(path=root, holdout=0.0)
    cold = opened(build, config)
    files = sorted(cache.rglob("*.arrays"))
    assert {file.parent.name for file in files} == {"archives", "listings"}
    whole = {file: file.read_bytes() for file in files}
    draw = random.Random(5)
    for _ in range(60):
        for file, content in whole.items():
            damaged = bytearray(content)
            for _ in range(draw.choice([0, 1, 40])):
                damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
            file.write_bytes(damaged[: draw.choice([len(damaged), draw.randrange(len(damaged))])])
        assert opened(build, config) == cold
    for file, content in whole.items():
        file.write_bytes(b"")
        assert opened(build, config) == cold
        assert len(file.read_bytes()) == len(content)


def test_an_archive_that_went_away_is_a_problem(tmp_path: Path) -> None:
    problems: list[Any] = []
    assert list(Archive((tmp_path / "gone.zip",), "zip").members((".mp4",), problems)) == []
    assert "cannot be read: No such file" in str(problems[0])

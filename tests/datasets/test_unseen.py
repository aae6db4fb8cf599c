"""Samples whose pictures or videos are missing are bad ones in every source: counted, and bounded by `data.max_bad`."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from attrs import frozen
from fvlm_clips.config import Clips
from fvlm_clips.source import build as clips
from fvlm_datasets.configs.cauldron import Cauldron
from fvlm_datasets.configs.llava_video import LLaVAVideo
from fvlm_datasets.configs.openvid import OpenVid
from fvlm_datasets.configs.rlaif_v import RLAIFV
from fvlm_datasets.configs.sharegpt4video import ShareGPT4Video
from fvlm_datasets.configs.smoltalk import SmolTalk
from fvlm_datasets.configs.vript import Vript
from fvlm_datasets.configs.webvid import WebVid
from fvlm_datasets.sources.cauldron import build as cauldron
from fvlm_datasets.sources.llava_video import build as llava_video
from fvlm_datasets.sources.openvid import build as openvid
from fvlm_datasets.sources.rlaif_v import build as rlaif_v
from fvlm_datasets.sources.sharegpt4video import build as sharegpt4video
from fvlm_datasets.sources.smoltalk import build as smoltalk
from fvlm_datasets.sources.vript import build as vript
from fvlm_datasets.sources.webvid import build as webvid
from fvlm_shards.config import Shards
from fvlm_shards.source import build as shards
from hypothesis import given
from hypothesis import strategies as st
from shard_fixtures import jpeg, write_tar
from tiny import CONNECTOR, ENCODER, LLM, TRAINING, run_cli

from fvlm_core.data.sources import unseen
from fvlm_core.plugin_api import DataSource, Sample
from fvlm_core.utils.errors import Problem

CLIP = b"no video, and no listing opens it"
LOST, THERE = 12, 2


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))


def put(file: Path, content: bytes | str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content if isinstance(content, bytes) else content.encode())


def sheet(header: str, rows: Iterable[Iterable[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([header.split(","), *rows])
    return out.getvalue()


def lines(rows: Iterable[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def parquet(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)


def of_clips(at: Path, numbers: range) -> DataSource:
    put(at / "captions.csv", sheet("video,caption", ((f"{n}.mp4", f"Clip {n}.") for n in numbers)))
    return clips(Clips(path=at, holdout=0), "train")


def of_captions(at: Path, numbers: range) -> DataSource:
    for n in numbers:
        put(at / f"{n}.txt", f"Clip {n}.")
    return clips(Clips(path=at, holdout=0), "train")


def of_openvid(at: Path, numbers: range) -> DataSource:
    put(
        at / "data/train/OpenVid-1M.csv",
        sheet("video,caption,seconds", ((f"{n}.mp4", f"Clip {n}.", "1") for n in numbers)),
    )
    return openvid(OpenVid(path=at, holdout=0), "train")


def of_vript(at: Path, numbers: range) -> DataSource:
    config = Vript(path=at, holdout=0)
    put(
        at / config.captions,
        lines({"clip_id": f"{n}", "caption": {"content": f"Clip {n}."}, "meta": {}} for n in numbers),
    )
    return vript(config, "train")


def of_sharegpt4video(at: Path, numbers: range) -> DataSource:
    put(
        at / "sharegpt4video_40k.jsonl",
        lines(
            {
                "video_id": f"{n}",
                "video_path": f"{n}.mp4",
                "captions": [{"idx": "-1", "content": f"Clip {n}."}],
            }
            for n in numbers
        ),
    )
    return sharegpt4video(ShareGPT4Video(path=at, holdout=0), "train")


def of_webvid(at: Path, numbers: range) -> DataSource:
    rows = [(f"{n}", f"Clip {n}.", "", "PT00H00M01S") for n in numbers]
    put(at / "data/train/partitions/0000.csv", sheet("videoid,name,page_dir,duration", rows))
    return webvid(WebVid(path=at, videos=at, permitted=True), "train")


def of_llava_video(at: Path, numbers: range) -> DataSource:
    said = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A clip."}]
    rows = [{"id": n, "video": f"{n}.mp4", "conversations": said} for n in numbers]
    put(at / "part/part_cap_processed.json", json.dumps(rows))
    return llava_video(LLaVAVideo(path=at, holdout=0), "train")


def of_shards(at: Path, numbers: range) -> DataSource:
    members: dict[str, Any] = {}
    for n in numbers:
        members |= {f"{n}.txt": f"Clip {n}.".encode(), f"{n}.{'mp4' if n < THERE else 'heic'}": CLIP}
    write_tar(at / "0.tar", members)
    return shards(Shards(path=at, holdout=0), "train")


def of_cauldron(at: Path, numbers: range) -> DataSource:
    texts = [{"user": "What?", "assistant": "A cat.", "source": "s"}]
    parquet(at / "a/train-0.parquet", [{"images": [picture(n)], "texts": texts} for n in numbers])
    return cauldron(Cauldron(path=at, holdout=0), "train")


def of_rlaif_v(at: Path, numbers: range) -> DataSource:
    said = {"question": "What?", "chosen": "A cat.", "rejected": "A dog."}
    parquet(at / "RLAIF-V-Dataset_000.parquet", [{"image": picture(n), **said} for n in numbers])
    return rlaif_v(RLAIFV(path=at, holdout=0), "train")


def of_smoltalk(at: Path, numbers: range) -> DataSource:
    said = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A cat."}]
    marked = [{"role": "user", "content": "<image> What?"}, said[1]]
    config = SmolTalk(path=at)
    rows = [{"messages": said if n < THERE else marked} for n in numbers]
    parquet(at / config.folder / "train-00000.parquet", rows)
    return smoltalk(config, "train")


def picture(number: int) -> dict[str, Any]:
    return {"bytes": jpeg(number) if number < THERE else None, "path": f"{number}.jpg"}


SOURCES: dict[str, Callable[[Path, range], DataSource]] = {
    name.removeprefix("of_"): make for name, make in globals().items() if name.startswith("of_")
}


@pytest.mark.parametrize("name", SOURCES)
def test_samples_without_what_they_show_are_bounded_in_every_source(name: str, tmp_path: Path) -> None:
    for n in range(THERE):  # as all of the videos' data sets find them
        put(tmp_path / "here" / f"{n}.mp4", CLIP + bytes([n]))
    source = SOURCES[name](tmp_path / "here", range(THERE + LOST))
    assert len(source) == THERE
    lost = [problem for problem in source.problems() if problem.unseen]
    assert sum(problem.samples for problem in lost) == LOST
    (text,) = unseen([source], 0.001)
    assert f"what {LOST} of {THERE + LOST} samples show is missing or cannot be read" in text
    assert re.search(rf"^  {LOST} x \S", text, re.MULTILINE)
    assert str(lost[0]) in text
    assert text.endswith("data.max_bad = 0.858")
    assert not unseen([source], 0.858)


@frozen
class Listed(DataSource):
    """A source of a few samples that names others."""

    named: tuple[Problem, ...]
    name: str = "listed"

    def __len__(self) -> int:
        return 20

    def __getitem__(self, index: int) -> Sample:
        raise IndexError(index)

    def problems(self) -> tuple[Problem, ...]:
        return self.named


@given(st.integers(0, 300), st.integers(0, 50), st.floats(0, 1))
def test_the_way_out_is_one_and_other_faults_do_not_count(lost: int, faulty: int, max_bad: float) -> None:
    problems = [Problem("no such video", "a.csv", n, unseen="no such video") for n in range(lost)]
    problems += [Problem("empty caption", "a.csv", 1000 + n) for n in range(faulty)]
    source = Listed(tuple(problems))
    # Train and validation name the same rows; both hold some.
    texts = unseen([source, source], max_bad)
    assert bool(texts) == (lost > (max(10, max_bad * (lost + 40)) if max_bad else 0))
    if texts:
        enough = float(texts[0].rpartition("data.max_bad = ")[2])
        assert not unseen([source, source], enough)


def test_a_run_and_an_evaluation_stop_before_they_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    members: dict[str, Any] = {}
    for n in range(24):
        members |= {f"{n}.txt": f"Clip {n}.".encode(), f"{n}.{'jpg' if n < 12 else 'heic'}": jpeg(n, 48, 48)}
    write_tar(tmp_path / "s" / "0.tar", members)
    data = f'[[data.sources]]\nname = "shards"\npath = "{tmp_path / "s"}"\nholdout = 0.3\n'
    recipe = tmp_path / "mine.toml"
    recipe.write_text('name = "mine"\n' + ENCODER + CONNECTOR + LLM + data + TRAINING)
    run = ["run", str(recipe), "--runs", str(tmp_path / "runs"), "-o", "training.steps=1"]
    code, _, err = run_cli(run, monkeypatch, capsys)
    assert code == 2
    assert "12 x a member of kind .heic is not read" in err
    assert "A download that is not complete is the usual reason" in err
    assert not list((tmp_path / "runs").rglob("recipe.json"))
    (way_out,) = re.findall(r"data\.max_bad = \S+$", err, re.MULTILINE)
    code, out, err = run_cli([*run, "-o", way_out.replace(" ", "")], monkeypatch, capsys)
    assert code == 0, err
    assert "shards:s: 12 left out of its data" in out + err
    (folder,) = (file.parent for file in (tmp_path / "runs").rglob("recipe.json"))
    measure = ["eval", str(folder), "--samples", "2"]
    code, _, err = run_cli([*measure, "--max-bad", "0"], monkeypatch, capsys)
    assert code == 2
    assert err.strip().endswith("--max-bad 0.5")


@pytest.mark.parametrize("name", ["openvid", "vript", "sharegpt4video", "webvid"])
def test_every_row_of_a_video_is_a_sample_and_copies_count_once(name: str, tmp_path: Path) -> None:
    """Twenty captions a video, of which two are the same."""
    made = SOURCES[name]
    for n in range(THERE):
        put(tmp_path / f"{n}.mp4", CLIP + bytes([n]))
    made(tmp_path, range(THERE))
    (table,) = (
        file
        for file in (*tmp_path.rglob("*.csv"), *tmp_path.rglob("*.jsonl"))
        if "_val" not in file.name and "cache" not in file.parts
    )
    first, *rest = table.read_text().splitlines()
    header, rows = ("", [first, *rest]) if table.suffix == ".jsonl" else (first + "\n", rest)
    many = [row.replace("Clip ", f"Caption {turn % 19} of clip ") for turn in range(20) for row in rows]
    table.write_text(header + "\n".join(many) + "\n")
    config: Any = {
        "openvid": (OpenVid, openvid), "vript": (Vript, vript),
        "sharegpt4video": (ShareGPT4Video, sharegpt4video), "webvid": (WebVid, webvid),
    }[name]  # fmt: skip
    settings: dict[str, Any] = (
        {"permitted": True, "videos": tmp_path} if name == "webvid" else {"holdout": 0.55}
    )
    sides: dict[str, set[str]] = {}
    captions: list[str] = []
    names: list[str] = []
    copies: dict[str, None] = {}
    for split in ("train",) if name == "webvid" else ("train", "validation"):
        source = config[1](config[0](path=tmp_path, **settings), split)
        copies |= dict.fromkeys(str(problem) for problem in source.problems())
        for place in range(len(source)):
            sample = source[place]
            names.append(sample.id)
            captions.append(sample.turns[-1].content)
            sides.setdefault(str(sample.video.path), set()).add(split)  # type: ignore[union-attr]
    assert len(set(captions)) == len(captions) == 19 * THERE
    assert len(set(names)) == len(names)
    assert {f"{names[0]}#{number}" for number in range(2, 20)} <= set(names)
    assert all(len(splits) == 1 for splits in sides.values())
    assert len(copies) == THERE
    assert all("the same sample as" in text for text in copies)

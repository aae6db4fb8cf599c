"""Data sets of videos, read as published: exactly the usable rows, in order, each with its own video and text."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path
from typing import Any

import published_videos as published
import pytest
from fvlm_datasets.configs.llava_video import LLaVAVideo
from fvlm_datasets.configs.openvid import OpenVid
from fvlm_datasets.configs.sharegpt4video import ShareGPT4Video
from fvlm_datasets.configs.vript import Vript
from fvlm_datasets.configs.webvid import WebVid
from fvlm_datasets.sources.llava_video import build as llava_video
from fvlm_datasets.sources.openvid import build as openvid
from fvlm_datasets.sources.sharegpt4video import build as sharegpt4video
from fvlm_datasets.sources.vript import build as vript
from fvlm_datasets.sources.webvid import build as webvid
from videos import index_of

from fvlm_core.media.video import decode
from fvlm_core.plugin_api import DataSource, MissingData, UsageError, VideoFile


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))


def seen(source: DataSource) -> list[tuple[str, tuple[str, ...], int]]:
    """Every sample: its id, its texts, and the index of its first picture; all three pictures are checked."""
    found: list[tuple[str, tuple[str, ...], int]] = []
    for place in range(len(source)):
        sample = pickle.loads(pickle.dumps(source))[place]
        assert isinstance(sample.video, VideoFile)
        indices = [index_of(frame) for frame in decode(sample.video, 48)]
        assert indices == list(range(indices[0], indices[0] + published.FRAMES))
        found.append((sample.id, tuple(turn.content for turn in sample.turns), indices[0]))
    return found


def problems(source: DataSource) -> list[str]:
    return [str(problem) for problem in source.problems()]


BRIEF = "Write a brief caption for this video."
DETAIL = "Describe what happens in this video in detail."
NARRATE = "Provide a detailed narration of what happens in this video."


def test_openvid_is_read_from_zips_whole_split_and_deflated(tmp_path: Path) -> None:
    published.openvid(tmp_path)
    source = openvid(OpenVid(path=tmp_path, holdout=0), "train")
    assert seen(source) == [
        ("---_iRTHryQ_13_0to241.mp4", (BRIEF, 'A man, "Bob", waves.\nThen he sits.'), 10),
        ("split_0to100.mp4", (BRIEF, "Ein Käfer läuft – 虫"), 20),
        ("deflated_0to50.mp4", (BRIEF, "Packed."), 30),
    ]
    table = tmp_path / "data/train/OpenVid-1M.csv"
    assert problems(source) == [
        f"{table}:5: no such video: trap_missing.mp4",
        f"{table}:6: empty video (0 bytes): trap_empty.mp4",
        f"{table}:8: the same sample as {table}:4",
        f"{table}:9: empty caption",
        f"{tmp_path}: videos that no row names, and that are not used: 1",
    ]
    assert [source[place].video.seconds for place in range(3)] == [3.0, 3.0, None]  # type: ignore[union-attr]


def test_openvid_prefers_unpacked_videos_and_its_hd_subset_is_apart(tmp_path: Path) -> None:
    published.openvid(tmp_path)
    published.write(tmp_path / "video/split_0to100.mp4", published.mp4(50))
    source = openvid(OpenVid(path=tmp_path, holdout=0), "train")
    assert [index for _, _, index in seen(source)] == [10, 50, 30]
    with pytest.raises(MissingData, match="none of its rows can be used"):
        openvid(OpenVid(path=tmp_path, holdout=0, subset="hd"), "train")


def test_a_missing_part_of_a_split_zip_is_named(tmp_path: Path) -> None:
    published.openvid(tmp_path)
    (tmp_path / "OpenVid_part89_partab").rename(tmp_path / "OpenVid_part89_partac")
    source = openvid(OpenVid(path=tmp_path, holdout=0), "train")
    assert [sample for sample, _, _ in seen(source)] == ["---_iRTHryQ_13_0to241.mp4", "deflated_0to50.mp4"]
    text = "its part ab is not there (found aa, ac), so it cannot be read"
    assert f"{tmp_path}/OpenVid_part89.zip: {text}" in problems(source)
    (tmp_path / "OpenVid_part89_partac").unlink()
    source = openvid(OpenVid(path=tmp_path, holdout=0, max_frames=63), "train")
    assert any("OpenVid_part89_partaa: corrupt or cut short" in text for text in problems(source))


def test_vript_gives_one_sample_a_scene_and_invents_no_caption(tmp_path: Path) -> None:
    published.vript(tmp_path)
    source = vript(Vript(path=tmp_path, holdout=0), "train")
    assert seen(source) == [
        ("02toZL7p4_0-Scene-001", (NARRATE, "A cook cuts onions."), 100),
        ("02toZL7p4_0-Scene-002", (NARRATE, "She cries — of course."), 110),
        ("_dash-id_-Scene-001", (NARRATE, "A street."), 120),
    ]
    rows = tmp_path / "vript_captions/vript_long_videos_captions.jsonl"
    assert problems(source) == [
        f"{rows}:4: no caption (its video is marked integrity = false)",
        f"{rows}:5: no such video: trap_missing-Scene-001.mp4",
        f"{tmp_path}: videos that no row names, and that are not used: 1",
    ]


def test_sharegpt4video_takes_the_caption_of_the_whole_video(tmp_path: Path) -> None:
    published.sharegpt4video(tmp_path)
    source = sharegpt4video(ShareGPT4Video(path=tmp_path, holdout=0), "train")
    assert seen(source) == [("p1", (DETAIL, "A panda eats."), 200), ("b1", (DETAIL, "A car turns."), 220)]
    rows = tmp_path / "sharegpt4video_40k.jsonl"
    assert problems(source) == [
        f'{rows}:3: no caption of the whole video (idx "-1")',
        f"{rows}:4: no such video: trap_missing.mp4",
        f"{tmp_path}: videos that no row names, and that are not used: 1",
    ]


def test_webvid_is_off_by_default_and_reads_local_files_alone(tmp_path: Path) -> None:
    published.webvid(tmp_path)
    with pytest.raises(UsageError, match="withdrawn: captions and URLs were taken down on 2024-02-23"):
        webvid(WebVid(path=tmp_path), "train")
    asked = "What would be the WebVid caption for this video?"
    source = webvid(WebVid(path=tmp_path, permitted=True), "train")
    assert seen(source) == [
        ("0021179416", (asked, "Aerial shot, winter"), 300),
        ("11", (asked, "No page"), 310),
        ("12", (asked, "A lake"), 320),
    ]
    assert problems(source)[:2] == [
        f"{tmp_path}/data/train/partitions/0000.csv:4: no such video: 006001_006050/trap_missing.mp4",
        f'{tmp_path}/data/train/partitions/0001.csv:3: expected names, got videoid "../trap" and page_dir "x"',
    ]
    held_out = webvid(WebVid(path=tmp_path, permitted=True), "validation")
    assert seen(held_out) == [("13", (asked, "A dog"), 330)]
    assert source[0].video.seconds == 3.0  # type: ignore[union-attr]


def test_llava_video_keeps_every_question_and_turn(tmp_path: Path) -> None:
    published.llava_video(tmp_path)
    source = llava_video(LLaVAVideo(path=tmp_path, holdout=0), "train")
    academic, nextqa = "0_30_s_academic", "0_30_s_nextqa_oe_qa_processed"
    assert seen(source) == [
        (f"{academic}_mc_v0_1_qa_processed/1-6TVHA", ("Who?\nA. A man\nB. A dog", "A."), 400),
        (f"{academic}_oe_v0_1_qa_processed/1-6TVHA", ("Who laughs?", "A man.", "Where?", "In a café."), 400),
        (
            f"{academic}_v0_1_cap_processed/1-6TVHA",
            ("Describe the video.", "A man — in a café — laughs."),
            400,
        ),
        (f"{nextqa}/1-2", ("Why?", "To play."), 420),
    ]
    questions = tmp_path / f"{academic}_v0_1/{academic}_oe_v0_1_qa_processed.json"
    assert problems(source) == [
        f"{questions}: row 2: no such video: academic_source/trap_missing.mp4",
        f"{questions}: row 3: no answer in it",
        f"{tmp_path}: videos that no row names, and that are not used: 1",
    ]
    assert [turn.role for turn in source[1].turns] == ["user", "assistant"] * 2


def test_llava_video_reads_chosen_parts_and_kinds_and_leaves_sources_out_by_name(tmp_path: Path) -> None:
    published.llava_video(tmp_path)
    source = llava_video(
        LLaVAVideo(path=tmp_path, holdout=0, kinds=("open_ended",), exclude=("nextqa",)), "train"
    )
    assert [sample for sample, _, _ in seen(source)] == ["0_30_s_academic_oe_v0_1_qa_processed/1-6TVHA"]
    assert any("left out by the recipe: data_source = 0_30_s_nextqa" in text for text in problems(source))
    source = llava_video(LLaVAVideo(path=tmp_path, holdout=0, parts=("0_30_s_nextqa",)), "train")
    assert len(source) == 1


def test_a_tar_gz_is_gone_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tarfile

    from fvlm_core.datasets.sources import video_rows
    from fvlm_core.media import seekable_gzip as gz

    published.llava_video(tmp_path)
    config = LLaVAVideo(path=tmp_path, holdout=0)
    before = seen(llava_video(config, "train"))
    gz._opened.cache_clear()
    video_rows._LISTINGS.clear()
    monkeypatch.setattr(tarfile, "open", lambda *_, **__: pytest.fail("listed again"))
    assert seen(llava_video(config, "train")) == before
    assert list((tmp_path / "cache/gzip").glob("*.gzidx"))


@pytest.mark.parametrize("name", ["openvid", "vript", "sharegpt4video", "llava_video"])
def test_rows_of_one_video_share_a_split_whatever_the_row(name: str, tmp_path: Path) -> None:
    made: Any = {
        "openvid": (OpenVid, openvid), "vript": (Vript, vript),
        "sharegpt4video": (ShareGPT4Video, sharegpt4video), "llava_video": (LLaVAVideo, llava_video),
    }[name]  # fmt: skip
    config, build = made
    getattr(published, name)(tmp_path)
    everything = seen(build(config(path=tmp_path, holdout=0), "train"))
    groups = {
        row: first if name == "llava_video" else row.split("-Scene-")[0] for row, _, first in everything
    }
    sides: dict[Any, set[str]] = {}
    found: list[str] = []
    for holdout in (0.3, 0.5, 0.7):
        sides = {}
        found = []
        for split in ("train", "validation"):
            try:
                source = build(config(path=tmp_path, holdout=holdout), split)
            except UsageError:  # few videos: all of them may fall to one side
                continue
            for row, _, _ in seen(source):
                found.append(row)
                sides.setdefault(groups[row], set()).add(split)
        assert sorted(found) == sorted(row for row, _, _ in everything)
        assert all(len(splits) == 1 for splits in sides.values())


@pytest.mark.parametrize(
    ("config", "build", "path"),
    [
        (OpenVid, openvid, "data/train/OpenVid-1M.csv"),
        (Vript, vript, "vript_captions/vript_long_videos_captions.jsonl"),
        (ShareGPT4Video, sharegpt4video, "sharegpt4video_40k.jsonl"),
        (LLaVAVideo, llava_video, ""),
    ],
)
def test_missing_data_name_the_command_that_fetches_them(
    config: Any, build: Any, path: str, tmp_path: Path
) -> None:
    with pytest.raises(MissingData) as caught:
        build(config(path=tmp_path / "gone"), "train")
    component = {"OpenVid": "openvid", "Vript": "vript", "LLaVAVideo": "llava-video"}
    name = component.get(config.__name__, "sharegpt4video")
    assert f"{tmp_path / 'gone'}{'/' if path else ''}{path}" in str(caught.value)
    assert f"fvlm data fetch {name} --to {tmp_path / 'gone'}" in str(caught.value)


def test_fingerprints_change_with_text_and_frames(tmp_path: Path) -> None:
    published.vript(tmp_path)
    config = Vript(path=tmp_path, holdout=0)
    first = vript(config, "train").fingerprint()
    assert vript(config, "train").fingerprint() == first
    assert vript(Vript(path=tmp_path, holdout=0, fps=2), "train").fingerprint() != first
    rows = tmp_path / config.captions
    rows.write_text(rows.read_text().replace("A street.", "A strait."))
    changed = vript(config, "train")
    assert changed.fingerprint() != first
    rows.write_text(rows.read_text() + " ")
    with pytest.raises(UsageError, match="changed while it was in use"):
        changed[0]


def test_fixtures_load_with_the_datasets_library_as_on_the_hub(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    for name in ("openvid", "vript", "sharegpt4video", "webvid", "llava_video"):
        getattr(published, name)(tmp_path / name)

    def load(kind: str, *files: Path) -> Any:
        return datasets.load_dataset(
            kind, data_files=[str(file) for file in files], split="train", cache_dir=str(tmp_path / "hub")
        )

    openvid_rows = load("csv", tmp_path / "openvid/data/train/OpenVid-1M.csv")
    assert openvid_rows.column_names == published.OPENVID_HEADER.split(",")
    source = openvid(OpenVid(path=tmp_path / "openvid", holdout=0), "train")
    assert [openvid_rows[n]["caption"] for n in (0, 1, 4)] == [source[n].turns[1].content for n in range(3)]
    scenes = load("json", tmp_path / "vript/vript_captions/vript_long_videos_captions.jsonl")
    assert scenes[1]["caption"]["content"] == "She cries — of course."
    whole = load("json", tmp_path / "sharegpt4video/sharegpt4video_40k.jsonl")
    assert whole[0]["captions"][-1] == {"idx": "-1", "content": "A panda eats."}
    assert len(load("csv", *sorted((tmp_path / "webvid/data/train/partitions").glob("*.csv")))) == 5
    part = tmp_path / "llava_video/0_30_s_academic_v0_1"
    asked = load("json", part / "0_30_s_academic_oe_v0_1_qa_processed.json")
    assert len(asked) == 3
    assert asked[0]["conversations"][2] == {"from": "human", "value": "Where?"}
    with (tmp_path / "openvid/data/train/OpenVid-1M.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(openvid_rows)
    assert len(json.loads((part / "0_30_s_academic_oe_v0_1_qa_processed.json").read_text())) == len(asked)

"""A sample that names a picture or a video is trained with it or not at all, whatever source and way to lose it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fvlm_datasets.configs.cauldron import Cauldron
from fvlm_datasets.configs.llava_video import LLaVAVideo
from fvlm_datasets.configs.rlaif_v import RLAIFV
from fvlm_datasets.configs.smoltalk import SmolTalk
from fvlm_datasets.sources.cauldron import build as cauldron
from fvlm_datasets.sources.llava_video import build as llava_video
from fvlm_datasets.sources.rlaif_v import build as rlaif_v
from fvlm_datasets.sources.smoltalk import build as smoltalk
from fvlm_shards.config import Shards
from fvlm_shards.source import build as shards
from shard_fixtures import clip, jpeg, write_tar
from tiny import CONNECTOR, ENCODER, LLM, TRAINING, run_cli
from videos import index_of, write_video

from fvlm_core.data.collate import Preparer
from fvlm_core.datasets.shards.encode import encode
from fvlm_core.datasets.shards.settings import PackSettings
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.frames import decode_frames
from fvlm_core.media.named_media import media_keys
from fvlm_core.plugin_api import ByteChat, DataSource, ImageFile, Sample, Turn, UsageError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))


def opened(folder: Path, **settings: Any) -> DataSource:
    return shards(Shards(path=folder, **{"holdout": 0.0, **settings}), "train")


def ids(source: DataSource) -> list[str]:
    return [source[place].id for place in range(len(source))]


def reasons(source: DataSource) -> dict[str, str]:
    return {problem.key: problem.text for problem in source.problems()}


CAPTION = b"A dog runs."
GOOD = {"good.json": {"caption": "a cat"}, "good.jpg": jpeg(1, 48, 48)}


@pytest.mark.parametrize(
    "kind", ["heic", "avif", "tiff", "tif", "bmp", "jxl", "npy", "npz", "pt", "bin", "strange", "HEIC"]
)
def test_a_member_of_a_kind_that_is_not_read_costs_its_sample(kind: str, tmp_path: Path) -> None:
    for text in ({"a.txt": CAPTION}, {"a.json": {"caption": "A dog runs."}}):
        write_tar(tmp_path / "s" / "0.tar", {**GOOD, **text, f"a.{kind}": b"\x93content"})
        source = opened(tmp_path / "s")
        assert ids(source) == ["0/good"]
        assert reasons(source) == {
            f"a.{kind}": f"a member of kind .{kind.lower()} is not read: the sample is left out"
        }


@pytest.mark.parametrize("name", ["a.mp4", "a.MP4", "a.avi", "a.mov", "a.mkv", "a.webm"])
def test_videos_of_every_kind_that_folders_list_are_read_from_shards_too(name: str, tmp_path: Path) -> None:
    suffix = Path(name).suffix.lower()
    codec = {".webm": "libvpx-vp9", ".avi": "mjpeg"}.get(suffix, "libx264")
    video = write_video(tmp_path / f"v{suffix}", 20, fps=10, codec=codec).read_bytes()
    write_tar(tmp_path / "s" / "0.tar", {"a.txt": CAPTION, name: video})
    source = opened(tmp_path / "s")
    assert [index_of(frame) for frame in decode_frames(source[0], 48)] == [0, 10]


@pytest.mark.parametrize("name", ["a.JPG", "a.jpeg", "a.Png", "a.webp"])
def test_pictures_are_read_in_upper_and_lower_case(name: str, tmp_path: Path) -> None:
    kind = {"jpg": "JPEG", "jpeg": "JPEG"}.get(name[2:].lower(), name[2:].upper())
    write_tar(tmp_path / "s" / "0.tar", {"a.Txt": CAPTION, name: jpeg(9, 48, 48, kind)})
    assert [index_of(frame) for frame in decode_frames(opened(tmp_path / "s")[0], 48)] == [9]


LOST: dict[str, tuple[dict[str, Any], str]] = {
    "a picture of 0 bytes": ({"a.txt": CAPTION, "a.jpg": b""}, "empty (0 bytes)"),
    "a member without a suffix": ({"a.txt": CAPTION, "a": b"video"}, "a member without a suffix is not read"),
    "frames declared": ({"a.json": {"caption": "x", "frame_count": 4}}, "frame_count is 4 and 0 are there"),
    "one frame too few": (
        {"a.json": {"caption": "x", "frame_count": 3}, "a.000.jpg": jpeg(1), "a.001.jpg": jpeg(2)},
        "frame_count is 3 and 2 are there",
    ),
    "a video named": ({"a.json": {"caption": "x", "video": "v.mp4"}}, "not there (video)"),
    "an image named": ({"a.json": {"user": "q", "assistant": "x", "image": "v.jpg"}}, "not there (image)"),
    "images named": ({"a.json": {"user": "q", "assistant": "x", "images": ["v.jpg"]}}, "not there (images)"),
    "a path": ({"a.json": {"caption": "x", "video_path": "z/v.mp4"}}, "not there (video_path)"),
    "the founding caption": ({"a.json": {"caption": "x", "video_id": "v1"}}, "not there (video_id)"),
    "a set of videos": ({"a.json": {"caption": "x", "source": "openvid"}}, "not there (source)"),
    "not text only": ({"a.json": {"caption": "x", "is_text_only": False}}, "is_text_only is false"),
    "text only, and a picture": (
        {"a.json": {"caption": "x", "is_text_only": True}, "a.jpg": jpeg(1)},
        "is_text_only is true",
    ),
    "a mark": ({"a.json": {"user": "<image>\nWhat?", "assistant": "x"}}, "marks a picture or video"),
    "a mark at the end": (
        {"a.json": {"user": "What?\n<video>", "assistant": "x"}},
        "marks a picture or video",
    ),
    "more marks than pictures": (
        {"a.json": {"user": "<image><image>\nSame?", "assistant": "x"}, "a.jpg": jpeg(1)},
        "marks 2 pictures or videos, where 1 can be shown",
    ),
    "two pictures": (
        {"a.txt": CAPTION, "a.jpg": jpeg(1), "a.png": jpeg(2, kind="PNG")},
        "shows several things",
    ),
    "a video and its poster": ({"a.txt": CAPTION, "a.jpg": jpeg(1), "a.mp4": b"x"}, "shows several things"),
    "a picture and frames": (
        {"a.txt": CAPTION, "a.jpg": jpeg(1), "a.000.jpg": jpeg(2)},
        "shows several things",
    ),
    "another layout": ({"a.txt": CAPTION, "a.left.jpg": jpeg(1)}, "belong to no known layout: left.jpg"),
    "numbered clips": (
        {"a.txt": CAPTION, "a.000.mp4": b"x"},
        "numbered members that are no pictures: 000.mp4",
    ),
}


@pytest.mark.parametrize("what", LOST)
def test_every_way_to_lose_a_picture_in_a_shard_is_named(what: str, tmp_path: Path) -> None:
    members, reason = LOST[what]
    write_tar(tmp_path / "s" / "0.tar", {**GOOD, **members})
    source = opened(tmp_path / "s")
    assert ids(source) == ["0/good"]
    assert [reason in text for text in reasons(source).values()] == [True]


def test_a_second_member_and_a_link_are_named(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "s" / "0.tar", {**GOOD, "a.txt": CAPTION, "a.jpg": jpeg(1), "b.txt": CAPTION})
    with tarfile.open(file, "a") as archive:
        again = tarfile.TarInfo("a.jpg")
        again.size = len(jpeg(2))
        archive.addfile(again, io.BytesIO(jpeg(2)))
        link = tarfile.TarInfo("b.mp4")
        link.type, link.linkname = tarfile.SYMTYPE, "elsewhere.mp4"
        archive.addfile(link)
    source = opened(tmp_path / "s")
    assert ids(source) == ["0/good"]
    assert reasons(source) == {
        "a.jpg": "a second member of this name: the sample is left out",
        "b.mp4": "a link, a device or a sparse file, which are not read: the sample is left out",
    }


def test_text_that_names_nothing_to_see_stays_a_sample(tmp_path: Path) -> None:
    chat = {"user": "Hello?", "assistant": "Hi."}
    members: dict[str, Any] = {
        "a.json": chat,
        "b.json": {**chat, "is_text_only": True, "frame_count": 0},
        "c.json": {**chat, "image": None, "video": "", "images": [], "frame_count": 0},
        "d.json": {**chat, "user": "Why does my <video> tag stay black in <image>-heavy pages?"},
        "e.json": {**chat, "user": "<video>\n  <source src='a.mp4'>\n</video>\nis this right?"},
        "f.json": chat,
        "f.cls": b"3",
        "g.json": {**chat, "assistant": "Write <image> where the picture belongs."},
    }
    write_tar(tmp_path / "s" / "0.tar", members)
    source = opened(tmp_path / "s")
    assert ids(source) == [f"0/{key}" for key in "abcdefg"]
    assert reasons(source) == {"f.cls": "a member of kind .cls is not read"}
    assert all(decode_frames(source[place], 48).shape[0] == 0 for place in range(7))


def test_the_shared_shard_never_gives_a_caption_without_its_video(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "0.tar").write_bytes((shared / "cases/media/unread_kind.tar").read_bytes())
    source = opened(tmp_path / "s")
    assert ids(source)[0] == "0/0000"
    preparer = Preparer(ByteChat(), 48, "answer", 64)
    for place in range(len(source)):
        try:
            assert len(preparer.example(source[place]).frames)
        except BadSample as error:
            assert place == 1, error  # noqa: PT017


def test_data_check_and_a_run_name_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    members: dict[str, Any] = {"x.txt": CAPTION, "x.heic": b"ftyp"}
    for n in range(12):
        members |= clip(f"{n}", {"caption": f"clip {n}"}, 1, first=n, size=48)
    file = write_tar(tmp_path / "s" / "0.tar", members)
    reason = f"{file}: x.heic: a member of kind .heic is not read: the sample is left out"
    code, out, err = run_cli(["data", "check", str(tmp_path / "s")], monkeypatch, capsys)
    assert code == 1
    assert "12 samples: 1 wrong by the listing of shards" in out
    assert reason in err
    code, out, _ = run_cli(["data", "describe", "shards", "--at", str(tmp_path / "s")], monkeypatch, capsys)
    assert (code, reason in out) == (0, True)
    data = f'[[data.sources]]\nname = "shards"\npath = "{tmp_path / "s"}"\nholdout = 0.3\n'
    recipe = tmp_path / "blind.toml"
    recipe.write_text('name = "blind"\n' + ENCODER + CONNECTOR + LLM + data + TRAINING)
    code, out, err = run_cli(["run", str(recipe), "--runs", str(tmp_path / "runs")], monkeypatch, capsys)
    assert code == 0, err
    assert "shards:s: 1 left out of its data" in out + err
    (summary,) = (tmp_path / "runs").rglob("summary.json")
    assert json.loads(summary.read_text())["left_out"] == [reason]


def table(file: Path, rows: list[dict[str, Any]], schema: Any = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
    return file


def test_cauldron_rows_without_their_pictures_are_named(tmp_path: Path) -> None:
    texts = [{"user": "What?", "assistant": "A cat.", "source": "s"}]
    marked = [{"user": "<image> and <image>: the same?", "assistant": "No.", "source": "s"}]
    good = {"bytes": jpeg(5), "path": None}
    rows: list[dict[str, Any]] = [
        {"images": [good], "texts": texts},
        {"images": [], "texts": texts},
        {"images": None, "texts": texts},
        {"images": [{"bytes": None, "path": None}], "texts": texts},
        {"images": [{"bytes": None, "path": "a.jpg"}], "texts": texts},
        {"images": [{"bytes": b"", "path": None}], "texts": texts},
        {"images": [None], "texts": texts},
        {"images": [good, {"bytes": None, "path": None}], "texts": texts},
        {"images": [good], "texts": marked},
        {"images": [good, good], "texts": marked},
    ]
    table(tmp_path / "ai2d/train-0.parquet", rows)
    source = cauldron(Cauldron(path=tmp_path, holdout=0), "train")
    assert [int(name.rpartition("/")[2]) for name in ids(source)] == [0, 9]
    assert reasons(source) == {
        "row 1": "no picture",
        "row 2": "no picture",
        "row 3": "a picture without bytes",
        "row 4": "a picture without bytes (only its path: a.jpg)",
        "row 5": "a picture without bytes",
        "row 6": "a picture without bytes",
        "row 7": "a picture without bytes",
        "row 8": "its text marks 2 pictures or videos, where 1 can be shown",
    }


def test_rlaif_v_rows_without_their_picture_are_named(tmp_path: Path) -> None:
    said = {"question": "What?", "chosen": "A cat.", "rejected": "A dog."}
    rows = [
        {"image": image, **said}
        for image in (
            {"bytes": jpeg(5), "path": "a"},
            None,
            {"bytes": None, "path": None},
            {"bytes": b"", "path": "b"},
        )
    ]
    table(tmp_path / "RLAIF-V-Dataset_000.parquet", rows)
    source = rlaif_v(RLAIFV(path=tmp_path, holdout=0), "train")
    assert len(source) == 1
    assert set(reasons(source)) == {"row 1", "row 2", "row 3"}


@pytest.mark.parametrize("column", ["image", "images", "video", "video_path", "Image_URL"])
def test_chats_that_name_pictures_in_another_column_are_no_text(column: str, tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "What is this?"}, {"role": "assistant", "content": "A cat."}]
    marked = [{"role": "user", "content": "<image>\nWhat is this?"}, chat[1]]
    rows = [
        {"messages": chat, column: "a.jpg"},
        {"messages": chat, column: None},
        {"messages": marked, column: None},
    ]
    table(tmp_path / "data/all/train-00000-of-00001.parquet", rows)
    source = smoltalk(SmolTalk(path=tmp_path), "train")
    assert [int(name.rpartition("/")[2]) for name in ids(source)] == [1]
    assert reasons(source) == {
        "row 0": f"names a picture or video that is not read ({column})",
        "row 2": "its text marks a picture or video, and none is there",
    }


def test_llava_video_rows_mark_the_one_video_that_they_name(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    write_video(tmp_path / "part/a.mp4", 3, fps=1)

    def row(question: str, **more: Any) -> dict[str, Any]:
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": "A cat."}]
        return {"id": "x", "conversations": turns, "data_source": "s", **more}

    rows = [
        row("<image>\nWho?", video="a.mp4"),
        row("What?", video="a.mp4"),
        row("<image>\n<image>\nWho?", video="a.mp4"),
        row("<image>\nWho?"),
        row("<image>\nWho?", video=""),
        row("<image>\nWho?", video=None),
    ]
    (tmp_path / "part/0_30_s_oe.json").write_text(json.dumps(rows))
    source = llava_video(LLaVAVideo(path=tmp_path, holdout=0), "train")
    assert [source[n].turns[0].content for n in range(len(source))] == ["Who?", "What?"]
    said = list(reasons(source).values())
    assert said[0] == "its text marks 2 pictures or videos, where 1 can be shown"
    assert said[1].startswith('no column "video" among')
    assert said[2:] == ["empty video", "video: expected a string, got NoneType"]


def test_no_source_of_any_plugin_gets_past_the_one_gate(tmp_path: Path) -> None:
    picture = ImageFile(tmp_path / "x", data=jpeg(5, 48, 48))
    asked, answer = Turn("user", "<image>\nWhat?"), Turn("assistant", "A cat.")
    preparer = Preparer(ByteChat(), 48, "answer", 64)
    for sample in (
        Sample("a", "s", (asked, answer)),
        Sample("b", "s", (asked, answer), images=(picture, picture)),
        Sample("c", "s", (Turn("user", "What?\n<video>"), answer)),
    ):
        with pytest.raises(BadSample, match="its text marks"):
            preparer.example(sample)
        with pytest.raises(BadSample, match="its text marks"):
            encode(sample, PackSettings(), None)
    assert len(preparer.example(Sample("d", "s", (asked, answer), images=(picture,))).frames) == 1


def test_a_text_of_a_table_that_is_no_text_is_named_and_costs_no_other(tmp_path: Path) -> None:
    answers = [b"Hello.", b"caf\xe9", b"a\0zero", b"Bye."]
    message = pa.struct([("role", pa.binary()), ("content", pa.binary())])
    rows = [
        [{"role": b"user", "content": b"Hi"}, {"role": b"assistant", "content": text}] for text in answers
    ]
    text = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    file = tmp_path / "data/all/train-00000-of-00001.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.table({"messages": pa.array(rows, pa.list_(message)).cast(text, safe=False)}), file)
    source = smoltalk(SmolTalk(path=tmp_path), "train")
    assert [source[n].turns[1].content for n in range(len(source))] == ["Hello.", "Bye."]
    assert reasons(source) == {"row 1": "not UTF-8 text", "row 2": "turn 2: no text: a zero in it"}


def test_empty_values_name_nothing() -> None:
    nothing = {
        "image": None,
        "video": "",
        "images": [],
        "video_path": " ",
        "photo": float("nan"),
        "frame_count": 0,
    }
    assert (
        media_keys({**nothing, "clips": {}, "video_id": "nan", "picture": {"bytes": None, "path": None}})
        == []
    )
    found = {
        "image": {"bytes": b"x", "path": None},
        "images": [None],
        "num_frames": 3,
        "Video": "a",
        "clip_id": 7,
    }
    assert media_keys({**found, "caption": "x", "imagery": "x", "videography": 1, "source": "x"}) == list(
        found
    )


def split(folder: Path, holdout: float) -> list[DataSource]:
    return [shards(Shards(path=folder, holdout=holdout), side) for side in ("train", "validation")]


def test_shards_that_show_the_same_are_on_one_side(tmp_path: Path) -> None:
    members: dict[str, Any] = {}
    for n in range(
        24
    ):  # three captions for each of eight pictures, and two for each of six clips named by their id
        members |= {f"p{n}.json": {"user": f"{n}?", "assistant": "x"}, f"p{n}.jpg": jpeg(n % 8, 48, 48)}
    for n in range(12):
        members |= clip(f"v{n}", {"caption": f"{n}", "video_id": f"id{n % 6}"}, 1, first=100 + n, size=48)
    write_tar(tmp_path / "s" / "0.tar", members)
    sides = split(tmp_path / "s", 0.4)
    assert sum(map(len, sides)) == 36
    assert all(map(len, sides))

    def shown(name: str) -> str:
        number = int(name[3:])
        return f"p{number % 8}" if name[2] == "p" else f"v{number % 6}"

    train, held = ({shown(name) for name in ids(source)} for source in sides)
    assert not train & held


def test_a_pack_of_many_captions_a_video_is_split_by_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = ["video,caption"]
    for n in range(6):
        (tmp_path / "clips").mkdir(exist_ok=True)
        write_video(tmp_path / "clips" / f"{n}.mp4", 2 + n, fps=1)
        rows += [f"{n}.mp4,caption {m} of {n}" for m in range(4)]
    (tmp_path / "clips/rows.csv").write_text("\n".join(rows) + "\n")
    source = f"path={tmp_path / 'clips/rows.csv'}"
    code, _, err = run_cli(
        ["data", "pack", "clips", "-o", source, "-o", "holdout=0.0", "--to", str(tmp_path / "pack")],
        monkeypatch, capsys,
    )  # fmt: skip
    assert code == 0, err
    sides = split(tmp_path / "pack/clips/train", 0.4)
    train, held = ({name.partition("#")[0] for name in ids(one)} for one in sides)
    assert sum(map(len, sides)) == 24
    assert train
    assert held
    assert not train & held


def test_a_shard_with_nothing_but_lost_pictures_is_an_error(tmp_path: Path) -> None:
    write_tar(tmp_path / "s" / "0.tar", {"a.txt": CAPTION, "a.npy": np.zeros(3).tobytes()})
    with pytest.raises(UsageError, match=r"none of its 1 samples can be used(.|\n)*a\.npy"):
        opened(tmp_path / "s")


TURNS = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "A dog runs."}]


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"video": "v.mp4"}, "not there (video)"),
        ({"images": ["x.jpg"]}, "not there (images)"),
        ({"source": "openvid"}, "not there (source)"),
        ({"frame_count": 8}, "frame_count is 8 and 0 are there"),
        ({"is_text_only": False}, "is_text_only is false"),
    ],
)
def test_turns_that_name_what_is_not_there_are_no_text(
    said: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    plain = {"id": "b", "turns": TURNS, "source": "smoltalk"}
    write_tar(tmp_path / "s" / "0.tar", {"a.json": {"id": "a", "turns": TURNS, **said}, "b.json": plain})
    source = opened(tmp_path / "s")
    assert ids(source) == ["0/b"]
    assert reason in reasons(source)["a"]


BY_KEY = [
    *("img", "img_path", "mp4", "jpg", "gif", "media", "media_path", "visual"),
    *("vid", "keyframes", "video-path", "video_link", "image_0", "image1", "video1", "frames_dir"),
    *("image_list", "image_base64", "videoUrl", "imagePath", "source_video", "num_frames", "VideoFile"),
]
BY_VALUE = ["file_name", "filename", "file", "path", "url", "contentUrl", "name", "key", "uri"]


def test_media_are_known_by_the_key_or_by_how_the_value_ends() -> None:
    for key in BY_KEY:
        assert media_keys({key: "dir/v", "caption": "x"}) == [key]
    for key in BY_KEY + BY_VALUE:
        for value in ("dir/v.mp4", "https://h/v.JPG?size=2#t", ["a/b c.webm"], [["x.png"]]):
            assert media_keys({"caption": "x", key: value}) == [key]
            assert media_keys({"meta": [{"more": {key: value}}]}) == [f"meta.more.{key}"]
    assert media_keys({"x": "data:image/png;base64,iVBO"}) == ["x"]


def test_ordinary_metadata_names_no_media() -> None:
    ordinary: dict[str, Any] = {
        "caption": "See photo.jpg",
        "long_caption": "It is called a.mp4",
        "alt_text": "photo.jpg",
        "url": "https://h/page.html",
        "page": "https://h/?next=a.mp4",
        "score": "0.264",
        "mp3": "a.mp3",
        "image_width": 640,
        "video_title": "x",
        "clip_score": 0.3,
        "n": 3,
        "status": "ok",
        "img": None,
        "messages": [{"role": "user", "content": "Open photo.jpg"}],
        "meta": {"text": "see a.png", "source": "s"},
        "texts": ["a.jpg"],
        "imagery": "x",
        "photographer": "y",
        "file": "a.json",
        "long": "x\n" * 9 + "a.jpg",
    }
    assert media_keys(ordinary) == []


@pytest.mark.parametrize(
    "mark",
    [
        *(
            "<img>",
            "<image_1>",
            "<Image>",
            "<|image|>",
            "<|image_pad|>",
            "<image/>",
            "[IMG]",
            "<image 1>",
            "<IMAGE>",
        ),
        *(
            "<|vision_start|><|image_pad|><|vision_end|>",
            "<video_1>",
            "<image1>",
            "<image_placeholder>",
            "<|video_pad|>",
        ),
    ],
)
def test_the_marks_of_every_model_mark_a_picture(mark: str, tmp_path: Path) -> None:
    members = {
        "a.json": {"user": f"{mark}\nWhat?", "assistant": "x"},
        "b.json": {"user": f"What?\n{mark}", "assistant": "x"},
        "c.json": {"system": mark, "user": "What?", "assistant": "x"},
        "d.json": {"user": f"Why does {mark} stay black here?", "assistant": mark},
    }
    write_tar(tmp_path / "s" / "0.tar", members)
    source = opened(tmp_path / "s")
    assert ids(source) == ["0/d"]
    assert set(reasons(source)) == {"a", "b", "c"}


def test_chats_that_name_a_file_under_any_column_are_no_text(tmp_path: Path) -> None:
    rows = [{"messages": TURNS, "file": "a.jpg"}, {"messages": TURNS, "file": "a.json"}]
    table(tmp_path / "data/all/train-00000-of-00001.parquet", rows)
    source = smoltalk(SmolTalk(path=tmp_path), "train")
    assert len(source) == 1
    assert reasons(source) == {"row 0": "names a picture or video that is not read (file)"}


def test_a_row_of_a_table_says_that_it_is_text_alone_as_a_record_of_a_shard_does(tmp_path: Path) -> None:
    marked = [{"role": "user", "content": "<image>\nWhat is this?"}, TURNS[-1]]
    rows = [
        {"messages": TURNS, "file": "src/app.ts", "is_text_only": True},
        {"messages": TURNS, "file": "src/app.ts", "is_text_only": None},
        {"messages": TURNS, "file": None, "is_text_only": False},
        {"messages": marked, "file": None, "is_text_only": True},
        {"messages": TURNS, "file": "src/app.py", "is_text_only": None},
    ]
    table(tmp_path / "t/data/all/train-00000-of-00001.parquet", rows)
    source = smoltalk(SmolTalk(path=tmp_path / "t"), "train")
    assert [int(name.rpartition("/")[2]) for name in ids(source)] == [0, 4]
    assert reasons(source) == {
        "row 1": "names a picture or video that is not read (file)",
        "row 2": "is_text_only is false, and no picture is there",
        "row 3": "its text marks a picture or video, and none is there",
    }
    texts = [{"user": "What?", "assistant": "A cat.", "source": "s"}]
    shown = [
        {"images": [{"bytes": jpeg(5), "path": None}], "texts": texts, "is_text_only": n > 0}
        for n in range(2)
    ]
    table(tmp_path / "c/ai2d/train-0.parquet", shown)
    pictures = cauldron(Cauldron(path=tmp_path / "c", holdout=0), "train")
    assert len(pictures) == 1
    assert reasons(pictures) == {"row 1": "is_text_only is true, and a picture is there"}


def test_half_a_surrogate_pair_and_a_zero_are_bad_samples_of_a_shard(tmp_path: Path) -> None:
    def raw(text: str) -> bytes:
        return text.encode()

    members = {
        "a.json": raw(r'{"caption": "x\ud800"}'),
        "b.json": raw(r'{"id": "b", "turns": [{"role": "assistant", "content": "x\udc00"}]}'),
        "c.json": raw(r'{"caption": "x", "video_id": "\ud800"}'),
        "d.json": raw(r'{"caption": "x\u0000y"}'),
        "e.json": raw(r'{"id": "e", "turns": [{"role": "assistant", "content": "x\u0000"}]}'),
        "f.json": raw(r'{"caption": "a \ud83d\ude00"}'),
    }
    write_tar(
        tmp_path / "s" / "0.tar", {**members, **{f"{key}.jpg": jpeg(n) for n, key in enumerate("abcdef")}}
    )
    source = opened(tmp_path / "s")
    assert [sample.turns[-1].content for sample in (source[n] for n in range(len(source)))] == [
        "a \N{GRINNING FACE}"
    ]
    said = reasons(source)
    assert all("half a surrogate pair" in said[key] for key in "abc")
    assert all("a zero in it" in said[key] for key in "de")


def test_metadata_beside_a_caption_cost_no_sample_and_name_what_it_shows(tmp_path: Path) -> None:
    members: dict[str, Any] = {
        "a.txt": CAPTION,
        "a.jpg": jpeg(1),
        "a.json": {"url": "https://h/x.jpg", "width": 9, "status": "success"},
        "b.txt": CAPTION,
        "b.jpg": jpeg(2),
        "b.json": {"caption": None, "key": "b"},
        "c.txt": b"other",
        "c.jpg": jpeg(3),
        "c.json": {"caption": "A dog runs."},
        "d.txt": CAPTION,
        "d.json": {"url": "https://h/x.jpg", "status": "failed"},
        "e.txt": CAPTION,
        "e.json": {"frame_count": 2},
    }
    write_tar(tmp_path / "s" / "0.tar", members)
    source = opened(tmp_path / "s")
    assert ids(source) == ["0/a", "0/b", "0/c"]
    assert {source[n].turns[-1].content for n in range(3)} == {"A dog runs."}
    assert set(reasons(source)) == {"d", "e"}


def test_shards_in_upper_case_are_read_and_compressed_ones_are_named(tmp_path: Path) -> None:
    for name in ("0.tar", "0.TAR", "1.TAR", "2.tar.gz", "3.tgz", "4.tar.zst", "5.TBZ2"):
        write_tar(tmp_path / "s" / name, GOOD)
    source = opened(tmp_path / "s")
    assert sorted(ids(source)) == ["0.TAR/good", "0/good", "1.TAR/good"]
    named = {Path(problem.file).name for problem in source.problems() if "compressed shard" in problem.text}
    assert named == {"2.tar.gz", "3.tgz", "4.tar.zst", "5.TBZ2"}
    commands = {problem.text.partition("unpack it: ")[2].partition(" ")[0] for problem in source.problems()}
    assert commands == {"gunzip", "unzstd", "bunzip2"}

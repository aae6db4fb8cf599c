"""A folder or manifest of clips gives exactly its good rows; every other row is named, and none leads outside."""

from __future__ import annotations

import csv
import json
import pickle
from pathlib import Path

import pytest
from fvlm_clips.config import Clips
from fvlm_clips.source import ClipSource, build
from hypothesis import given, settings
from hypothesis import strategies as st
from videos import index_of, write_video

from fvlm_core.media.video import decode
from fvlm_core.plugin_api import MissingData, Problems, Sample, UsageError

OPENVID = (
    "video,caption,aesthetic score,motion score,temporal consistency score,camera motion,frame,fps,seconds"
)


def all_of(path: Path, **config: object) -> ClipSource:
    return build(Clips(path=path, holdout=0, **config), "train")  # type: ignore[arg-type]


def samples(source: ClipSource) -> list[Sample]:
    return [source[index] for index in range(len(source))]


def captions(source: ClipSource) -> dict[str, str]:
    return {sample.id: sample.turns[1].content for sample in samples(source)}


def found(source: ClipSource) -> list[str]:
    return [str(problem) for problem in source.problems()]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def jsonl(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_openvid_csv_is_read_as_published(tmp_path: Path) -> None:
    touch(tmp_path / "video", "b.mp4", "c.mp4")
    write_video(tmp_path / "video" / "---_iRTHryQ_13_0to241.mp4", 3, fps=1)
    path = tmp_path / "OpenVid-1M.csv"
    path.write_text(
        f"{OPENVID}\r\n"
        '---_iRTHryQ_13_0to241.mp4,"A man, ""Bob"", waves.\nThen he\r\nsits.",5.1,1.2,0.99,static,241,30.0,8.03\r\n'
        "b.mp4,no motion score,5.1,,0.99,pan_left,100,25.0,4.0\r\n"
        "missing.mp4,trap,5.1,1.0,0.99,static,100,25.0,4.0\r\n"
        'c.mp4,"Ein Käfer läuft – 虫, über das Blatt",5.1,1.0,0.99,static,100,25.0,4.0\r\n',
        newline="",
    )
    source = all_of(path, videos=tmp_path / "video", prompt="Write a brief caption.")
    assert captions(source) == {
        "---_iRTHryQ_13_0to241.mp4": 'A man, "Bob", waves.\nThen he\r\nsits.',
        "b.mp4": "no motion score",
        "c.mp4": "Ein Käfer läuft – 虫, über das Blatt",
    }
    assert found(source) == [f"{path}:6: no such file: {tmp_path / 'video' / 'missing.mp4'}"]
    first = source[0]
    assert (first.source, first.turns[0].content) == ("clips:OpenVid-1M", "Write a brief caption.")
    assert first.video is not None
    assert [index_of(frame) for frame in decode(first.video, 48)] == [0, 1, 2]


def test_jsonl_traps_are_named_with_their_lines(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4", "sub/e.mp4")
    path = jsonl(
        tmp_path / "clips.jsonl",
        {"video": "a.mp4", "caption": " fine "},
        {"video": "b.mp4", "caption": "   "},
        "{not json",
        {"video": "a.mp4", "caption": "again"},
        {"video": "./a.mp4", "caption": "again by another name"},
        {"video": "c.mp4", "captoin": "misspelt"},
        {"video": "c.mp4", "caption": ["a", "list"]},
        ["an", "array"],
        "",
        {"video": "gone.mp4", "caption": "missing"},
        {"video": "", "caption": "nameless"},
        {"video": "sub", "caption": "a folder"},
        {"video": "sub/../sub/e.mp4", "caption": "in a roundabout way"},
        {"video": "sub/../a.mp4", "caption": "again "},
    )
    source = all_of(path)
    assert captions(source) == {
        "a.mp4": "fine",
        "a.mp4#2": "again",
        "a.mp4#3": "again by another name",
        "sub/e.mp4": "in a roundabout way",
    }
    assert {sample.video.path for sample in samples(source)[:3]} == {tmp_path / "a.mp4"}  # type: ignore[union-attr]
    expected = {
        2: "empty caption",
        3: "not JSON",
        6: 'no column "caption" among video, captoin: did you mean "captoin"?',
        7: "caption: expected a string, got list",
        8: "expected an object, got list",
        10: "no such file",
        11: "no file name",
        12: "no such file",
        14: "a.mp4 with this caption is already in line 4",
    }
    assert [problem.line for problem in source.problems()] == list(expected)
    for problem, text in zip(source.problems(), expected.values(), strict=True):
        assert text in problem.text
        assert problem.file == str(path)


def test_rows_that_are_not_utf8_are_named_and_hide_no_other(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    path = tmp_path / "clips.csv"
    path.write_bytes(b"\xef\xbb\xbfvideo,caption\na.mp4,caf\xe9\nb.mp4,caf\xc3\xa9\n")
    source = all_of(path)
    assert captions(source) == {"b.mp4": "café"}
    assert found(source) == [
        f"{path}:2: not UTF-8 text: byte 0xE9; if it is Latin-1, save it as UTF-8 (iconv -f LATIN1 -t UTF-8 OLD > NEW)"
    ]


@pytest.mark.parametrize(
    "name",
    [
        "../secret.mp4",
        "sub/../../secret.mp4",
        "{outside}",
        "/etc/passwd",
        "/a.mp4",
        "link.mp4",
        "linked/secret.mp4",
        "http://example.org/a.mp4",
        "file:///etc/passwd",
        "pipe:cat /etc/passwd",
        "concat:a.mp4|b.mp4",
        "a.mp4\0.txt",
        "a" * 5000,
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_no_row_leads_out_of_the_folder(name: str, kind: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    touch(tmp_path, "secret.mp4", "root/a.mp4", "root/sub/b.mp4", "elsewhere/secret.mp4")
    (root / "link.mp4").symlink_to(tmp_path / "secret.mp4")
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "sub" / "good.mp4").symlink_to(root / "a.mp4")
    name = name.format(outside=tmp_path / "secret.mp4")
    rows = [(name, "evil"), ("sub/b.mp4", "good")]
    path = root / f"clips.{kind}"
    if kind == "csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("video", "caption"), *rows])
    else:
        jsonl(path, *({"video": video, "caption": caption} for video, caption in rows))
    source = all_of(path)
    assert captions(source) == {"sub/b.mp4": "good"}
    assert len(source.problems()) == 1


def test_absolute_names_and_links_inside_the_folder_are_fine(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "b.mp4")
    rows = [{"video": str(tmp_path / "a.mp4"), "caption": "one"}, {"video": "link.mp4", "caption": "two"}]
    assert captions(all_of(jsonl(tmp_path / "c.jsonl", *rows))) == {"a.mp4": "one", "b.mp4": "two"}


def test_missing_columns_are_named_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "clips.csv"
    path.write_text("vidoe,text\na.mp4,x\n")
    with pytest.raises(Problems) as caught:
        all_of(path)
    assert str(caught.value).splitlines() == [
        f'{path}:1: no column "video" among vidoe, text: did you mean "vidoe"?',
        f'{path}:1: no column "caption" among vidoe, text',
    ]
    touch(tmp_path, "a.mp4")
    assert captions(all_of(path, video_column="vidoe", caption_column="text")) == {"a.mp4": "x"}


def test_rows_with_too_few_or_too_many_fields_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    path = tmp_path / "clips.csv"
    path.write_text("video,caption\na.mp4,fine\nb.mp4\nc.mp4,one,two\n\n")
    source = all_of(path)
    assert list(captions(source)) == ["a.mp4"]
    assert found(source) == [
        f"{path}:3: expected 2 fields as in the header, got 1",
        f"{path}:4: expected 2 fields as in the header, got 3",
    ]


def test_an_open_quotation_mark_stops_with_its_line(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4")
    path = tmp_path / "clips.csv"
    path.write_text('video,caption\na.mp4,fine\nb.mp4,"open\n' + "c.mp4,much more text\n" * 20_000)
    with pytest.raises(UsageError, match=rf"{path}:3: .*quotation mark"):
        all_of(path)


def test_endless_lines_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "clips.jsonl"
    path.write_bytes(b"\0" * (5 << 20))
    with pytest.raises(UsageError, match=r"clips\.jsonl:1: longer than 4,194,304 bytes"):
        all_of(path)


def test_a_folder_pairs_videos_with_text_files(tmp_path: Path) -> None:
    touch(tmp_path, "b.mp4", "a.webm", "deep/er/c.MOV", "empty.mp4", "bare.mkv", "notes.md")
    for name, text in {"b": "bee\n", "a": "ay", "deep/er/c": "sea", "empty": " \n"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    source = all_of(tmp_path)
    assert captions(source) == {"a.webm": "ay", "b.mp4": "bee", "deep/er/c.MOV": "sea"}
    assert found(source) == [
        f"{tmp_path / 'bare.mkv'}: no caption: bare.txt: No such file or directory",
        f"{tmp_path / 'empty.mp4'}: empty caption: empty.txt",
    ]


@pytest.mark.parametrize("name", ["captions.jsonl", "captions.csv", "metadata.csv"])
def test_a_folder_may_hold_its_manifest(name: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "sub/b.mp4", "unnamed.mp4")
    if name.endswith("csv"):
        (tmp_path / name).write_text("video,caption\na.mp4,one\nsub/b.mp4,two\n")
    else:
        rows = [{"video": "a.mp4", "caption": "one"}, {"video": "sub/b.mp4", "caption": "two"}]
        jsonl(tmp_path / name, *rows)
    source = all_of(tmp_path)
    assert captions(source) == {"a.mp4": "one", "sub/b.mp4": "two"}
    assert found(source) == [f"{tmp_path / 'unnamed.mp4'}: no caption in {name}"]


def test_what_is_absent_comes_with_the_way_to_get_it(tmp_path: Path) -> None:
    path = tmp_path / "openvid" / "data" / "train" / "OpenVid-1M.csv"
    with pytest.raises(MissingData) as caught:
        all_of(path, hub="nkp37/OpenVid-1M")
    folder = tmp_path / "openvid"
    command = f"hf download nkp37/OpenVid-1M --repo-type dataset --local-dir {folder}"
    assert str(caught.value) == f"{path}: no such file or folder; get it with: {command}"
    path.parent.mkdir(parents=True)
    path.write_text(f"{OPENVID}\na.mp4,x,1,1,1,static,1,1,1\n")
    with pytest.raises(MissingData, match="the folder of the videos is not there"):
        all_of(path, videos=tmp_path / "openvid" / "video")
    with pytest.raises(MissingData, match=r"none of its 1 clips can be used:\n .*no such file.*hf download"):
        all_of(path, videos=path.parent, hub="nkp37/OpenVid-1M")
    (tmp_path / "nothing").mkdir()
    with pytest.raises(MissingData, match="no video in it"):
        all_of(tmp_path / "nothing")


def test_nothing_usable_is_an_error_with_examples(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{i}.mp4" for i in range(20)))
    path = jsonl(tmp_path / "c.jsonl", *({"video": f"{i}.mp4", "caption": ""} for i in range(20)))
    with pytest.raises(UsageError, match=r"none of its 20 clips(.|\n)*:1: empty(.|\n)*and 15 more"):
        all_of(path)


@settings(max_examples=20, deadline=None)
@given(st.sets(st.integers(0, 10**6), min_size=60, max_size=120), st.floats(0.15, 0.6), st.data())
def test_holdout_never_moves_a_clip(numbers: set[int], holdout: float, data: st.DataObject) -> None:
    import tempfile

    names = [f"{number}.mp4" for number in numbers]
    some = data.draw(st.permutations(names))[:50]

    def split(chosen: list[str]) -> dict[str, set[str]]:
        with tempfile.TemporaryDirectory() as folder:
            touch(Path(folder), *chosen)
            path = jsonl(Path(folder) / "c.jsonl", *({"video": name, "caption": "x"} for name in chosen))
            sides = {}
            for side in ("train", "validation"):
                source = build(Clips(path=path, holdout=holdout), side)  # type: ignore[arg-type]
                sides[side] = {sample.id for sample in samples(source)}
            return sides

    whole, part = split(names), split(some)
    assert whole["train"] | whole["validation"] == set(names)
    assert not whole["train"] & whole["validation"]
    for side in ("train", "validation"):
        assert part[side] == whole[side] & set(some)


def test_holdout_takes_its_share(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{i}.mp4" for i in range(2000)))
    path = jsonl(tmp_path / "c.jsonl", *({"video": f"{i}.mp4", "caption": "x"} for i in range(2000)))
    assert 0.08 < len(build(Clips(path=path), "validation")) / 2000 < 0.12
    everything = Clips(path=path, holdout=0)
    assert len(build(everything, "train")) == len(build(everything, "validation")) == 2000


def test_too_few_clips_to_hold_one_out_says_what_would_do(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    path = jsonl(tmp_path / "c.jsonl", *({"video": f"{x}.mp4", "caption": "x"} for x in "abc"))
    with pytest.raises(UsageError, match="leaves none for validation") as caught:
        build(Clips(path=path, holdout=0.001), "validation")
    enough = float(str(caught.value).split("; ")[1].split()[0])
    assert len(build(Clips(path=path, holdout=enough), "validation")) == 1


def test_sources_are_small_and_cross_processes(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{i}.mp4" for i in range(500)))
    path = jsonl(tmp_path / "c.jsonl", *({"video": f"{i}.mp4", "caption": "word " * 200} for i in range(500)))
    source = all_of(path)
    packed = pickle.dumps(source)
    assert len(packed) < 500 * 20 + 2000
    assert samples(pickle.loads(packed)) == samples(source)


def test_a_manifest_that_changes_during_a_run_is_noticed(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    path = jsonl(tmp_path / "c.jsonl", {"video": "a.mp4", "caption": "x"})
    source = all_of(path)
    jsonl(path, {"video": "b.mp4", "caption": "another"})
    with pytest.raises(UsageError, match="changed while it was in use"):
        source[0]


def test_fingerprint_follows_the_samples(tmp_path: Path) -> None:
    touch(tmp_path, "a.mp4", "b.mp4")
    rows = [{"video": "a.mp4", "caption": "x"}, {"video": "b.mp4", "caption": "y"}]
    one = all_of(jsonl(tmp_path / "1.jsonl", *rows)).fingerprint()
    assert all_of(jsonl(tmp_path / "2.jsonl", *rows)).fingerprint() == one
    rows[1]["caption"] = "z"
    assert all_of(jsonl(tmp_path / "3.jsonl", *rows)).fingerprint() != one
    assert all_of(jsonl(tmp_path / "4.jsonl", *rows[:1])).fingerprint() != one

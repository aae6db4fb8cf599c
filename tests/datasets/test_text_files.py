"""Text files are read whole and as they are: no row swallows another, no mark or zero gets into a caption."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fvlm_clips.config import Clips
from fvlm_clips.source import ClipSource, build
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import run_cli

from fvlm_core.datasets.sources.csv_rows import CSVRows
from fvlm_core.datasets.sources.rows import JSONArray, JSONLines
from fvlm_core.utils.errors import Problems, UsageError
from fvlm_core.utils.text_encodings import NotText, decoded

HEADER = "video,caption\n"


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))


def read(file: Path, *columns: str) -> list[Any]:
    """Every row of a CSV file: its values, or why it is none; read again by its place, it is the same."""
    opened = CSVRows(file, columns=columns or ("video", "caption"))
    found: list[Any] = []
    for row in opened.scan():
        assert row.error or opened.read(row.start, row.length)[0] == row.record
        found.append(row.error or tuple(row.record.values()))
    return found


def written(folder: Path, content: str | bytes, name: str = "rows.csv") -> Path:
    file = folder / name
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


OPEN = "a quotation mark left open"


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize(
    ("rows", "line"),
    [
        ('1.mp4,"open\n2.mp4,two\n3.mp4,three\n', 2),
        ('1.mp4,one\n2.mp4,two\n3.mp4,"open\n', 4),
        ('1.mp4,one\n2.mp4,two\n3.mp4,"open', 4),
        ('1.mp4,"a\nb"\n2.mp4,"open\n3.mp4,three\n', 4),  # the row before holds a line break, as it may
        ('1.mp4,one\n"2.mp4,two\n3.mp4,three\n', 3),  # in the other column
        ('1.mp4,"open\n2.mp4,two\n3.mp4,"three, quoted"\n4.mp4,four\n', 2),  # met by a later mark
        ('1.mp4,"open\n2.mp4,two\n"3.mp4",three\n', 2),
        ('1.mp4,"open\n2.mp4,two\n3.mp4,he says "hi"\n', 2),
        (
            '1.mp4,"open\n2.mp4,two\n3.mp4,a board of 5"\n4.mp4,four\n',
            2,
        ),  # closed by a later mark, at a row's end
        ('1.mp4,"open\n2.mp4,""\n3.mp4,three\n', 2),
        ('1.mp4,"open\n2.mp4,two\n3.mp4,"open, too\n4.mp4,four\n', 2),
        ('1.mp4,"open\n' + "2.mp4,many more rows\n" * 250_000, 2),  # longer than any field
    ],
)
def test_an_open_quotation_mark_is_an_error_where_it_opens(
    rows: str, line: int, line_end: str, tmp_path: Path
) -> None:
    file = written(tmp_path, (HEADER + rows).replace("\n", line_end))
    with pytest.raises(UsageError) as caught:
        read(file)
    assert str(caught.value).startswith(f"{file}:{line}: {OPEN}")


def test_an_open_quotation_mark_in_the_header_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problems, match=r"rows\.csv:1: no header of a CSV file: a quotation mark left open"):
        read(written(tmp_path, 'video,"caption\n1.mp4,one\n'))


def test_the_open_quotation_mark_of_a_manifest_ends_data_check_with_its_line(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, (shared / "cases/text/open_quote.csv").read_bytes(), "open_quote.csv")
    for number in (1, 2, 3):
        (tmp_path / f"{number}.mp4").write_bytes(b"x")
    with pytest.raises(UsageError, match=rf"{file}:2: {OPEN}"):
        build(Clips(path=file, holdout=0), "train")
    code, out, err = run_cli(["data", "check", "clips", "-o", f"path={file}"], monkeypatch, capsys)
    assert code == 2
    assert f"{file}:2: {OPEN}" in err
    assert "whole" not in out + err


text = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12) | st.sampled_from(
    ['he said "no"', "one,\ntwo", '"', '""', "\n", '5 inches (5")', '"quoted"', ", ", "a;b"]
)


@settings(max_examples=150, deadline=None)
@given(captions=st.lists(text, min_size=1, max_size=8), windows=st.booleans(), all_quoted=st.booleans())
def test_what_the_csv_module_writes_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, captions: list[str], windows: bool, all_quoted: bool
) -> None:
    rows = [(f"{n}.mp4", caption) for n, caption in enumerate(captions)]
    out = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    csv.writer(out, lineterminator="\r\n" if windows else "\n", quoting=quoting).writerows(
        [("video", "caption"), *rows]
    )
    assert read(written(tmp_path_factory.mktemp("rows"), out.getvalue())) == rows


@settings(max_examples=300, deadline=None)
@given(captions=st.lists(text, min_size=2, max_size=8), place=st.floats(0, 1), insert=st.booleans())
@example(["a", '"quoted"', 'a board of 5"'], 0.1, True)
def test_no_quotation_mark_too_many_or_too_few_costs_another_row_without_a_word(
    tmp_path_factory: pytest.TempPathFactory, captions: list[str], place: float, insert: bool
) -> None:
    rows = [(f"{n}.mp4", caption) for n, caption in enumerate(captions)]
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([("video", "caption"), *rows])
    content = out.getvalue()
    body = len(HEADER)
    places = [at for at in range(body, len(content) + 1) if insert or content[at : at + 1] == '"']
    if not places:
        return
    at = places[round(place * (len(places) - 1))]
    damaged = content[:at] + '"' + content[at:] if insert else content[:at] + content[at + 1 :]
    starts = [body]
    for row in rows:
        out = io.StringIO(newline="")
        csv.writer(out, lineterminator="\n").writerow(row)
        starts.append(starts[-1] + len(out.getvalue()))
    hit = next((n for n in range(len(rows)) if at < starts[n + 1]), len(rows) - 1)
    # A mark just before a row's first character may be taken for part of the row before.
    others = [row for n, row in enumerate(rows) if n != hit and at != starts[n]]
    try:
        found = read(written(tmp_path_factory.mktemp("rows"), damaged))
    except UsageError as error:
        assert OPEN in str(error)  # noqa: PT017
        return
    assert [row for row in others if row not in found] == []


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("1.mp4,one,more", "expected 2 fields as in the header, got 3"),
        ("1.mp4", "expected 2 fields as in the header, got 1"),
        (
            '1.mp4,"a "word" in it"',
            "not CSV: ',' expected after '\"': a quotation mark inside a field is written",
        ),
        ('1.mp4,"it says \\"hi\\" twice"', "a quotation mark inside a field is written twice"),
        ("1.mp4,a\0zero", "no text: a zero in it"),
        ("1.mp4,a\rreturn", "a carriage return in a field"),
    ],
)
def test_a_bad_row_is_named_and_costs_no_other(row: str, said: str, tmp_path: Path) -> None:
    found = read(written(tmp_path, f"{HEADER}0.mp4,before\n{row}\n\n2.mp4,after\n"))
    assert (found[0], found[2:]) == (("0.mp4", "before"), [("2.mp4", "after")])
    assert said in found[1]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("declared", [False, True])
def test_the_separator_is_found_where_only_one_can_be_meant(
    separator: str, declared: bool, tmp_path: Path
) -> None:
    first = f"sep={separator}\r\n" if declared else ""
    file = written(tmp_path, f'{first}"video"{separator}caption\r\n1.mp4{separator}"one, two; three"\r\n')
    assert read(file) == [("1.mp4", "one, two; three")]


def test_headers_that_do_not_say_which_column_is_meant_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Problems, match=r':1: column "caption" stands 2 times in the header'):
        read(written(tmp_path, "video,caption,caption\n1.mp4,a,b\n"))
    assert read(written(tmp_path, "video,score,caption,score\n1.mp4,1,a,2\n")) == [("1.mp4", "a")]
    with pytest.raises(Problems, match=r"no column .video. among 1\.mp4, one; the first line has to name"):
        read(written(tmp_path, "1.mp4,one\n2.mp4,two\n"))
    with pytest.raises(Problems, match='no column "video" among none'):
        read(written(tmp_path, ""))


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"]


def encoded(content: str, encoding: str) -> bytes:
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    return (mark + content).encode(encoding)


@pytest.mark.parametrize("encoding", ENCODINGS[:-1])
def test_a_byte_order_mark_says_how_a_file_is_read(encoding: str, tmp_path: Path) -> None:
    rows = [("a.mp4", "Ein Käfer – 虫"), ("b.mp4", "two\nlines")]
    text = 'video,caption\na.mp4,Ein Käfer – 虫\nb.mp4,"two\nlines"\n'
    assert read(written(tmp_path, encoded(text, encoding))) == rows
    assert read(written(tmp_path, encoded(text.replace(",", "\t"), encoding), "rows.tsv")) == rows
    lines = encoded('{"a": "Käfer"}\n{"a": "虫"}\n', encoding)
    found = JSONLines(written(tmp_path, lines, "rows.jsonl"))
    assert [row.record for row in found.scan()] == [{"a": "Käfer"}, {"a": "虫"}]
    found = JSONArray(written(tmp_path, encoded('[{"a": "Käfer"}, {"a": "虫"}]', encoding), "rows.json"))
    assert [row.record for row in found.scan()] == [{"a": "Käfer"}, {"a": "虫"}]
    assert decoded(encoded("A dog – 虫\n", encoding)) == "A dog – 虫\n"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl", "rows.json"])
def test_utf16_without_a_mark_is_refused_by_its_name(encoding: str, name: str, tmp_path: Path) -> None:
    content = {
        "rows.csv": "video,caption\na.mp4,A dog\n",
        "rows.jsonl": '{"a": 1}\n',
        "rows.json": '[{"a": 1}]',
    }
    file = written(tmp_path, content[name].encode(encoding), name)
    expected = rf"{file}: not UTF-8 text: {encoding.upper().replace('16-', '16')} without a byte order mark"
    with pytest.raises(UsageError, match=f"{expected}.*iconv -f"):
        CSVRows(file, columns=("video",)) if name.endswith("csv") else JSONLines(file)
    with pytest.raises(NotText, match="without a byte order mark"):
        decoded(file.read_bytes())


def test_other_encodings_are_refused_with_byte_and_line() -> None:
    with pytest.raises(
        NotText, match=r"byte 0xE9 at byte 9 \(line 2\); if it is Latin-1, save it as UTF-8 \(iconv"
    ):
        decoded("A\nthe caf\xe9".encode("latin-1"))
    with pytest.raises(NotText, match=r"no text: a zero at character 3 \(line 2\)"):
        decoded(b"A\nb\0")
    with pytest.raises(NotText, match="not UTF-16-LE as its mark says"):
        decoded(b"\xff\xfeA\0\x00\xd8")


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")), st.sampled_from(ENCODINGS[:-1]))
def test_every_text_comes_back_from_every_encoding_with_a_mark(content: str, encoding: str) -> None:
    content = content.removeprefix("\ufeff")
    assert decoded(encoded(content, encoding)) == content


def folder_of(path: Path, *videos: str) -> Path:
    path.mkdir(exist_ok=True)
    for name in videos:
        (path / name).write_bytes(b"x")
    return path


def opened(path: Path, split: Any = "train", **settings: Any) -> ClipSource:
    return build(Clips(path=path, **{"holdout": 0.0, **settings}), split)


def captions(source: ClipSource) -> Iterator[str]:
    return (source[place].turns[1].content for place in range(len(source)))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_caption_beside_its_video_holds_no_mark_and_no_zero(encoding: str, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "clips", "a.mp4", "b.mp4")
    (folder / "a.txt").write_bytes(encoded("A café.\n", encoding))
    (folder / "b.txt").write_text("whole")
    source = opened(folder)
    assert list(captions(source)) == (["whole"] if encoding == "latin-1" else ["A café.", "whole"])
    said = [problem.text for problem in source.problems()]
    assert all(text.startswith("no caption: a.txt: not UTF-8 text: byte 0xE9") for text in said)
    assert len(said) == (encoding == "latin-1")


def test_the_caption_of_the_shared_file_begins_with_its_first_letter(shared: Path, tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "clips", "bom.mp4")
    (folder / "bom.txt").write_bytes((shared / "cases/text/bom.txt").read_bytes())
    assert list(captions(opened(folder))) == ["A dog runs across the grass."]


def test_a_caption_of_150_000_characters_is_one_sample(shared: Path, tmp_path: Path) -> None:
    folder_of(tmp_path, "1.mp4")
    file = written(tmp_path, (shared / "cases/text/long_caption.csv").read_bytes())
    source = opened(file)
    assert [len(caption) for caption in captions(source)] == [149_999]
    assert source.problems() == ()


def test_every_row_is_a_sample_and_no_video_is_in_both_splits(shared: Path, tmp_path: Path) -> None:
    folder_of(tmp_path, *(f"v{n}.mp4" for n in range(30)))
    content = (shared / "cases/text/many_captions.csv").read_text()
    file = written(tmp_path, content)
    source = opened(file)
    samples = [source[place] for place in range(len(source))]
    assert (len(samples), len({sample.id for sample in samples}), source.problems()) == (40, 40, ())
    assert len({sample.video.path for sample in samples}) == 2  # type: ignore[union-attr]
    assert [sample.id for sample in samples[:3]] == ["v0.mp4", "v0.mp4#2", "v0.mp4#3"]
    more = "".join(f"v{n}.mp4,caption {m} of video {n}\n" for m in range(3) for n in range(2, 30))
    grown = written(tmp_path, content + more, "grown.csv")
    sides = [opened(grown, split, holdout=0.4) for split in ("train", "validation")]
    shown = [{source[n].video.path for n in range(len(source))} for source in sides]  # type: ignore[union-attr]
    assert sum(map(len, sides)) == 40 + 3 * 28
    assert all(shown)
    assert not shown[0] & shown[1]
    ids = {source[n].id for source in sides for n in range(len(source))}
    assert {sample.id for sample in samples} <= ids  # stable when rows are added


@pytest.mark.parametrize("swallowed", ["2.mp4,three, four", "2.mp4,three, four, five", "2.mp4,three"])
def test_a_swallowed_row_is_found_whatever_commas_its_caption_holds(swallowed: str, tmp_path: Path) -> None:
    file = written(tmp_path, f'{HEADER}1.mp4,"one, two\n{swallowed}"\n3.mp4,z\n')
    with pytest.raises(UsageError, match=rf"{file}:2: {OPEN}"):
        read(file)


def test_captions_and_manifests_are_found_in_upper_and_lower_case(tmp_path: Path) -> None:
    beside = folder_of(tmp_path / "beside", "A.MTS", "b.mp4", "c.mp4")
    for name, caption in (("A.TXT", "one"), ("b.Txt", "two"), ("c.txt", "x"), ("c.TXT", "y")):
        (beside / name).write_text(caption)
    source = opened(beside)
    assert list(captions(source)) == ["one", "two"]
    assert [problem.text for problem in source.problems()] == [
        "two captions, of which one would be lost: c.TXT and c.txt"
    ]
    for name, content in (
        ("Captions.CSV", "video,caption\na.mp4,one\n"),
        ("METADATA.JSONL", '{"video": "a.mp4", "caption": "one"}\n'),
    ):
        folder = folder_of(tmp_path / name, "a.mp4")
        (folder / name).write_text(content)
        assert list(captions(opened(folder))) == ["one"]

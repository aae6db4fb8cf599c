"""Values, rows, row groups, lines and files that would fill the memory are named, and hide none of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fvlm_clips.config import Clips
from fvlm_clips.source import build as clips
from fvlm_datasets.configs.cauldron import Cauldron
from fvlm_datasets.sources.cauldron import build as cauldron

from fvlm_core.datasets.sources import csv_rows, parquet, rows
from fvlm_core.media.bad_sample import BadSample
from fvlm_core.plugin_api import DataSource
from fvlm_core.scaling.points import dialect
from fvlm_core.scaling.points import json_file as jsonfile
from fvlm_core.scaling.points import parquet_file as parquetfile
from fvlm_core.scaling.points.files import read_points
from fvlm_core.utils.errors import FvlmError, Problems, UsageError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))


def write(root: Path, pictures: list[Any], group: int) -> DataSource:
    """A table of one picture and one question a row."""
    texts = [[{"user": "What?", "assistant": f"answer {n}"}] for n in range(len(pictures))]
    table = pa.table({"images": [[one] for one in pictures], "texts": texts})
    (root / "set").mkdir(parents=True)
    pq.write_table(table, root / "set" / "0.parquet", row_group_size=group, compression="zstd")
    return cauldron(Cauldron(path=root, holdout=0), "train")


def answers(source: DataSource) -> list[str]:
    return [source[place].turns[-1].content for place in range(len(source))]


def picture(size: int) -> dict[str, Any]:
    return {"bytes": bytes(range(256)) * (size // 256), "path": ""}


def test_a_value_that_is_too_large_is_one_bad_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "MAX_RECORD", 100_000)
    source = write(tmp_path, [picture(size) for size in (512, 1 << 20, 512, 512)], 4)
    assert answers(source) == ["answer 0", "answer 2", "answer 3"]
    (problem,) = source.problems()
    assert problem.key == "row 1"
    assert "bytes, where at most 100,000 of one row are read" in problem.text


def test_a_row_group_that_is_too_large_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MAX_GROUP", 600_000)
    source = write(tmp_path, [picture(size) for size in (512, 512, 1 << 20, 512, 512, 512)], 2)
    assert answers(source) == ["answer 0", "answer 1", "answer 4", "answer 5"]
    assert [problem.key for problem in source.problems()] == ["row 2", "row 3"]
    assert all("with fewer rows in a group" in problem.text for problem in source.problems())


def test_a_table_that_grew_since_it_was_listed_gives_bad_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write(tmp_path, [picture(1 << 20)] * 2, 2)
    parquet._kept.clear()
    monkeypatch.setattr(parquet, "MAX_GROUP", 1000)
    with pytest.raises(BadSample, match="row 1 cannot be read: in a row group of"):
        source[1]


def test_row_groups_are_kept_within_the_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path, [picture(1 << 20)] * 6, 1)
    parquet._kept.clear()
    monkeypatch.setattr(parquet, "MAX_GROUP", 1_500_000)
    assert answers(source) == [f"answer {n}" for n in range(6)]
    assert len(parquet._kept) == 1
    monkeypatch.setattr(parquet, "MAX_GROUP", 5_000_000)
    answers(source)
    assert len(parquet._kept) == 2


NULLS: dict[str, Any] = {
    "images": [[None], [{"bytes": None, "path": None}], None, [], [{"bytes": b"\xff\xd8\xff", "path": "a"}]],
    "texts": [[None], None, [], [{"user": None, "assistant": "a"}], [{"user": "q", "assistant": "a"}]],
}


def test_nulls_at_any_depth_are_bad_rows(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    images = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    texts = pa.list_(pa.struct([("user", pa.string()), ("assistant", pa.string())]))
    pairs = [(image, text) for image in NULLS["images"] for text in NULLS["texts"]]
    columns = [pa.array([image for image, _ in pairs], images), pa.array([text for _, text in pairs], texts)]
    pq.write_table(pa.table(columns, names=["images", "texts"]), tmp_path / "set" / "0.parquet")
    source = cauldron(Cauldron(path=tmp_path, holdout=0), "train")
    assert answers(source) == ["a"]
    assert len(source.problems()) == len(pairs) - 1


def test_lines_of_captions_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
    monkeypatch.setattr(rows, "MAX_ROW", 1000)
    monkeypatch.setattr(rows, "_CHUNK", 300)
    lines = [
        json.dumps({"video": f"{name}.mp4", "caption": words})
        for name, words in (("a", "x" * 5000), ("b", "y"))
    ]
    (tmp_path / "captions.jsonl").write_text("\n".join(lines))
    source = clips(Clips(path=tmp_path, holdout=0), "train")
    assert answers(source) == ["y"]
    assert "longer than 1,000 bytes" in str(source.problems()[0])


def test_a_row_of_many_long_fields_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(csv_rows, "_LONGEST", 10_000)
    (tmp_path / "a.mp4").write_bytes(b"x")
    fields = ",".join('"line\nline"' for _ in range(2000))
    (tmp_path / "captions.csv").write_text(f"video,caption\na.mp4,fine\nb.mp4,{fields}\n")
    with pytest.raises(
        UsageError, match=r"captions.csv:3: more than 10,000 bytes in the row that begins here"
    ):
        clips(Clips(path=tmp_path, holdout=0), "train")


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_lines_of_tables_are_bounded(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect, "LONGEST", 1000)
    table = "N,D,loss,note\n" + "".join(f"1e6,{n}e6,{2 + 1 / n:.4f},short\n" for n in range(1, 200))
    file = tmp_path / "t.csv"
    file.write_bytes(table.replace("\n", ending).encode())
    assert len(read_points([file]).table) == 199
    for length in (1001, 2500, 100_000):
        file.write_bytes((table + f"1e6,5e6,2.5,{'x' * length}\n" + table).replace("\n", ending).encode())
        with pytest.raises(UsageError, match="more than 1,000 bytes in one line"):
            read_points([file])


def test_texts_of_a_parquet_table_and_json_files_are_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {"N": np.full(3, 1e6), "D": np.arange(1.0, 4.0), "loss": np.arange(3.0, 0.0, -1.0)}
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({**plain, "run": ["a" * 3000, "b", "c"]}), file)
    monkeypatch.setattr(parquetfile, "LARGEST", 1000)
    with pytest.raises(Problems, match=r"run: .*bytes in row group 0, where 1,000 are read"):
        read_points([file])
    monkeypatch.setattr(jsonfile, "LARGEST", 100)
    (tmp_path / "t.json").write_text(json.dumps([{"N": 1, "D": 2, "loss": 3.0}] * 20))
    with pytest.raises(FvlmError, match=r"at most 100 are read"):
        read_points([tmp_path / "t.json"])

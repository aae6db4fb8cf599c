"""A row that is not built as its data set's rows are is named, and costs no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

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
from shard_fixtures import jpeg
from videos import write_video

from fvlm_core.datasets.sources.rows import Refused, of_another_shape

ASKED, ANSWERED = {"role": "user", "content": "What?"}, {"role": "assistant", "content": "A cat."}


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))


def table(file: Path, rows: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), file)


@pytest.mark.parametrize("messages", [[None], [ASKED, None], None, []])
def test_of_smoltalk(messages: Any, tmp_path: Path) -> None:
    table(
        tmp_path / "data/all/train-00000-of-00001.parquet",
        [{"messages": [ASKED, ANSWERED]}, {"messages": messages}],
    )
    source = smoltalk(SmolTalk(path=tmp_path), "train")
    assert len(source) == 1
    assert [problem.key for problem in source.problems()] == ["row 1"]


@pytest.mark.parametrize(
    "texts", ["a string", [None], [{"user": "q"}], [["a"]], [1], {"user": "q", "assistant": "a"}]
)
def test_of_the_cauldron(texts: Any, tmp_path: Path) -> None:
    picture = {"bytes": jpeg(5), "path": None}
    table(tmp_path / "a/1.parquet", [{"images": [picture], "texts": [{"user": "q", "assistant": "a"}]}])
    table(tmp_path / "a/2.parquet", [{"images": [picture], "texts": texts}])
    source = cauldron(Cauldron(path=tmp_path, holdout=0), "train")
    assert len(source) == 1
    assert [Path(problem.file).name for problem in source.problems()] == ["2.parquet"]


@pytest.mark.parametrize("column", ["image", "question", "chosen", "rejected"])
@pytest.mark.parametrize("value", [None, 3, ["x"], {"x": [1]}])
def test_of_rlaif_v(column: str, value: Any, tmp_path: Path) -> None:
    good = {"image": {"bytes": jpeg(5), "path": "a"}, "question": "q", "chosen": "a", "rejected": "b"}
    table(tmp_path / "RLAIF-V-Dataset_000.parquet", [good])
    table(tmp_path / "RLAIF-V-Dataset_001.parquet", [{**good, column: value}])
    source = rlaif_v(RLAIFV(path=tmp_path, holdout=0), "train")
    assert len(source) == 1
    assert len(source.problems()) == 1


@pytest.mark.parametrize(
    "said",
    [
        [{"from": ["x"], "value": "q"}],
        [{"from": {}, "value": 3}],
        [None],
        "text",
        [{"value": "q"}],
        {"from": "human"},
    ],
)
def test_of_llava_video(said: Any, tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    write_video(tmp_path / "part/a.mp4", 3, fps=1)
    good = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]
    rows = [
        {"id": "x", "conversations": turns, "video": "a.mp4", "data_source": "s"} for turns in (good, said)
    ]
    rows.append({**rows[0], "id": "\ud800"})
    (tmp_path / "part/0_30_s_oe.json").write_text(json.dumps(rows))
    source = llava_video(LLaVAVideo(path=tmp_path, holdout=0), "train")
    assert len(source) == 1
    assert [problem.key for problem in source.problems()] == ["row 2", "row 3"]


@pytest.mark.parametrize("error", [TypeError("x"), KeyError("x"), AttributeError("x"), ValueError("x")])
def test_of_any_source(error: Exception) -> None:
    with pytest.raises(Refused, match="not built as the rows of this data set are: "), of_another_shape():
        raise error

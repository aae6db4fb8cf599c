"""Data sets in Parquet tables, read as published: exactly the usable rows, in order, with their pictures and turns."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import published_tables as published
import pytest
from fvlm_datasets.configs.cauldron import Cauldron
from fvlm_datasets.configs.rlaif_v import RLAIFV
from fvlm_datasets.configs.smoltalk import SmolTalk
from fvlm_datasets.sources.cauldron import build as cauldron
from fvlm_datasets.sources.rlaif_v import build as rlaif_v
from fvlm_datasets.sources.smoltalk import build as smoltalk
from videos import index_of

from fvlm_core.media.bad_sample import BadSample
from fvlm_core.media.frames import count_frames, decode_frames
from fvlm_core.plugin_api import DataSource, ImageFile, MissingData, Problems, Sample, UsageError


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))


def samples(source: DataSource) -> list[Sample]:
    return [pickle.loads(pickle.dumps(source))[place] for place in range(len(source))]


def said(source: DataSource) -> list[tuple[str, list[tuple[str, str]]]]:
    return [(s.id, [(turn.role, turn.content) for turn in s.turns]) for s in samples(source)]


def indices(sample: Sample) -> list[int]:
    frames = decode_frames(sample, 48)
    assert frames.shape == (count_frames(sample), 3, 48, 48)
    return [index_of(frame) for frame in frames]


def problems(source: DataSource) -> list[str]:
    return [str(problem) for problem in source.problems()]


def test_smoltalk_keeps_every_turn_and_no_picture(tmp_path: Path) -> None:
    published.smoltalk(tmp_path)
    source = smoltalk(SmolTalk(path=tmp_path), "train")
    first, second = "all/train-00000-of-00002", "all/train-00001-of-00002"
    assert said(source) == [
        (f"{first}/0", [("user", "Hi"), ("assistant", "Hello!"), ("user", "Bye"), ("assistant", "See you.")]),
        (f"{first}/1", [("system", "Be brief."), ("user", "2 + 2?"), ("assistant", "4")]),
        (f"{second}/0", [("user", "\n\nSpaces? "), ("assistant", "\n\nYes. ")]),
    ]
    assert problems(source) == [f"{tmp_path}/data/all/train-00000-of-00002.parquet: row 2: no answer in it"]
    assert not any(sample.visual for sample in samples(source))
    assert len(smoltalk(SmolTalk(path=tmp_path), "validation")) == 1
    with pytest.raises(MissingData, match=r"data/longalign.*fvlm data fetch smoltalk --to"):
        smoltalk(SmolTalk(path=tmp_path, subset="longalign"), "train")


def test_smol_smoltalk_lies_in_a_folder_of_its_own(tmp_path: Path) -> None:
    published.smol_smoltalk(tmp_path)
    source = smoltalk(SmolTalk(path=tmp_path, subset="smol-smoltalk"), "train")
    assert source.name == "smol-smoltalk"
    assert [sample.turns[0].content for sample in samples(source)] == [f"train {n}?" for n in range(8)]


def test_cauldron_shows_every_picture_in_every_colour_mode(tmp_path: Path) -> None:
    published.cauldron(tmp_path)
    source = cauldron(Cauldron(path=tmp_path, holdout=0), "train")
    found = samples(source)
    assert [len(sample.turns) for sample in found] == [4, 2, 2, 2, 2, 2, 2, 2]
    assert found[0].turns[2].content == "Which?"
    undecodable = found.pop(5)
    assert [indices(sample) for sample in found] == [
        [500], [501], [502], [503], [504], [500, 510], [510, 511],
    ]  # fmt: skip
    with pytest.raises(BadSample, match="row 5, picture 0: not a JPEG, PNG or WEBP picture"):
        decode_frames(undecodable, 48)
    file = tmp_path / "ai2d/train-00000-of-00001-2ce340398c113b79.parquet"
    assert problems(source) == [
        f"{file}: row 6: no picture",
        f"{file}: row 7: a picture without bytes",
        f"{file}: row 8: no answer in it",
    ]
    assert [sample.id for sample in found[-2:]] == [
        f"nlvr2/train-00000-of-00001-0123456789abcdef/{n}" for n in (0, 1)
    ]
    assert len(cauldron(Cauldron(path=tmp_path, subsets=("nlvr2",), holdout=0), "train")) == 2
    few = cauldron(Cauldron(path=tmp_path, subsets=("nlvr2", "ai2d"), max_images=1, holdout=0), "train")
    assert "2 pictures, where at most 1 are shown" in problems(few)[0]


def test_settings_of_a_listing_are_part_of_its_name_in_the_cache(tmp_path: Path) -> None:
    published.cauldron(tmp_path)
    everything = cauldron(Cauldron(path=tmp_path, subsets=("nlvr2",), holdout=0), "train")
    assert len(everything) == 2
    with pytest.raises(UsageError, match="none of its 2 rows can be used"):
        cauldron(Cauldron(path=tmp_path, subsets=("nlvr2",), max_images=1, holdout=0), "train")


def test_rows_that_share_a_picture_share_a_split(tmp_path: Path) -> None:
    published.cauldron(tmp_path)
    published.rlaif_v(tmp_path)
    for build, config in ((cauldron, Cauldron), (rlaif_v, RLAIFV)):
        divided = 0
        for holdout in (n / 16 for n in range(1, 16)):
            sides: list[set[bytes]] = []
            for split in ("train", "validation"):
                try:
                    source: Any = build(config(path=tmp_path, holdout=holdout), split)  # type: ignore[arg-type]
                except UsageError as error:
                    assert "leaves none for" in str(error)  # noqa: PT017
                    continue
                sides.append({image.data or b"" for sample in samples(source) for image in sample.images})
            if len(sides) == 2:
                divided += 1
                assert not sides[0] & sides[1]
        assert divided


def test_rlaif_v_gives_pairs(tmp_path: Path) -> None:
    published.rlaif_v(tmp_path)
    source = rlaif_v(RLAIFV(path=tmp_path, holdout=0), "train")
    found = samples(source)
    assert [(s.turns[0].content, s.turns[1].content, s.rejected[1].content) for s in found] == [
        ("What is it?", "A cat.", "A dog."),
        ("How many?", "One.", "Two."),
        ("Where?", "Here.", "There."),
    ]
    assert all(sample.rejected[0] == sample.turns[0] for sample in found)
    assert [indices(sample) for sample in found] == [[600], [600], [602]]
    assert problems(source) == [
        f"{tmp_path}/RLAIF-V-Dataset_000.parquet: row 2: chosen and rejected are the same"
    ]


def test_a_still_is_repeated_and_several_are_not(tmp_path: Path) -> None:
    published.cauldron(tmp_path)
    source = cauldron(Cauldron(path=tmp_path, holdout=0), "train")
    assert [index_of(frame) for frame in decode_frames(source[0], 48, 3)] == [500] * 3
    assert count_frames(source[0], 3) == 3
    assert [index_of(frame) for frame in decode_frames(source[6], 48, 3)] == [500, 510]
    assert count_frames(source[6], 3) == 2


def test_a_document_is_letterboxed_and_a_crop_is_asked_for(tmp_path: Path) -> None:
    wide = ImageFile(tmp_path / "x", data=published.still(5, size=(120, 60)), name="wide")
    frame = decode_frames(Sample("x", "x", (), images=(wide,)), 60)[0]
    assert frame[:, :14].max() == frame[:, 46:].max() == 0  # bars
    assert abs(int(frame[0, 30, 5]) - 128) < 10  # the left edge is there
    cropped = ImageFile(tmp_path / "x", data=wide.data, fit="crop")
    assert index_of(decode_frames(Sample("x", "x", (), images=(cropped,)), 60)[0]) == 5


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    published.smoltalk(tmp_path)
    file = tmp_path / "data/all/train-00001-of-00002.parquet"
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    with pytest.raises(Problems, match=r"train-00001-of-00002\.parquet: no Parquet file, or cut short"):
        smoltalk(SmolTalk(path=tmp_path), "train")
    file.write_bytes(b"<!doctype html>" + content[15:])
    with pytest.raises(Problems, match=r"train-00001-of-00002\.parquet"):
        smoltalk(SmolTalk(path=tmp_path), "train")


def test_fixtures_load_with_the_datasets_library_as_on_the_hub(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    published.smoltalk(tmp_path / "smoltalk")
    published.cauldron(tmp_path / "cauldron")
    published.rlaif_v(tmp_path / "rlaif")

    def load(*files: Path) -> Any:
        return datasets.load_dataset(
            "parquet",
            data_files=[str(file) for file in files],
            split="train",
            cache_dir=str(tmp_path / "hub"),
        )

    chats = load(*sorted((tmp_path / "smoltalk/data/all").glob("train-*")))
    source = smoltalk(SmolTalk(path=tmp_path / "smoltalk"), "train")
    assert [chats[n]["messages"][-1]["content"] for n in (0, 1, 3)] == [
        s.turns[-1].content for s in samples(source)
    ]
    rows = load(*(tmp_path / "cauldron").glob("nlvr2/*"))
    rows = rows.cast_column("images", datasets.List(datasets.Image()))
    assert rows[1]["images"][0].size == (published.SIDE, published.SIDE)
    pairs = load(*sorted((tmp_path / "rlaif").glob("*.parquet")))
    assert pairs.column_names[:5] == ["ds_name", "image", "question", "chosen", "rejected"]

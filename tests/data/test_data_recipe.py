"""What a recipe says of its data: share of text, weights by length, filters, repeats; what inspect draws."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fvlm_smollm2.chat import from_corpus
from PIL import Image
from shard_fixtures import clip, jpeg, write_tar
from tiny import CONNECTOR, ENCODER, LLM, TRAINING, run_cli

from fvlm_core.data.collate import Preparer
from fvlm_core.data.loader import validation_set
from fvlm_core.data.mixture_weights import make_mixture
from fvlm_core.data.sources import open_sources
from fvlm_core.recipes.read import read_recipe
from fvlm_core.recipes.schema import RunRecipe
from fvlm_core.runs.store import find_run
from fvlm_core.utils.errors import FvlmError, Problems, UsageError


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """long: 8 clips of 6 frames; short: 8 clips of 2; stills: 4 pictures; texts: 10 chats."""
    folder = tmp_path_factory.mktemp("shards")
    for name, frames in (("long", 6), ("short", 2)):
        members: dict[str, Any] = {}
        for n in range(8):
            members |= clip(f"{n}", {"caption": f"{name} clip {n}"}, frames, size=48)
        write_tar(folder / name / "0.tar", members)
    stills: dict[str, Any] = {f"{n}.jpg": jpeg(n, 48, 48) for n in range(4)}
    write_tar(
        folder / "stills" / "0.tar", stills | {f"{n}.json": {"caption": f"still {n}"} for n in range(4)}
    )
    texts = {f"{n}.json": {"user": "say", "assistant": "word " * 30} for n in range(10)}
    write_tar(folder / "texts" / "0.tar", texts)
    return folder


def recipe(folder: Path, shards: Path, data: str, sources: tuple[str, ...] = ("long", "short")) -> RunRecipe:
    tables = "".join(
        f'[[data.sources]]\nname = "shards"\npath = "{shards / name}"\nholdout = 0.0\ncache = "{folder}/cache"\n'
        for name in sources
    )
    text = f'name = "r"\n{ENCODER}{CONNECTOR}{LLM}{TRAINING}[data]\n{data}\n{tables}'
    (folder / "r.toml").write_text(text)
    return read_recipe(str(folder / "r.toml")).runs[0].config


def text_line(shards: Path, share: float = 0.14) -> str:
    return f'text = {{ name = "shards", path = "{shards}/texts", share = {share}, holdout = 0.0 }}'


CHAT = from_corpus(["say word long short clip still", *map(str, range(20))])


def test_text_retention_is_one_line(shards: Path, tmp_path: Path) -> None:
    config = recipe(tmp_path, shards, text_line(shards))
    sources = open_sources(config.data)
    assert [source.name for source in sources.train] == ["shards:long", "shards:short", "shards:texts"]
    assert len(sources.validation) == 2
    mixture = make_mixture(config.data, sources.train, CHAT, 0)
    assert mixture.drawn(10_000) == [4300, 4300, 1400]


def test_weights_are_of_what_the_recipe_says(shards: Path, tmp_path: Path) -> None:
    frames = recipe(tmp_path, shards, 'weigh_by = "frames"')
    drawn = make_mixture(frames.data, open_sources(frames.data).train, CHAT, 0).drawn(10_000)
    assert drawn == [2500, 7500]  # 6 and 2 frames a sample: as many frames of each
    tokens = recipe(tmp_path, shards, f'weigh_by = "tokens"\n{text_line(shards, 0.5)}')
    sources = open_sources(tokens.data).train
    drawn = make_mixture(tokens.data, sources, CHAT, 0).drawn(100_000)
    means = [np.mean([len(CHAT.encode(s[n].turns).ids) for n in range(len(s))]) for s in sources]
    totals = [count * mean for count, mean in zip(drawn, means, strict=True)]
    assert totals[2] / sum(totals) == pytest.approx(0.5, abs=1e-3)
    assert totals[0] / sum(totals) == pytest.approx(0.25, abs=1e-3)


def test_sources_that_end_must_suffice(shards: Path, tmp_path: Path) -> None:
    config = recipe(tmp_path, shards, 'exhausted = "end"')
    sources = open_sources(config.data).train
    assert make_mixture(config.data, sources, CHAT, 0, 16).places == 16
    with pytest.raises(FvlmError, match="hold 16 samples and 17"):
        make_mixture(config.data, sources, CHAT, 0, 17)


def test_samples_outside_the_bounds_are_left_out_and_said(shards: Path, tmp_path: Path) -> None:
    config = recipe(tmp_path, shards, "max_frames = 6\nmin_frames = 2")
    assert [len(source) for source in open_sources(config.data).train] == [8, 8]
    config = recipe(tmp_path, shards, f"min_frames = 3\n{text_line(shards)}", ("long",))
    assert [len(source) for source in open_sources(config.data).train] == [8, 10]
    config = recipe(tmp_path, shards, "min_frames = 3")
    with pytest.raises(UsageError, match="8 of 8 samples have fewer than 3 frames"):
        open_sources(config.data)


def test_images_are_repeated_in_validation_too(shards: Path, tmp_path: Path) -> None:
    config = recipe(tmp_path, shards, "image_repeats = 8", ("stills", "short"))
    sources = open_sources(config.data)
    preparer = Preparer(CHAT, 42, "all", 64, False, config.data.image_repeats)
    held_out = validation_set(sources.validation, preparer, 12, 4)
    counts = sorted(count for batch in held_out.batches for count in batch.counts.tolist())
    assert counts == [2] * 6 + [8] * 4
    example = preparer.example(sources.train[0][1])
    assert example.frames.shape[0] == 8
    assert (example.frames == example.frames[:1]).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('weigh_by = "sample"', 'expected "samples" or "tokens" or "frames"'),
        ("min_frames = 9\nmax_frames = 2", "min_frames is 9 and max_frames 2"),
        ('text = { name = "shards", path = "x", share = 1.5 }', "data.text.share"),
        ('text = { name = "shards", path = "x", weight = 0.1 }', "data.text.weight: unknown key"),
        ("image_repeats = 0", "data.image_repeats"),
    ],
)
def test_mistakes_are_named(line: str, message: str, shards: Path, tmp_path: Path) -> None:
    with pytest.raises(Problems) as caught:
        recipe(tmp_path, shards, line)
    assert message in str(caught.value)


def test_inspect_draws_a_sheet_and_a_page(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe(tmp_path, shards, text_line(shards))
    code, out, err = run_cli(
        ["data", "inspect", "r.toml", "--samples", "6", "--to", "seen"], monkeypatch, capsys
    )
    assert code == 0, err
    assert "seen/samples.png" in out
    page = (tmp_path / "seen" / "samples.html").read_text()
    assert page.count("<h2>") == 7
    assert "http" not in page
    assert "src='data:image/jpeg;base64," in page
    assert "&lt;|im_start|&gt;" in page
    with Image.open(tmp_path / "seen" / "samples.png") as sheet:
        assert sheet.width > 900
        assert len(sheet.convert("RGB").getcolors(1 << 24) or []) > 50


def test_a_run_with_text_and_stills_is_measured_moved_and_exported_like_any_other(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def cli(*arguments: str) -> str:
        code, out, err = run_cli([*arguments], monkeypatch, capsys)
        assert code == 0, err
        return out

    monkeypatch.chdir(tmp_path)
    here = tmp_path / "shards"
    shutil.copytree(shards, here)
    recipe(tmp_path, here, f"image_repeats = 3\n{text_line(here)}", ("stills", "short"))
    cli("run", "r.toml", "-o", "training.steps=2")
    (row,) = find_run("r/r", tmp_path / "runs").evaluations()
    (measured,) = json.loads(cli("eval", "r/r", "--json"))["modes"].values()
    assert measured["val_loss"] == row["val_loss"]
    assert "shards:texts" in cli("eval", "r/r", "--data", "shards")
    cli("weights", "export", "r/r", "--to", "exported")
    assert "| shards:texts |  | 10 | 14 % of all |" in (tmp_path / "exported" / "README.md").read_text()
    there = here.rename(tmp_path / "moved")
    recipe(tmp_path, there, f"image_repeats = 3\n{text_line(there)}", ("stills", "short"))
    assert "already complete" in cli("run", "r.toml", "-o", "training.steps=2")

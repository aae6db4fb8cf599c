"""Decoders by name: somebody else's trains like the core's own, and another one is another run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from attrs import evolve
from manual import examples
from tiny import RECIPE, run_cli, train
from videos import index_of, write_video

from fvlm_core.data.sources import open_sources
from fvlm_core.interfaces.data import VideoFile
from fvlm_core.media.decoders import decode_timed, open_decoder
from fvlm_core.media.frames import count_frames, decode_frames
from fvlm_core.recipes.read import from_resolved, read_recipe
from fvlm_core.recipes.resolved import resolved
from fvlm_core.utils.errors import FvlmError, Problems
from fvlm_registry import registry

STILL = 'data.decoder={ name = "still", grey = 90 }'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a recipe, which is the current one; the decoder of the manual is installed."""
    site = tmp_path / "site"
    for path, source in examples("fvlm_decoders").items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(source)
    info = site / "fvlm_acme_still-0.2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fvlm-acme-still\nVersion: 0.2.0\n")
    (info / "entry_points.txt").write_text("[fvlm]\nstill = acme_still.plugin\n")
    (tmp_path / "tiny.toml").write_text(RECIPE)
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    registry.cache_clear()
    yield tmp_path
    registry.cache_clear()


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    return lambda *arguments: run_cli(list(arguments), monkeypatch, capsys)


def record(place: Path) -> dict[str, Any]:
    return json.loads((place / "runs/tiny/tiny/recipe.json").read_text())


def test_a_third_party_decoder_trains_by_name_and_another_is_drift(
    place: Path, cli: Callable[..., Any]
) -> None:
    train(place / "tiny.toml", place / "runs", STILL, until=2)
    assert record(place)["software"]["decoder"] == "acme-still 0.2.0"
    assert record(place)["software"]["plugins"]["still"] == "fvlm-acme-still 0.2.0"
    assert record(place)["resolved"]["data"]["decoder"] == {"name": "still:still", "grey": 90}
    code, _, err = cli("run", "tiny.toml")
    assert code == 2
    assert "data      data.decoder.name: still:still -> not set" in err
    assert "software  software.decoder: acme-still 0.2.0 -> av " in err
    code, _, err = cli("run", "tiny.toml", "-o", STILL.replace("90", "91"))
    assert code == 2
    assert "data  data.decoder.grey: 90 -> 91" in err
    code, _, err = cli("run", "tiny.toml", "-o", STILL)
    assert code == 0, err
    assert json.loads((place / "runs/tiny/tiny/summary.json").read_text())["total_steps"] == 6


def test_every_clip_of_a_run_is_decoded_by_its_decoder(place: Path) -> None:
    data = read_recipe("tiny.toml", [STILL]).runs[0].config.data
    opened = open_sources(data)
    for source in (*opened.train, *opened.validation):
        sample = source[0]
        frames = decode_frames(sample, 42)  # nothing is drawn yet: the core's own decoder would find no file
        assert (frames == 90).all()
        assert len(frames) == count_frames(sample)
        plain = open_sources(evolve(data, decoder=None)).train[0]
        assert opened.train[0].fingerprint() == plain.fingerprint()


def test_a_recipe_that_names_the_default_is_the_recipe_that_names_none(
    place: Path, cli: Callable[..., Any]
) -> None:
    train(place / "tiny.toml", place / "runs", until=2)
    assert "decoder" not in record(place)["resolved"]["data"]
    for name in ("pyav", "pyav:pyav"):
        config = read_recipe("tiny.toml", [f"data.decoder={name}"]).runs[0].config
        assert resolved(config) == record(place)["resolved"]
    code, _, err = cli("run", "tiny.toml", "-o", "data.decoder=pyav")
    assert (code, "data.decoder" in err) == (0, False), err


def test_a_decoder_survives_the_record_of_its_run(place: Path) -> None:
    config = read_recipe("tiny.toml", ["data.decoder=still"]).runs[0].config
    assert from_resolved(resolved(config)).data.decoder == evolve(config.data.decoder, name="still:still")


def test_a_wrong_decoder_is_refused_at_its_key(place: Path) -> None:
    for setting, message in (
        ("data.decoder=stil", 'data.decoder: none of the decoders is called "stil": did you mean "still"?'),
        ('data.decoder={ name = "still", gray = 1 }', 'data.decoder.gray: unknown key; did you mean "grey"?'),
        ("data.decoder=3", 'data.decoder: expected a table, as in { name = "..." }'),
        ("data.decoder={ grey = 1 }", "data.decoder.name: missing; expected the name of a decoder"),
    ):
        with pytest.raises(Problems) as refused:
            read_recipe("tiny.toml", [setting])
        assert message in str(refused.value)


def test_a_decoder_that_breaks_its_promise_is_named(place: Path) -> None:
    decoder = open_decoder(read_recipe("tiny.toml", ["data.decoder=still"]).runs[0].config.data.decoder)
    video = VideoFile(Path("a.mp4"), seconds=3.0, decoder=decoder)
    assert decode_timed(video, 14)[0].shape == (3, 3, 14, 14)
    for wrong in (
        lambda video, size: (np.zeros((2, 3, size, size), np.float32), [0.0, 1.0]),
        lambda video, size: (np.zeros((0, 3, size, size), np.uint8), []),
        lambda video, size: (np.zeros((65, 3, size, size), np.uint8), [0.0] * 65),
        lambda video, size: (np.zeros((2, 3, size, size), np.uint8), [0.0]),
    ):
        decoder.decode = wrong  # type: ignore[union-attr,method-assign]  # pyright: ignore
        with pytest.raises(FvlmError, match=r"the decoder Still gave .* expected uint8"):
            decode_timed(video, 14)


def test_packs_are_made_and_named_by_the_decoder_of_the_recipe(place: Path, cli: Callable[..., Any]) -> None:
    (place / "clips").mkdir()
    for number in range(3):
        write_video(place / "clips" / f"{number}.mp4", 20, fps=10).with_suffix(".txt").write_text("x")
    (place / "tiny.toml").write_text(RECIPE.partition("[[data.sources]]")[0] + CLIPS)
    options = ("--size", "42", "--split", "train", "--processes", "1", "--to")
    for to, *setting in (("own",), ("still", "-o", "data.decoder=still")):
        code, _, err = cli("data", "pack", "tiny.toml", *setting, *options, to)
        assert code == 0, err
    made = {to: json.loads((place / to / "clips/train/pack.json").read_text()) for to in ("own", "still")}
    assert made["still"]["recipe"]["versions"].keys() == {"acme-still", "pillow"}
    assert "libavcodec" in made["own"]["recipe"]["versions"]
    recipe = 'data.sources=[{ name = "shards", path = "TO/clips/train", holdout = 0.0 }]'
    for to, first in (("own", 0), ("still", None)):
        source = open_sources(
            read_recipe("tiny.toml", [recipe.replace("TO", str(place / to))]).runs[0].config.data
        ).train[0]
        frame = decode_frames(source[0], 42)[0]
        assert (frame == 128).all() if first is None else index_of(frame) == first


CLIPS = """
[[data.sources]]
name = "clips"
path = "clips"
holdout = 0.0
[training]
steps = 1
"""

"""Frozen validation sets: built once, named, and free of what training knows under any name."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fvlm_shards.config import Shards
from fvlm_shards.source import build
from PIL import Image
from shard_fixtures import write_tar
from tiny import run_cli

from fvlm_core.datasets.shards.leaks import Known, Signatures, sign
from fvlm_core.utils.errors import UsageError


def scene(seed: int, frame: int) -> Image.Image:
    """A smooth picture that belongs to a scene and moves with the frame."""
    coarse = np.random.default_rng((seed, frame)).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC)


def jpeg(picture: Image.Image, quality: int = 92) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


def video(key: str, seed: int, quality: int = 92, size: int = 96) -> dict[str, Any]:
    pictures = {
        f"{key}.{n:03d}.jpg": jpeg(scene(seed, n).resize((size, size), Image.Resampling.LANCZOS), quality)
        for n in range(3)
    }
    return {f"{key}.json": {"caption": f"scene {seed}"}, **pictures}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 scenes; those of the keys dup_ are the scenes 0, 1 and 2 again: the same file, recompressed, and resized."""
    folder = tmp_path_factory.mktemp("data") / "shards"
    members: dict[str, Any] = {}
    for seed in range(30):
        members |= video(f"{seed:03d}", seed)
    members |= video("dup_file", 0) | video("dup_small", 1, quality=40) | video("dup_sized", 2, size=64)
    write_tar(folder / "0.tar", members)
    return folder


def test_copies_are_found_by_id_by_file_and_by_look(shards: Path, tmp_path: Path) -> None:
    source = build(Shards(path=shards, holdout=0, cache=tmp_path), "train")
    samples = {source[n].id: source[n] for n in range(len(source))}
    copies = [samples.pop(f"0/dup_{kind}") for kind in ("file", "small", "sized")]
    training, bad = sign(list(samples.values()), "training", 96, lambda *_: None)
    assert not bad
    held_out, _ = sign([*copies, samples["0/007"]], "held out", 96, lambda *_: None)
    leaks = Known(training).leaks(held_out)
    assert [(n, leak.how.partition(" (")[0], leak.training[-5:]) for n, leak in leaks.items()] == [
        (0, "the same file", "0/000"),
        (1, "3 of 3 frames look the same", "0/001"),
        (2, "3 of 3 frames look the same", "0/002"),
        (3, "the same id", "0/007"),
    ]


def test_nothing_else_is_taken_for_a_copy(shards: Path, tmp_path: Path) -> None:
    source = build(Shards(path=shards, holdout=0, cache=tmp_path), "train")
    samples = [source[n] for n in range(30)]
    half, _ = sign(samples[:15], "a", 96, lambda *_: None)
    other, _ = sign(samples[15:], "b", 96, lambda *_: None)
    assert Known(half).leaks(other) == {}


def test_looking_up_finds_every_near_hash() -> None:
    generator = np.random.default_rng(0)
    known = generator.integers(0, 2**63, 3000, dtype=np.uint64)
    nothing = np.zeros(3000, np.uint64)
    table = Known(Signatures([f"t/{n}" for n in range(3000)], nothing, np.arange(3000), known))
    for bits in range(7):
        near = known[:200].copy()
        for row in range(200):
            for bit in generator.choice(64, bits, replace=False):
                near[row] ^= np.uint64(1) << np.uint64(bit)
        names = [f"v/{n}" for n in range(200)]
        leaks = table.leaks(Signatures(names, np.zeros(200, np.uint64), np.arange(200), near))
        assert len(leaks) == (200 if bits <= 4 else 0)
        assert all(leak.training == f"t/{number}" for number, leak in leaks.items())


def test_a_frozen_set_is_made_once_named_and_clean(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FVLM_FROZEN", raising=False)
    # Which sides the copies fall on is a matter of their hash: a holdout that puts some pair on both.
    arguments = ["data", "freeze", "shards", "-o", f"path={shards}", "-o", "holdout=0.5", "--size", "96"]
    code, out, err = run_cli([*arguments, "--name", "val_small", "--samples", "9"], monkeypatch, capsys)
    assert code == 0, err
    assert "sha256" in out
    folder = tmp_path / "frozen" / "val_small"
    record = json.loads((folder / "frozen.json").read_text())
    assert record["samples"] == 9
    frozen = build(Shards(path=folder), "validation")
    training = build(Shards(path=shards, holdout=0.5, cache=tmp_path / "cache" / "shards"), "train")
    known, _ = sign([training[n] for n in range(len(training))], "t", 96, lambda *_: None)
    held_out, _ = sign([frozen[n] for n in range(len(frozen))], "v", 96, lambda *_: None)
    assert Known(known).leaks(held_out) == {}
    with pytest.raises(UsageError, match="not trained on"):
        build(Shards(path=folder), "train")
    code, _, err = run_cli([*arguments, "--name", "val_small"], monkeypatch, capsys)
    assert code == 2
    assert "frozen already" in err


def test_a_recipe_names_a_frozen_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fvlm_registry import registry

    (tmp_path / "frozen" / "val_10k").mkdir(parents=True)
    (tmp_path / "frozen" / "val_10k" / "frozen.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FVLM_FROZEN", raising=False)
    registry.cache_clear()
    try:
        offer = registry().find("data", "val_10k")
        assert offer.component.preset == {"path": str(tmp_path / "frozen" / "val_10k")}
    finally:
        registry.cache_clear()

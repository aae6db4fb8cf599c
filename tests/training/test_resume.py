"""Resuming, in this process: a run that was stopped, killed or disturbed ends bit for bit as one that was not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from trainer import EPOCH, STEPS, go, opened, outcome, small

from fvlm_core.data.sources import Sources
from fvlm_core.recipes.read import Recipe


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        recipe = small(tmp_path_factory.mktemp("recipe"))
        yield recipe, opened(recipe, tmp_path_factory.mktemp("none"))


@pytest.fixture(scope="module")
def undisturbed(prepared: tuple[Recipe, dict[str, Sources]], tmp_path_factory: pytest.TempPathFactory) -> Any:
    recipe, data = prepared
    root = tmp_path_factory.mktemp("undisturbed")
    go(recipe, root, data)
    found = outcome(recipe, root)
    assert [row["step"] for row in found["rows"] if row["event_type"] == "train"] == [*range(1, STEPS + 1)]
    return found


@pytest.mark.parametrize("at", [1, EPOCH, pytest.param(13, marks=pytest.mark.soak)])
def test_resume_is_bit_exact(at: int, prepared: Any, undisturbed: Any, tmp_path: Path) -> None:
    recipe, data = prepared
    go(recipe, tmp_path, data, at=at)
    assert outcome(recipe, tmp_path)["checkpoint"] == f"step-{at:08d}"
    watch = go(recipe, tmp_path, data, die=at + 3)  # and once more, without a word
    assert watch.began == at
    go(recipe, tmp_path, data)
    assert outcome(recipe, tmp_path) == undisturbed


CONNECTORS = {
    "foveated": ["queries=2"],
    "perceiver": ["tokens=2"],
    "merge": ["tokens=4"],
    "random": ["tokens=4"],
    "select": ["tokens=4"],
    "last-frames": ["frames=1"],
    "convolutional": ["stride=3"],
}


@pytest.mark.parametrize("name", CONNECTORS)
def test_resume_is_bit_exact_with_any_connector_and_the_question_first(
    name: str, prepared: Any, tmp_path: Path
) -> None:
    own = [f"model.connector.{key}" for key in (f"name={name}", *CONNECTORS[name])]
    recipe = small(tmp_path, *own, "model.question_first=true", "training.steps=3", "eval.every=3")
    _, data = prepared
    go(recipe, tmp_path / "whole", data)
    go(recipe, tmp_path / "cut", data, at=1)
    assert outcome(recipe, tmp_path / "cut")["checkpoint"] == "step-00000001"
    go(recipe, tmp_path / "cut", data)
    assert outcome(recipe, tmp_path / "cut") == outcome(recipe, tmp_path / "whole")


def test_generators_that_others_draw_from_change_nothing(
    prepared: Any, undisturbed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fvlm_dinov2.model import DINOv2Encoder

    recipe, data = prepared
    encode = DINOv2Encoder.encode

    def disturbed(self: Any, frames: Any, **how: Any) -> Any:
        state = torch.rand(3)
        assert len(state) == 3
        return encode(self, frames, **how)

    source = type(data["small"].train[0])
    read = source.__getitem__

    def noisy(self: Any, index: int) -> Any:
        torch.rand(index % 5 + 1)
        return read(self, index)

    monkeypatch.setattr(source, "__getitem__", noisy)
    monkeypatch.setattr(DINOv2Encoder, "encode", disturbed)
    plain = [*["model.connector.coarse_share=0.0", "model.connector.mode_choice=batch"], "training.steps=5"]
    recipe = small(tmp_path, *plain)
    go(recipe, tmp_path / "a", data)
    monkeypatch.undo()
    go(recipe, tmp_path / "b", data)
    assert outcome(recipe, tmp_path / "a") == outcome(recipe, tmp_path / "b")

"""`fvlm.Recipe`: from a file or made in Python; changed, compared, saved and read back."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import fvlm

MADE: dict[str, Any] = {
    "name": "mine",
    "extends": "captions_small",
    "training": {"steps": 3},
    "runs": [{"id": "a"}, {"id": "b", "training": {"lr": 0.5}}],
}


def test_it_is_what_the_command_line_reads() -> None:
    from fvlm_core.recipes.read import read_recipe

    recipe = fvlm.Recipe("captions_small").override("training.steps=10", "seeds=2")
    assert recipe.checked == read_recipe("captions_small", ["training.steps=10", "seeds=2"])
    assert recipe.runs[:2] == ["32-s0", "32-s1"]
    assert recipe == fvlm.Recipe("captions_small").override("training.steps=10").override("seeds=2")
    assert recipe != fvlm.Recipe("captions_small")


def test_tables_are_a_recipe() -> None:
    recipe = fvlm.Recipe(MADE)
    assert (recipe.name, recipe.runs) == ("mine", ["a", "b"])
    assert [run.config.training.lr for run in recipe.checked.runs] == [1.4e-3, 0.5]
    assert [run.config.training.steps for run in recipe.checked.runs] == [3, 3]
    assert recipe.only("b").runs == ["b"]
    assert recipe.table["model"]["encoder"]["name"] == "dinov2"
    assert repr(recipe).endswith('id = "b"\ntraining.lr = 0.5')


@pytest.mark.parametrize("source", ["captions_small", MADE], ids=["file", "tables"])
def test_what_is_saved_reads_back_as_the_same(source: Any, tmp_path: Path) -> None:
    recipe = fvlm.Recipe(source).override(
        "training.steps=7", "data.sources.shapes.clips=12", 'description="x"'
    )
    file = recipe.save(tmp_path / "deep" / "saved.toml")
    assert fvlm.Recipe(file) == recipe
    assert [run.config.training.steps for run in fvlm.Recipe(file).checked.runs] == [7] * len(recipe.runs)


def test_a_recipe_is_not_written_over_what_it_extends(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text('extends = "captions_small.toml"\n')
    recipe = fvlm.Recipe(tmp_path / "base.toml")
    with pytest.raises(fvlm.FvlmError, match="is what this recipe is made from"):
        recipe.save(tmp_path / "base.toml")
    assert (tmp_path / "base.toml").read_text() == 'extends = "captions_small.toml"\n'
    assert fvlm.Recipe(recipe.save(tmp_path / "other.toml")) == recipe
    assert "base.toml" in (tmp_path / "other.toml").read_text()


def test_paths_that_would_mean_others_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = fvlm.Recipe({**MADE, "training": {"steps": 3, "init_from": "./weights.pt"}})
    recipe.save("here.toml")
    with pytest.raises(fvlm.FvlmError, match="write them in full"):
        recipe.save("elsewhere/there.toml")


def test_every_problem_is_told_with_its_key_and_what_is_near() -> None:
    with pytest.raises(fvlm.FvlmError) as told:
        fvlm.Recipe({**MADE, "training": {"step": 3, "lr": "fast"}})
    assert 'the recipe: training.step: unknown key; did you mean "steps"?' in str(told.value)
    assert "training.lr" in str(told.value)
    with pytest.raises(fvlm.FvlmError, match="expected a name"):
        fvlm.Recipe({"training": {"steps": 3}})


def test_ordinary_values_of_python_are_those_of_a_recipe(tmp_path: Path) -> None:
    """Mappings, tuples, paths and numbers of numpy are what their plain values are, and can be saved."""
    import numpy as np

    source = {"name": "shapes", "clips": np.int64(12)}
    plain = {**MADE, "data": {"sources": [{**source, "clips": 12}]}, "training": {"steps": 3, "lr": 0.5}}
    ours = {
        **MADE,
        "extends": Path("captions_small"),
        "data": MappingProxyType({"sources": (MappingProxyType(source),)}),
        "training": {"steps": np.int32(3), "lr": np.float32(0.5)},
        "runs": ({"id": "a"}, {"id": "b", "training": {"lr": 0.5}}),
    }
    recipe = fvlm.Recipe(ours)
    assert recipe == fvlm.Recipe(plain)
    assert fvlm.Recipe(recipe.save(tmp_path / "saved.toml")) == recipe


def test_a_recipe_is_saved_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert fvlm.Recipe(MADE).save("~/deep/saved.toml") == tmp_path / "home/deep/saved.toml"
    assert (tmp_path / "home/deep/saved.toml").is_file()
    assert not (tmp_path / "~").exists()

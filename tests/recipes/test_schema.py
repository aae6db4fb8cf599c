"""`fvlm schema` accepts what `fvlm run` accepts, and underlines the usual mistakes."""

from __future__ import annotations

import json
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import attrs
import pytest
from jsonschema import Draft202012Validator
from tiny import RECIPE, run_cli

from fvlm_core.recipes import schema
from fvlm_core.recipes.files import shipped
from fvlm_core.recipes.json_schema import descriptions, recipe_schema
from fvlm_registry import registry

RECIPES = sorted(shipped().glob("*.toml"))


@cache
def made() -> dict[str, Any]:
    return recipe_schema()


@cache
def validator() -> Draft202012Validator:
    Draft202012Validator.check_schema(made())
    return Draft202012Validator(made())


def wrong(text: str) -> list[str]:
    """Where a recipe's text is wrong and why, the innermost reasons."""
    found: list[str] = []

    def walk(errors: Any) -> None:
        for error in errors:
            if error.context:
                walk(error.context)
            else:
                found.append(f"{error.json_path}: {error.message}")

    walk(validator().iter_errors(tomllib.loads(text)))
    return found


def changed(old: str, new: str) -> str:
    """The tiny recipe with one thing in it changed."""
    assert old in RECIPE
    return RECIPE.replace(old, new, 1)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid(recipe: Path) -> None:
    base = recipe.name.startswith("_")  # whoever extends it brings what it lacks
    assert [text for text in wrong(recipe.read_text()) if not (base and "required" in text)] == []


VALID = {
    "the tiny recipe": RECIPE,
    "a name with its plugin": changed('name = "dinov2"', 'name = "dinov2:dinov2"'),
    "a name of a library": changed(
        'name = "dinov2"\nweights = "seeded"\nimage_size = 42\nwidth = 16\ndepth = 1\nheads = 2\n',
        'name = "timm:vit_small_patch16_224"\n',
    ),
    "a budget as text": changed("steps = 6", 'budget = "1e17"'),
    "a rate by rule": changed("steps = 6", "steps = 6\n"
                              'lr = { rule = "inverse-sqrt-params", base = 1e-3, at = 1000 }'),
    "a decoder by name": changed("[training]", '[data]\ndecoder = "pyav"\n[training]'),
    "a decoder as a table": changed("[training]", '[data]\ndecoder = { name = "pyav" }\n[training]'),
    "a law": RECIPE + '[[fits]]\nmodel = "per-size"\nobjective = "mse"\n',
    "a law with settings": RECIPE + '[[fits]]\nmodel = "tissue"\ndecay = 0.9\n',
    "a tracker": RECIPE + '[[trackers]]\nname = "tensorboard"\n',
    "metrics and how answers are made": RECIPE + 'metrics = [{ name = "chrf", word_order = 2 }]\n'
                                        "[eval.generation]\nlimit = 4\nbeams = 2\nstop = ['.']\n",
    "a list of runs": RECIPE + '[[runs]]\nid = "a"\nmodel.encoder.width = 32\ntraining.steps = 3\n',
    "a run that names another component": RECIPE + '[[runs]]\nid = "a"\nmodel.connector = { name = "pooled" }\n',
    "a run that changes one of the sources": RECIPE + '[[runs]]\nid = "a"\ndata.sources.shapes.clips = 3\n',
    "a grid": RECIPE + '[grid]\nid = "{a}"\n[grid.axes.a]\nsmall = { model.llm.width = 8 }\n',
    "an ablation": "seeds = 2\n" + RECIPE + "[ablate]\nblind = { model.blind = true }\n",
    "a recipe that extends another": 'extends = "captions_small.toml"\n[training]\nsteps = 3\n',
}  # fmt: skip

WRONG = {
    "a mistyped key": (changed("batch_size = 4", "batch_sizes = 4"), "$.training: Additional properties"),
    "a table that is not there": (RECIPE + "[trainings]\nsteps = 3\n", "$: Additional properties"),
    "a component nobody offers": (changed('name = "foveated"', 'name = "foveatd"'), "'foveatd' is not one of"),
    "another component's key": (changed("query_dim = 8", "grid = 4"), "$.model.connector: 'grid' is not one of"),
    "a number as text": (changed("steps = 6", 'steps = "6"'), "$.training.steps: '6' is not of type 'integer'"),
    "text that is no choice": (changed('"answer"', '"answers"'), "$.training.supervise: 'answers' is not one of"),
    "a number out of bounds": (changed("query_dim = 8", "query_dim = 0"), "$.model.connector.query_dim: 0 is less"),
    "a share of 0": (changed("clips = 32", "clips = 32\nweight = 0"), "0 is less than or equal to the minimum of 0"),
    "a key that is missing": (changed('weights = "seeded"\n', ""), "'weights' is a required property"),
    "a table that is missing": (RECIPE.partition("[training]")[0], "'training' is a required property"),
    "a component without a name": (changed('name = "shapes"\n', ""), "'name' is a required property"),
    "no samples at all": ("[data]\nsources = []\n", "$.data.sources: [] should be non-empty"),
    "a pair of three": (changed("steps = 6", "steps = 6\nbetas = [0.9, 0.99, 0.999]"), "$.training.betas: "),
    "a truth as text": (changed("steps = 6", 'steps = 6\ntf32 = "false"'), "is not of type 'boolean'"),
    "a metric's other key": (RECIPE + 'metrics = [{ name = "chrf", tokenizer = "13a" }]\n', "'tokenizer' is not"),
    "a share above 1": (RECIPE + "[eval.generation]\ntop_p = 2.0\n", "2.0 is greater than the maximum of 1"),
    "a run without an id": (RECIPE + "[[runs]]\ntraining.steps = 3\n", "$.runs[0]: 'id' is a required property"),
    "a typo in a run": (RECIPE + '[[runs]]\nid = "a"\ntraining.step = 3\n', "$.runs[0].training: Additional"),
    "a typo in a grid": (RECIPE + "[grid.axes.a]\nb = { model.lm.width = 3 }\n", "$.grid.axes.a.b.model: Additional"),
    "two lists of runs": (RECIPE + '[[runs]]\nid = "a"\n[ablate]\nb = { model.blind = true }\n', "should not be valid"),
}  # fmt: skip


@pytest.mark.parametrize("text", VALID.values(), ids=VALID)
def test_what_can_be_written_is_valid(text: str) -> None:
    assert wrong(text) == []


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_written_is_not(text: str, said: str) -> None:
    found = wrong(text)
    assert any(said in one for one in found), found


def test_every_component_is_a_choice_with_its_own_keys() -> None:
    for offer in registry().offers:
        if offer.kind in ("figure", "section", "launcher"):  # no recipe names one
            continue
        own = made()["$defs"][f"{offer.kind} {offer.qualified}"]["properties"]
        config = registry().load(offer.component.config)
        assert set(own) == {attribute.name for attribute in attrs.fields(config) if attribute.init}
        for name, value in offer.component.preset.items():
            assert own[name]["default"] == value


def test_editors_show_what_the_docstrings_say() -> None:
    training = made()["$defs"]["Training"]["properties"]
    assert training["warmup"]["description"] == "Share of the steps."
    assert training["betas"]["description"] == "AdamW's."
    assert training["weight_decay"]["description"] == "Every optimizer's."
    assert training["precision"]["default"] == "bf16"
    grid = made()["$defs"]["connector pooled:pooled"]["properties"]["grid"]
    assert grid["minimum"] == 1
    assert grid["description"].startswith("Rows and columns that patches are averaged into")
    assert set(descriptions(schema.SourceShare)) == set()


def test_the_schema_is_written_where_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new/recipe.schema.json"
    assert run_cli(["schema", "--out", str(file)], monkeypatch, capsys)[:2] == (0, "")
    code, out, _ = run_cli(["schema"], monkeypatch, capsys)
    assert code == 0
    assert json.loads(out) == json.loads(file.read_text()) == json.loads(json.dumps(made()))

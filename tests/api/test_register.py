"""What a cell defines trains, is recorded by its source, and is refused when that has changed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from trainer import TEXT

import fvlm
from fvlm_registry import lookup, registry

CELL = '''
import torch
from attrs import frozen
from fvlm_core.plugin_api import Contribution, TokenLoss


@frozen(kw_only=True)
class Settings:
    momentum: float = 0.9

    def state(self, name, shape, decays):
        return {"momentum": 4 * shape.numel()}


class Signs(torch.optim.Optimizer):
    """steps of one size"""

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for weight in [weight for weight in group["params"] if weight.grad is not None]:
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 1 - group["momentum"])
                weight.sub_(momentum.sign(), alpha=group["lr"])


def build(config, groups):
    return Signs(groups, {"lr": 0.0, "momentum": config.momentum})


class Doubled(TokenLoss):
    def contribution(self, model, batch):
        losses = model(batch)
        return Contribution(2 * losses.loss, (2 * losses.fine,), losses.tokens, losses.tokens)

    @property
    def names(self):
        return ("loss",)

    def columns(self, means):
        return {"train_loss": means.get("loss")}


def doubled(config, model):
    return Doubled(model.connector.spec.auxiliary)


def straight(config, ends):
    return lambda step, steps, group: 1 - (1 - ends[group]) * min(1.0, step / max(1, steps))
'''


@pytest.fixture(autouse=True)
def nothing_registered() -> Iterator[None]:
    before = list(lookup._here)
    yield
    lookup._here[:] = before
    registry.cache_clear()


def cell(folder: Path, text: str = CELL) -> ModuleType:
    """The cell as a file, whose source can be read."""
    import importlib.util
    import linecache

    file = folder / f"cell_{len(list(folder.glob('cell_*')))}.py"
    file.write_text(text)
    linecache.clearcache()
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


def register(own: Any) -> None:
    fvlm.register("optimizer", "signs", own.build, own.Settings)
    fvlm.register("objective", "doubled", own.doubled)
    fvlm.register("schedule", "straight", own.straight)


def recipe(folder: Path) -> fvlm.Recipe:
    file = folder / "small.toml"
    file.write_text(TEXT)
    return fvlm.Recipe(file).override(
        "training.steps=4",
        "eval.every=2",
        "training.optimizer={ name = 'signs', momentum = 0.5 }",
        "training.objective=doubled",
        "training.schedule={ name = 'straight' }",
    )


def test_what_a_cell_defines_trains_and_is_recorded_by_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    register(cell(tmp_path))
    trained = fvlm.train(recipe(tmp_path), tmp_path / "runs")["small"]
    plugins = trained.run.record["software"]["plugins"]
    assert {name for name in plugins if name.startswith("here:")} == {
        "here:signs", "here:doubled", "here:straight"
    }  # fmt: skip
    assert all(plugins[name].startswith("source ") for name in plugins if name.startswith("here:"))
    rows = trained.metrics()
    assert len(rows[rows["event_type"] == "train"]) == 4

    register(cell(tmp_path))  # the same source, defined anew
    fvlm.train(recipe(tmp_path), tmp_path / "runs")
    changed = cell(tmp_path, CELL.replace("2 * losses.loss", "3 * losses.loss"))
    fvlm.register(
        "objective", "doubled", changed.doubled
    )  # itself as it was; the class that it makes is another
    with pytest.raises(fvlm.FvlmError, match=r"software\.plugins\.here:doubled: source \w+ -> source \w+"):
        fvlm.train(recipe(tmp_path), tmp_path / "runs")


USED = """
from functools import cached_property

import attrs


class Base:
    def begin(self):
        return 1


def at_most(instance, attribute, value):
    return 2


def made(value):
    return 3


def default():
    return 4


def of_property():
    return 5


def of_cached():
    return 6


def of_class_method():
    return 7


def of_static_method():
    return 8


@attrs.frozen
class Settings:
    size: int = attrs.field(
        default=attrs.Factory(default),
        validator=attrs.validators.optional(attrs.validators.and_(attrs.validators.ge(0), at_most)),
        converter=attrs.converters.optional(made),
    )

    @cached_property
    def slow(self):
        return of_cached()


class Component(Base):
    def __init__(self, config):
        self.config = config

    @property
    def quick(self):
        return of_property()

    @classmethod
    def one(cls):
        return of_class_method()

    @staticmethod
    def other():
        return of_static_method()
"""


def origin(name: str) -> str:
    [offer] = [one for one in lookup._here if one.component.name == name]
    return offer.origin


def test_the_identity_follows_what_classes_are_made_of(tmp_path: Path) -> None:
    """Whatever of the eight functions changes, the hash does; the same cell run again has the same."""
    hashes: list[str] = []
    for text in (USED, USED, *(USED.replace(f"return {at}", f"return {at}0") for at in range(1, 9))):
        own = cell(tmp_path, text)
        fvlm.register("callback", "watching", own.Component, own.Settings)
        hashes.append(origin("watching"))
    assert hashes[0] == hashes[1]
    assert len(set(hashes[1:])) == 9


def test_a_metric_of_this_process_is_recorded_and_others_are_not(tmp_path: Path) -> None:
    from fvlm_core.runs.fingerprint import software

    own = cell(tmp_path, "def build(config):\n    return lambda answer: 1.0\n")
    fvlm.register("metric", "mine", own.build)
    made = recipe_without(tmp_path).override("eval.metrics=[{ name = 'mine' }, { name = 'exact-match' }]")
    plugins = software(made.checked.runs[0].config)["plugins"]
    assert plugins["here:mine"] == origin("mine")
    assert {*plugins} - {"here:mine"} == {
        *software(recipe_without(tmp_path).checked.runs[0].config)["plugins"]
    }


def recipe_without(folder: Path) -> fvlm.Recipe:
    file = folder / "small.toml"
    file.write_text(TEXT)
    return fvlm.Recipe(file)


def stands_for(name: str) -> Any:
    """What the import string of a schedule of this process leads to."""
    module, _, attribute = registry().find("schedule", name).component.target.partition(":")
    return getattr(import_module(module), attribute)


def test_a_refused_component_leaves_the_one_before_and_names_do_not_collide(tmp_path: Path) -> None:
    own = cell(tmp_path)
    fvlm.register("schedule", "straight", own.straight)
    with pytest.raises(fvlm.FvlmError, match=r"source of .* cannot be read"):
        fvlm.register("schedule", "straight", eval("lambda config, ends: None"))
    assert stands_for("straight") is own.straight
    fvlm.register("schedule", "a-config", own.build)
    fvlm.register("schedule", "a_config", own.straight)
    fvlm.register("schedule", "a", own.straight, own.Settings)
    assert stands_for("a-config") is own.build
    assert stands_for("a_config") is own.straight


def test_what_cannot_be_registered_is_explained(tmp_path: Path) -> None:
    own = cell(tmp_path)
    for arguments, said in (
        (("optimiser", "signs", own.build), 'did you mean "optimizer"'),
        (("optimizer", "muon", own.build, own.Settings), '"muon" is offered by fvlm 0.1.0 already'),
        (("optimizer", "signs", own.build), "have a method state"),
        (("schedule", "My schedule", own.straight), "expected lower-case letters"),
        (("schedule", "straight", own.straight, dict), "expected a class that attrs.frozen has made"),
        (("schedule", "typed", eval("lambda config, ends: None")), "source of .* cannot be read"),
    ):
        with pytest.raises(fvlm.FvlmError, match=said):
            fvlm.register(*arguments)

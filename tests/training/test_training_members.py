"""Optimizers, schedules, objectives and callbacks in runs: every one resumes to the bit, those of the manual too."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from manual import examples
from safetensors.torch import load_file, save_file
from trainer import go, opened, outcome, small

from fvlm_core.execution.sequential import run_folder
from fvlm_core.recipes.read import Recipe
from fvlm_core.runs.metrics import read_metrics
from fvlm_core.utils.errors import Problems
from fvlm_registry import registry

MEMBERS: dict[str, tuple[str, ...]] = {
    "muon, wsd, averages": (
        "training.optimizer=muon",
        'training.schedule={ name = "wsd", decay = 0.5, shape = "sqrt" }',
        'training.callbacks=[{ name = "ema", decay = 0.9 }, { name = "mean-of-last", last = 2 }]',
    ),
    "sgd, patience": (
        'training.optimizer={ name = "sgd", momentum = 0.5 }',
        'training.callbacks=[{ name = "early-stopping", patience = 9 }]',
    ),
    "those of the manual": (
        "training.optimizer=lion",
        'training.schedule={ name = "linear", hold = 0.2 }',
        "training.objective=per-answer",
        'training.callbacks=[{ name = "ceiling", loss = 0.001, patience = 9 }]',
    ),
}


@pytest.fixture(scope="module")
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The manual's four, installed."""
    site = tmp_path_factory.mktemp("site")
    hooks = ("fvlm_optimizers", "fvlm_schedules", "fvlm_objectives", "fvlm_callbacks")
    for files in map(examples, hooks):
        package = next(iter(files)).partition("/")[0]
        info = site / f"{package}-0.2.0.dist-info"
        for folder in (site / package, info):
            folder.mkdir()
        (site / package / "__init__.py").touch()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.2.0\n")
        (info / "entry_points.txt").write_text(f"[fvlm]\n{package} = {package}.plugin\n")
        for path, text in files.items():
            (site / path).write_text(text)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("FVLM_PLUGINS", raising=False)
        patch.syspath_prepend(site)
        registry.cache_clear()
        yield
    registry.cache_clear()
    for module in [name for name in sys.modules if name.startswith("acme_")]:
        del sys.modules[module]


@pytest.fixture(scope="module")
def data(plugins: None, tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield opened(small(tmp_path_factory.mktemp("recipe")), tmp_path_factory.mktemp("none"))


def rows(recipe: Recipe, root: Path, kind: str = "eval") -> list[dict[str, Any]]:
    found = read_metrics(run_folder(root, recipe, recipe.runs[0]) / "metrics.jsonl")
    return [row for row in found if row["event_type"] == kind]


def summary(recipe: Recipe, root: Path) -> dict[str, Any]:
    return json.loads((run_folder(root, recipe, recipe.runs[0]) / "summary.json").read_text())


@pytest.mark.parametrize("which", MEMBERS)
def test_resume_is_bit_exact_with_every_member(which: str, data: Any, tmp_path: Path) -> None:
    recipe = small(tmp_path, "training.steps=12", "eval.every=4", *MEMBERS[which])
    go(recipe, tmp_path / "whole", data)
    go(recipe, tmp_path / "cut", data, at=5)
    go(recipe, tmp_path / "cut", data, die=9)
    go(recipe, tmp_path / "cut", data)
    assert outcome(recipe, tmp_path / "cut") == outcome(recipe, tmp_path / "whole")
    kept = [
        sorted((run_folder(tmp_path / root, recipe, recipe.runs[0]) / "checkpoints").glob("step-*"))[-1]
        / "callbacks.safetensors"
        for root in ("cut", "whole")
    ]
    cut, whole = map(load_file, kept)
    assert cut.keys() == whole.keys()
    assert all(torch.equal(cut[name], whole[name]) for name in cut)


def test_micro_batches_only_split_the_work_of_an_objective_of_a_plugin(data: Any, tmp_path: Path) -> None:
    losses: list[list[float]] = []
    for size in (1, 4):
        recipe = small(
            tmp_path / str(size), "training.steps=3", "training.objective=per-answer",
            f"training.micro_batch_size={size}",
        )  # fmt: skip
        go(recipe, tmp_path / str(size), data)
        losses.append([row["train_loss"] for row in rows(recipe, tmp_path / str(size), "train")])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_averages_are_models_of_their_own(data: Any, tmp_path: Path) -> None:
    """Against averages made by hand of the weights after each step, kept as checkpoints."""
    callbacks = 'training.callbacks=[{ name = "ema", decay = 0.5 }, { name = "mean-of-last", last = 2 }]'
    recipe = small(
        tmp_path,
        "training.steps=6",
        "eval.every=2",
        "checkpoints.every=1",
        "checkpoints.keep_last=9",
        callbacks,
    )
    go(recipe, tmp_path, data)
    folder = run_folder(tmp_path, recipe, recipe.runs[0]) / "checkpoints"
    weights = {int(each.name[5:]): load_file(each / "model.safetensors") for each in folder.glob("step-*")}
    kept = load_file(folder / "step-00000006" / "callbacks.safetensors")
    for name in weights[1]:
        average = weights[1][name]
        for step in range(1, 7):
            decay = min(0.5, (1 + step) / (10 + step))
            average = decay * average + (1 - decay) * weights[step][name]
        torch.testing.assert_close(kept[f"ema/{name}"], average, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(kept[f"mean-of-last/0/{name}"], weights[4][name], rtol=0, atol=0)
        torch.testing.assert_close(kept[f"mean-of-last/1/{name}"], weights[6][name], rtol=0, atol=0)
    last = rows(recipe, tmp_path)[-1]
    assert last["val_loss_ema"] != last["val_loss"] != last["val_loss_mean_of_last"]
    file = tmp_path / "mean.safetensors"
    save_file({name: (weights[4][name] + weights[6][name]) / 2 for name in weights[4]}, file)
    start = small(
        tmp_path / "mean",
        "training.steps=1",
        "eval.every=1",
        "training.lr=1e-12",
        f"training.init_from={file}",
    )
    go(start, tmp_path / "mean", data)
    assert last["val_loss_mean_of_last"] == pytest.approx(
        rows(start, tmp_path / "mean")[0]["val_loss"], rel=1e-5
    )


def test_a_callback_ends_a_run_which_is_then_complete(data: Any, tmp_path: Path) -> None:
    patience = 'training.callbacks=[{ name = "early-stopping", patience = 2, least = 100.0 }]'
    recipe = small(tmp_path, "eval.every=2", patience)
    go(recipe, tmp_path, data)
    found = summary(recipe, tmp_path)
    assert [row["step"] for row in rows(recipe, tmp_path)] == [2, 4, 6]
    assert (found["total_steps"], found["complete"]) == (6, True)
    assert found["ended"].startswith("early-stopping: val_loss was no better than ")
    watch = go(recipe, tmp_path, data)
    assert not hasattr(watch, "began")  # there is nothing left to do


def test_a_mistyped_member_is_explained(data: Any, tmp_path: Path) -> None:
    for override, said in (
        ("training.optimizer=muom", 'none of the optimizers is called "muom": did you mean "muon"?'),
        ('training.schedule={ name = "wsd", dekay = 0.5 }', 'unknown key; did you mean "decay"?'),
        ("training.objective=distilation", 'did you mean "distillation"?'),
        ('training.callbacks=[{ name = "emma" }]', 'did you mean "ema"?'),
    ):
        with pytest.raises(Problems, match="training") as problems:
            small(tmp_path, override)
        assert said in str(problems.value)
    with pytest.raises(Problems, match=r"\"muon\" reads whole weights; expected parallel = \"ddp\""):
        small(tmp_path, "training.optimizer=muon", "training.parallel=fsdp2")


def test_the_core_s_own_by_name_are_as_good_as_none(tmp_path: Path) -> None:
    plain = small(tmp_path).runs[0].config
    named = ("training.optimizer=adamw", "training.schedule=cosine", "training.objective=tokens")
    assert small(tmp_path, *named).runs[0].config == plain
    assert small(tmp_path, 'training.schedule={ name = "cosine" }').runs[0].config == plain
    table = "training.preference.beta=0.3"
    assert (
        small(tmp_path, 'training.objective={ name = "dpo", beta = 0.3 }').runs[0].config
        == small(tmp_path, table).runs[0].config
    )


def test_a_run_that_a_callback_ended_off_the_log_has_its_last_rows(data: Any, tmp_path: Path) -> None:
    recipe = small(
        tmp_path, "eval.every=3", "training.log_every=100",
        'training.callbacks=[{ name = "early-stopping", patience = 1, least = 100.0 }]',
    )  # fmt: skip
    go(recipe, tmp_path, data)
    assert [row["step"] for row in rows(recipe, tmp_path)] == [3, 6]
    [last] = rows(recipe, tmp_path, "train")  # no step of it was due to be logged
    assert (last["step"], last["train_loss"]) == (6, summary(recipe, tmp_path)["final_train_loss"])


def test_a_run_that_ended_goes_on_under_another_recipe_even_when_it_is_killed(
    data: Any, tmp_path: Path
) -> None:
    from trainer import Killed, Watch

    from fvlm_core.execution.sequential import run_all
    from fvlm_core.training.signals import StopRequest

    patience = 'training.callbacks=[{{ name = "early-stopping", patience = {}, least = 100.0 }}]'
    go(small(tmp_path, "eval.every=2", patience.format(2)), tmp_path, data)
    longer = small(tmp_path, "eval.every=2", patience.format(9))
    with pytest.raises(Killed):
        run_all(longer, tmp_path, data, Watch(stop := StopRequest(), None, 7), stop, ("training.callbacks",))
    watch = go(longer, tmp_path, data)
    assert watch.began == 6
    assert "ended" not in summary(longer, tmp_path) or summary(longer, tmp_path)["total_steps"] > 6


def test_two_averages_have_columns_of_their_own(data: Any, tmp_path: Path) -> None:
    both = 'training.callbacks=[{ name = "ema", decay = 0.1 }, { name = "ema", decay = 0.9 }]'
    recipe = small(tmp_path, "training.steps=4", "eval.every=4", both)
    go(recipe, tmp_path, data)
    [row] = rows(recipe, tmp_path)
    assert row["val_loss_ema"] != row["val_loss_ema_2"]

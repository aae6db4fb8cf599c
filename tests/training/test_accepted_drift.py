"""What of a changed recipe is another run, and that only what was accepted by name is accepted."""

from __future__ import annotations

from typing import Any

import pytest

from fvlm_core.recipes.drift import changes, check_allowed, classify, refused
from fvlm_core.recipes.parent import differences
from fvlm_core.utils.errors import UsageError

BEFORE: dict[str, Any] = {
    "training": {"lr": 1e-3, "lr_ratio": 10.0, "clip": 1.0, "workers": 0, "seed": 42, "init_from": None},
    "model": {"llm": {"width": 16}},
    "data": {"sources": [{"path": "/here/a", "weight": 1.0}]},
}
AFTER: dict[str, Any] = {
    "training": {"lr": 2e-3, "lr_ratio": 20.0, "clip": 2.0, "workers": 4, "seed": 42, "init_from": None},
    "model": {"llm": {"width": 16}},
    "data": {"sources": [{"path": "/there/a", "weight": 2.0}]},
}


def keys(found: Any) -> list[str]:
    return [change.key for change in found]


def test_every_key_that_differs_is_a_change_and_no_other() -> None:
    found = changes(BEFORE, AFTER)
    assert sorted(keys(found)) == [
        "data.sources[0].path", "data.sources[0].weight", "training.clip", "training.lr", "training.lr_ratio",
        "training.workers",
    ]  # fmt: skip
    assert [(one.before, one.after) for one in found if one.key == "training.lr"] == [(1e-3, 2e-3)]


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("training.lr", "schedule"), ("training.clip", "training"), ("training.workers", "runtime"),
        ("training.seed", "seed"), ("training.batch_size", "batch"), ("training.init_from", "model"),
        ("model.llm.width", "model"), ("data.sources[0].path", "data"), ("eval.samples", "evaluation"),
        ("software.decoder", "software"),
    ],
)  # fmt: skip
def test_the_class_of_a_key_is_that_of_the_longest_that_covers_it(key: str, kind: str) -> None:
    assert classify(key) == kind


def test_only_what_decides_no_weight_is_free() -> None:
    free = [one.key for one in changes(BEFORE, AFTER) if one.free]
    assert free == ["training.workers"]
    moved = changes(BEFORE, AFTER, ["data.sources[0].path"])
    assert {one.key for one in moved if one.free} == {"training.workers", "data.sources[0].path"}


@pytest.mark.parametrize(
    ("allowed", "left"),
    [
        ([], ["data.sources[0].path", "data.sources[0].weight", "training.clip", "training.lr", "training.lr_ratio"]),
        (["training.lr"], ["data.sources[0].path", "data.sources[0].weight", "training.clip", "training.lr_ratio"]),
        (["training"], ["data.sources[0].path", "data.sources[0].weight"]),
        (["data", "training"], []),
    ],
)  # fmt: skip
def test_a_name_accepts_its_key_or_what_is_in_its_table_and_nothing_like_it(
    allowed: list[str], left: list[str]
) -> None:
    assert sorted(keys(refused(changes(BEFORE, AFTER), allowed))) == left


def test_what_a_recipe_changes_of_its_parent_is_what_it_sets_adds_and_drops() -> None:
    found = differences({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 4, "d": 5})
    assert sorted(map(str, found)) == ["b: 2 -> 4", "c: 3 -> not set", "d: not set -> 5"]


def test_a_name_of_no_key_is_misuse() -> None:
    check_allowed(["training.lr"], ["training.lr"])
    with pytest.raises(UsageError, match=r'training\.lt: no such key; did you mean "training.lr"'):
        check_allowed(["training.lt"], ["training.lr"])

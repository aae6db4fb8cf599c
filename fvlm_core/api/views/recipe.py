"""A recipe with all its values, as lines of TOML."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fvlm_core.recipes.read import Recipe
from fvlm_core.recipes.resolved import resolved

Tree = dict[str, Any]


def resolved_text(recipe: Recipe) -> list[str]:
    """The resolved recipe as lines of TOML: the values that most runs have, then each run's own."""
    trees = [resolved(run.config) for run in recipe.runs]
    base = _shared(trees)
    lines = _toml(base, ())
    if len(trees) > 1:
        for run, tree in zip(recipe.runs, trees, strict=True):
            lines += ["", "[[runs]]", f"id = {json.dumps(run.id)}", *_changes(base, tree, ())]
            if run.seed != run.config.training.seed:
                lines.append(f"training.seed = {run.seed}")
    return lines


def _shared(trees: Sequence[Tree]) -> Tree:
    """What most of the trees hold at each key; where no value has most, the first tree's."""
    shared: Tree = {}
    for key in dict.fromkeys(key for tree in trees for key in tree):
        values = [tree[key] for tree in trees if key in tree]
        if 2 * len(values) < len(trees):
            continue
        texts = [json.dumps(value) for value in values]
        if _mergeable(values):
            shared[key] = _shared(values)
        else:
            shared[key] = json.loads(Counter(texts).most_common(1)[0][0])
    return shared


def _mergeable(values: Sequence[Any]) -> bool:
    """Tables that hold the same settings: not those of two different components."""
    return all(isinstance(v, dict) for v in values) and len({v.get("name") for v in values}) == 1


def _changes(base: Tree, tree: Tree, path: tuple[str, ...]) -> list[str]:
    """`tree` against `base` as dotted keys."""
    lines: list[str] = []
    for key in dict.fromkeys([*base, *tree]):
        name = ".".join((*path, key))
        if key not in tree:
            lines.append(f"# {name} is not set")
        elif key not in base:
            lines.append(f"{name} = {_value(tree[key])}")
        elif base[key] != tree[key]:
            if _mergeable((base[key], tree[key])):
                lines += _changes(base[key], tree[key], (*path, key))
            else:
                lines.append(f"{name} = {_value(tree[key])}")
    return lines


def _toml(tree: Tree, path: tuple[str, ...]) -> list[str]:
    """A tree as TOML: values first, then tables, then arrays of tables."""
    lines = [f"{key} = {_value(value)}" for key, value in tree.items() if not _is_table(value)]
    if path and lines:
        lines = ["", f"[{'.'.join(path)}]", *lines]
    for key, value in tree.items():
        if isinstance(value, dict):
            lines += _toml(value, (*path, key))
        elif _is_table(value):
            for entry in value:
                lines += ["", f"[[{'.'.join((*path, key))}]]"]
                lines += [f"{name} = {_value(inner)}" for name, inner in entry.items()]
    return lines


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and all(isinstance(entry, dict) for entry in value)
    )


def _value(value: Any) -> str:
    """A value in TOML, tables inline."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(inner)}" for key, inner in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(_value(inner) for inner in value) + "]"
    return json.dumps(value)

"""One table laid over another: what `extends`, `-o`, `[[runs]]`, `[grid]` and `[ablate]` have in common."""

from __future__ import annotations

from attrs import evolve

from fvlm_core.recipes.located import Key, Located

LENGTHS = ("steps", "samples", "budget")
"""Exactly one of these says how long a run trains; setting one unsets the others."""

_COMPONENTS = (("model", "encoder"), ("model", "connector"), ("model", "llm"))


def merge(base: Located, change: Located, key: Key = ()) -> Located:
    """`change` laid over `base`: tables merge, everything else (arrays too) is replaced.

    Two rules keep a change to one line: a component's table is replaced as a whole when the change names another
    component (its other keys belong to the old one), and `training.steps|samples|budget` replace each other.
    """
    if not (isinstance(base.value, dict) and isinstance(change.value, dict)):
        return change
    if key in _COMPONENTS and _renames(base, change):
        return change
    merged = dict(base.value)
    if key == ("training",) and any(name in change.value for name in LENGTHS):
        merged = {name: value for name, value in merged.items() if name not in LENGTHS}
    for name, value in change.value.items():
        merged[name] = merge(merged[name], value, (*key, name)) if name in merged else value
    return evolve(base, value=merged)


def _renames(base: Located, change: Located) -> bool:
    return (
        "name" in change.value
        and "name" in base.value
        and change.value["name"].value != base.value["name"].value
    )

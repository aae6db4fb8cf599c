"""One table laid over another: what `extends`, `-o`, `[[runs]]`, `[grid]` and `[ablate]` have in common."""

from __future__ import annotations

from attrs import evolve

from fvlm_core.recipes.located import Key, Located
from fvlm_core.utils.errors import Problems

LENGTHS = ("steps", "samples", "budget")
"""Exactly one of these says how long a run trains; setting one unsets the others."""

_COMPONENTS = (("model", "encoder"), ("model", "connector"), ("model", "llm"))


def merge(base: Located, change: Located, key: Key = ()) -> Located:
    """`change` laid over `base`: tables merge, everything else (arrays too) is replaced. A table laid over an array of
    tables changes those elements that its keys name, or count from 0: `data.sources.openvid.path`.

    Two rules keep a change to one line: a component's table is replaced as a whole when the change names another
    component (its other keys belong to the old one), and `training.steps|samples|budget` replace each other.
    Raises `Problems` for a key that no element of an array, or more than one, answers to.
    """
    if isinstance(base.value, list) and isinstance(change.value, dict):
        elements = list(base.value)
        for name, value in change.value.items():
            place = _place(elements, name, change, key)
            elements[place] = merge(elements[place], value, (*key, place))
        return evolve(base, value=elements)
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


def _place(elements: list[Located], name: str, change: Located, key: Key) -> int:
    """Where the element is that a change calls `name`."""
    names = [
        str(element.value["name"].value)
        if isinstance(element.value, dict) and "name" in element.value
        else ""
        for element in elements
    ]
    if name in names and names.count(name) == 1:
        return names.index(name)
    if name.isdecimal() and int(name) < len(elements):
        return int(name)
    known = ", ".join(f"{place} {known}".strip() for place, known in enumerate(names))
    many = "several are" if name in names else "none is"
    raise Problems(
        [change.value[name].problem(key, f'of its entries, {many} called "{name}"; they are {known}')]
    )


def _renames(base: Located, change: Located) -> bool:
    return (
        "name" in change.value
        and "name" in base.value
        and change.value["name"].value != base.value["name"].value
    )

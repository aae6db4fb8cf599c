"""What a recipe changes of the one it extends, key by key, run by run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen

from fvlm_core.recipes.expand import COUNTS, EXPANSIONS
from fvlm_core.recipes.extends import base_table, of_base_runs, parent_of
from fvlm_core.recipes.read import Recipe
from fvlm_core.recipes.resolved import flat

NOT_SET = "not set"


@frozen
class Difference:
    """One key, as the files write it, defaults not filled in. before: "not set" where the parent has none."""

    key: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.before} -> {self.after}"


@frozen
class Parentage:
    """parent: the recipe that is extended; the file itself, without its list of runs, where it extends none.

    runs: what each run changes of that, by id. of_runs: what becomes of the parent's own runs and fits, in a line.
    """

    parent: str
    runs: dict[str, tuple[Difference, ...]]
    of_runs: str = ""


def parentage(recipe: Recipe) -> Parentage:
    """The differences of every run of a recipe, overrides included. Raises `Problems` as reading does."""
    parent = parent_of(recipe.file)
    table, _ = base_table(parent or recipe.file)
    before = _flat(table)
    runs = {run.id: differences(before, _flat(run.table)) for run in recipe.runs}
    return Parentage(
        parent or f"{recipe.file} without its list of runs", runs, of_base_runs(recipe.file) if parent else ""
    )


_NAMES = ("name", "description", "extends", *COUNTS, *EXPANSIONS)
"""Keys that say what a recipe is called and which runs it has."""


def _flat(table: dict[str, Any]) -> dict[str, Any]:
    return flat({key: value for key, value in table.items() if key not in _NAMES})


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """Every key in which two flat tables differ."""
    found = [
        Difference(key, before.get(key, NOT_SET), after.get(key, NOT_SET))
        for key in {**before, **after}
        if before.get(key, NOT_SET) != after.get(key, NOT_SET)
    ]
    return tuple(found)

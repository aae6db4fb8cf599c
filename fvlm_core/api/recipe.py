"""Recipes: from a file, a shipped one, or made in Python."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from html import escape
from os import PathLike
from pathlib import Path
from typing import Any

from fvlm_core.api.explained import public
from fvlm_core.api.views.recipe import resolved_text
from fvlm_core.recipes import read
from fvlm_core.recipes.extends import parent_file, recipe_tree, tree_of
from fvlm_core.recipes.files import find_recipe
from fvlm_core.recipes.located import from_plain
from fvlm_core.recipes.written import reference, text_of
from fvlm_core.utils.atomic_files import write_text
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.outputs import prepare, writing
from fvlm_core.utils.paths import user_path

MADE = "the recipe"
"""What messages call a recipe that has no file."""


class Recipe:
    """A recipe, checked in all its runs when it is made.

    checked: what the core makes of it: its name, its runs, and its fits.
    """

    checked: read.Recipe

    @public
    def __init__(self, source: str | PathLike[str] | Mapping[str, Any]) -> None:
        """source: a file, the name of a shipped recipe, or its tables: {"name": "mine", "extends": "lora_small", ...},
        in which paths are relative to the working folder. Raises `FvlmError` with everything that is wrong."""
        if isinstance(source, Mapping):
            tree = tree_of(source, MADE)
            self._own = from_plain(source, MADE).plain()
            if "extends" in source:
                self._own["extends"] = str(parent_file(Path.cwd() / MADE, str(source["extends"])))
        else:
            tree = recipe_tree(str(source))
            self._own = {"extends": str(find_recipe(str(source))[0].resolve())}
        self._tree = tree
        self.checked = read.read_tree(tree)

    @property
    def name(self) -> str:
        """Its runs are kept under this name."""
        return self.checked.name

    @property
    def runs(self) -> list[str]:
        """The ids of its runs, in order."""
        return [run.id for run in self.checked.runs]

    @property
    def table(self) -> dict[str, Any]:
        """Its tables as plain values, with what it extends and all overrides laid over each other."""
        return self._tree.plain()

    @public
    def override(self, *texts: str) -> Recipe:
        """The recipe with keys changed: `override("training.steps=10", "data.sources.shapes.clips=32")`, as the option
        -o of `fvlm run`. Raises `FvlmError`."""
        changed = copy(self)
        changed._own = read.overridden(from_plain(self._own, MADE), texts).plain()
        changed._tree = read.overridden(self._tree, texts)
        changed.checked = read.read_tree(changed._tree)
        return changed

    @public
    def only(self, *names: str) -> Recipe:
        """The recipe with these of its runs alone, and no fits: ids, or patterns of them. Raises `FvlmError`."""
        chosen = copy(self)
        chosen.checked = read.only(self.checked, names)
        return chosen

    @public
    def save(self, path: str | PathLike[str]) -> Path:
        """Write it as a TOML file, which extends what this one was made from, and read that back. Raises `FvlmError`
        where it cannot be written, or would be another recipe there."""
        file = user_path(Path(path))
        if file.suffix != ".toml":
            raise UsageError(f"{file}: expected a name that ends in .toml")
        if self.checked.left_out:
            raise UsageError(
                f"{self.name}: only some of its runs are chosen; save the recipe with all of them"
            )
        table = {**self._own, "name": self.name}
        if "extends" in table:
            if file.resolve() == Path(table["extends"]):
                raise UsageError(f"{file}: is what this recipe is made from: give another name")
            table["extends"] = reference(Path(table["extends"]), file)
        prepare(file)
        with writing(file):
            write_text(file, text_of(table))
        if Recipe(file) != self:
            raise UsageError(
                f"{file}: is another recipe than this one, for paths in it are relative to its folder: write them in "
                "full"
            )
        return file

    def __eq__(self, other: object) -> bool:
        """Whether all runs and fits are the same."""
        if not isinstance(other, Recipe):
            return NotImplemented
        mine, others = self.checked, other.checked
        return (mine.name, mine.runs, mine.fits) == (others.name, others.runs, others.fits)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        return "\n".join(resolved_text(self.checked))

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


def as_recipe(recipe: Recipe | str | PathLike[str] | Mapping[str, Any]) -> Recipe:
    """A recipe, however it is given. Raises `FvlmError`."""
    return recipe if isinstance(recipe, Recipe) else Recipe(recipe)

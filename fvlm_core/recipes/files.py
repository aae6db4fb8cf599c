"""Recipes as files: those that come with fvlm, and the one that a user names."""

from __future__ import annotations

import os
from pathlib import Path

import fvlm_core
from fvlm_core.recipes.structure import did_you_mean
from fvlm_core.utils.errors import Problem, Problems
from fvlm_core.utils.listing import listed
from fvlm_core.utils.paths import user_path

NAMED = 12
"""Files or runs that an error names; the others are counted."""


def shipped() -> Path:
    """The folder of the recipes that come with fvlm: inside an installed wheel, or in a checkout."""
    package = Path(fvlm_core.__file__).parent
    inside = package / "_recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def shipped_recipes() -> list[Path]:
    """The files of the recipes that come with fvlm, by name, without the bases."""
    return sorted(file for file in shipped().glob("*.toml") if not file.name.startswith("_"))


def find_recipe(name: str) -> tuple[Path, str]:
    """A recipe's file from a path or the name of a shipped one, and how to show it. Raises `Problems`."""
    path = user_path(name)
    if path.is_file():
        return path, name
    named = shipped() / f"{name}.toml"
    if path.is_dir() and not named.is_file():
        raise Problems([Problem(_no_recipe(path), file=name)])
    if path.suffix == ".toml" or os.sep in name:
        folder = path.parent if path.parent.is_dir() else Path()
        near = did_you_mean(path.name, [file.name for file in folder.glob("*.toml")])
        raise Problems([Problem(f"no such recipe file{near or _shipped_names()}", file=name)])
    if not named.is_file():
        names = [file.stem for file in shipped().glob("*.toml")]
        near = did_you_mean(name, names)
        raise Problems([Problem(f'no recipe file and no shipped recipe "{name}"{near or _shipped_names()}')])
    return named, str(named)


def _no_recipe(folder: Path) -> str:
    """What to give instead of a folder: a recipe in it, or a shipped one."""
    files = sorted(str(file) for file in folder.glob("*.toml") if not file.name.startswith("_"))
    there = f"; in it: {listed(files, NAMED)}" if files else _shipped_names()
    return f"a folder; expected a recipe, which is a TOML file or the name of a shipped one{there}"


def _shipped_names() -> str:
    names = [file.stem for file in shipped_recipes()]
    return f"; shipped recipes: {', '.join(names)}" if names else ""

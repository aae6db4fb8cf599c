"""Which runs are meant: by recipe, by "recipe/id", by id, by pattern or by folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fvlm_core.runs.listing import find_entries
from fvlm_core.runs.sound import PassedOver, sound
from fvlm_core.runs.store import RECIPE, StoredRun
from fvlm_core.utils.paths import user_path


def select_runs(names: Sequence[str], root: Path, passed_over: PassedOver | None = None) -> list[StoredRun]:
    """The runs that are named, each once, in the order they are named. Raises as `named_folders`; passed_over: see
    `sound`."""
    return sound(named_folders(names, root), passed_over)


def named_folders(names: Sequence[str], root: Path) -> list[Path]:
    """The folders of the runs that are named, each once, in the order they are named.

    A name is as for `find_entries`, or the folder of a run, which may lie outside the store `root`. Raises one
    `UsageError` that tells every name that means nothing, and an id of several runs.
    """
    folders: list[Path] = []
    inside: list[str] = []
    for name in names:
        folder = user_path(name)
        if (folder / RECIPE).is_file():
            folders.append(folder)
        else:
            inside.append(name)
    entries = find_entries(inside, root) if inside else []
    found = [root / entry.folder for entry in entries] + folders
    return list({folder.resolve(): folder for folder in found}.values())


def recipe_names(names: Sequence[str]) -> list[str]:
    """Recipe files as the names that their runs are kept under; other names as they are. Raises `UsageError`."""
    return [_recipe_name(name) for name in names]


def _recipe_name(name: str) -> str:
    if not name.endswith(".toml") or Path(name).is_dir():
        return name
    from fvlm_core.recipes.extends import base_table

    table, file = base_table(name)
    return str(table.get("name", file.stem))


def listing(runs: Sequence[StoredRun]) -> str:
    """Runs in words, by recipe: "grid (3: a, b, c), other (1: a)"."""
    by_recipe: dict[str, list[str]] = {}
    for run in runs:
        by_recipe.setdefault(run.recipe, []).append(run.id)
    return ", ".join(
        f"{recipe} ({len(ids)}: {', '.join(ids[:_NAMED])}{', …' if len(ids) > _NAMED else ''})"
        for recipe, ids in by_recipe.items()
    )


_NAMED = 12
"""Runs of one recipe that are named; the others are counted."""

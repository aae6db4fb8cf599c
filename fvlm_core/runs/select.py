"""Which runs are meant: by recipe, by "recipe/id", by id, by pattern or by folder."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from fvlm_core.errors import UsageError
from fvlm_core.listed import lines
from fvlm_core.paths import user_path
from fvlm_core.runs.listing import Entry, find_entries
from fvlm_core.runs.store import RECIPE, Run, open_run


def select_runs(names: Sequence[str], root: Path) -> list[Run]:
    """The runs that are named, each once, in the order they are named.

    A name is as for `find_entries`, or the folder of a run, which may lie outside the store `root`. Raises one
    `UsageError` that tells every name that means nothing, an id of several runs, and runs whose files cannot be read.
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
    refuse_unreadable(entries)
    found = [root / entry.folder for entry in entries] + folders
    return [open_run(folder) for folder in {folder.resolve(): folder for folder in found}.values()]


def refuse_unreadable(entries: Iterable[Entry]) -> None:
    """Raise one `UsageError` that names every run whose record is damaged, and how."""
    broken = [f"{entry.name}: {entry.problem}" for entry in entries if entry.state == "unreadable"]
    if broken:
        way_out = "Put their files back, or remove them: fvlm runs rm NAME"
        raise UsageError("\n".join(["these runs cannot be read:", lines(broken), way_out]))


def listing(runs: Sequence[Run]) -> str:
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

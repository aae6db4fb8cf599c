"""Which runs are meant: by recipe, by "recipe/id", by id, by pattern or by folder."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from fvlm_core.errors import UsageError
from fvlm_core.runs.store import RECIPE, Run, in_order, open_run
from fvlm_registry.nearest import did_you_mean

_PATTERN = set("*?[")


def select_runs(runs: Sequence[Run], names: Sequence[str], root: Path) -> list[Run]:
    """The runs of the store `root` that names mean, each once, in the order of the store; all when there is no name.

    A name is a recipe, "recipe/id", an id, a pattern of shells (`*`, `?`, `[...]`) for one of these, or a run's folder.
    Raises one `UsageError` that tells every name that means nothing, or an id of several runs.
    """
    if not names:
        return in_order(runs)
    here = {run.folder.resolve(): run for run in runs}
    found: list[Run] = []
    wrong: list[str] = []
    for name in names:
        folder = Path(name).expanduser()
        whole = [run for run in runs if name in (run.recipe, f"{run.recipe}/{run.id}")]
        if (folder / RECIPE).is_file():
            found.append(here.get(folder.resolve()) or open_run(folder))
        elif whole:
            found += whole
        elif matching := [run for run in runs if _means(name, run)]:
            if len(matching) > 1 and not _PATTERN & set(name):
                listed = ", ".join(f"{run.recipe}/{run.id}" for run in matching)
                wrong.append(f'"{name}" is the id of several runs: {listed}')
            found += matching
        else:
            known = dict.fromkeys(
                label for run in runs for label in (run.recipe, run.id, f"{run.recipe}/{run.id}")
            )
            near = did_you_mean(name, known)
            there = f"; recipes there: {', '.join(dict.fromkeys(run.recipe for run in runs))}"
            wrong.append(f'no recipe and no run under {root} is called "{name}"{near or there}')
    if wrong:
        raise UsageError("\n".join(wrong))
    return in_order(found)


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


def _means(name: str, run: Run) -> bool:
    labels = (run.id, run.recipe, f"{run.recipe}/{run.id}")
    return name == run.id or (
        bool(_PATTERN & set(name)) and any(fnmatchcase(label, name) for label in labels)
    )

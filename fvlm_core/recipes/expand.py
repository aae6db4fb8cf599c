"""From one recipe to its runs: `[[runs]]` and `[grid]` (product), or `[ablate]` (one change at a time); `seeds`."""

from __future__ import annotations

import math
import re
from itertools import product
from string import Formatter
from typing import Any

from attrs import evolve, frozen

from fvlm_core.recipes.located import Key, Located
from fvlm_core.recipes.merge import merge
from fvlm_core.recipes.structure import got
from fvlm_core.utils.errors import Problem, Problems
from fvlm_core.utils.file_names import LONGEST

EXPANSIONS = ("runs", "grid", "ablate")
COUNTS = ("seeds", "slots")
"""Keys of a recipe that no run has: how often each is repeated, and how many are trained beside each other."""
MOST_RUNS = 10_000
"""Runs of one recipe: each is built and checked before the first begins."""

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@frozen
class Expanded:
    """One run's recipe before it is checked: its id, the table it is read from, the seed's offset."""

    id: str
    table: Located
    repeat: int = 0


def expand(recipe: Located, name: str) -> list[Expanded]:
    """The runs of a recipe, in order: those listed, then those of a grid. A recipe without runs, grid or ablate is one
    run with the recipe's name.

    Raises `Problems` when the expansion itself is wrong (not a table, no id, two runs of one id).
    """
    used = [kind for kind in EXPANSIONS if kind in recipe.value]
    if "ablate" in used and len(used) > 1:
        text = f"changes one model, and stands alone; this recipe has {' and '.join(used)}"
        raise Problems([recipe.problem(("ablate",), text)])
    base = evolve(recipe, value={k: v for k, v in recipe.value.items() if k not in (*EXPANSIONS, *COUNTS)})
    seeds = count(recipe, "seeds")
    _check_count(recipe, seeds)
    ways = {"runs": _listed, "grid": _grid, "ablate": _ablate}
    runs: _Runs = [run for kind in used for run in ways[kind](recipe, base)]
    if not used:
        runs = [(name, ("name",), base)]
    _check_ids(recipe, runs)
    return [
        Expanded(run if seeds == 1 else f"{run}-s{repeat}", table, repeat)
        for run, _, table in runs
        for repeat in range(seeds)
    ]


def count(recipe: Located, key: str) -> int:
    """One of `COUNTS`, 1 where it is not given. Raises `Problems`."""
    number = recipe.value[key].value if key in recipe.value else 1
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise Problems([recipe.problem((key,), f"expected a whole number of at least 1, got {number!r}")])
    return number


_Runs = list[tuple[str, Key, Located]]


def _check_count(recipe: Located, seeds: int) -> None:
    """Raise `Problems` where a recipe has more runs than anybody means. They are counted, and none is made."""
    listed: dict[str, int] = {}
    key: Key = ("seeds",)
    for kind in ("runs", "ablate"):
        if kind in recipe.value and isinstance(found := recipe.value[kind].value, list | dict):
            listed[kind], key = len(found), (kind,)
    sides: dict[str, int] = {}
    axes = recipe.at(("grid", "axes")).value if "grid" in recipe.value else {}
    if isinstance(axes, dict) and "grid" in recipe.value and "axes" in recipe.value["grid"].value:
        key = ("grid", "axes")
        sides = {f"axis {name}": len(of.value) for name, of in axes.items() if isinstance(of.value, dict)}
    each = sum(listed.values()) + (math.prod(sides.values()) if sides else 0)
    total = max(1, each) * seeds
    if total > MOST_RUNS:
        terms = [f"{count:,} ({name})" for name, count in listed.items()]
        terms += [" x ".join(f"{count:,} ({name})" for name, count in sides.items())] if sides else []
        told = " + ".join(terms)
        if seeds > 1:
            told = " x ".join(filter(None, [f"({told})" if len(terms) > 1 else told, f"{seeds:,} (seeds)"]))
        raise Problems(
            [
                recipe.problem(
                    ("seeds",) if seeds > MOST_RUNS else key,
                    f"{total:,} runs = {told}; expected at most {MOST_RUNS:,}: take fewer, or several recipes",
                )
            ]
        )


def _listed(recipe: Located, base: Located) -> _Runs:
    entries = recipe.value["runs"]
    if not isinstance(entries.value, list) or not entries.value:
        raise Problems([recipe.problem(("runs",), "expected one or more [[runs]] tables")])
    runs: _Runs = []
    problems: list[Problem] = []
    for index, entry in enumerate(entries.value):
        key: Key = ("runs", index)
        if not isinstance(entry.value, dict):
            problems.append(recipe.problem(key, f"expected a table, got {got(entry.value)}"))
        elif "id" not in entry.value:
            problems.append(recipe.problem(key, 'expected an id, as in id = "360M-scaling"'))
        else:
            change = evolve(entry, value={k: v for k, v in entry.value.items() if k != "id"})
            runs.append((str(entry.value["id"].value), (*key, "id"), merge(base, change)))
    if problems:
        raise Problems(problems)
    return runs


def _ablate(recipe: Located, base: Located) -> _Runs:
    changes = _table(recipe, ("ablate",))
    runs: _Runs = [] if "baseline" in changes else [("baseline", ("ablate",), base)]
    for name, change in changes.items():
        key: Key = ("ablate", name)
        _table(recipe, key)
        runs.append((name, key, merge(base, change)))
    return runs


def _grid(recipe: Located, base: Located) -> _Runs:
    grid = _table(recipe, ("grid",))
    for name in grid:
        if name not in ("axes", "id"):
            raise Problems([recipe.problem(("grid", name), "unknown key; a grid has axes and id")])
    if "axes" not in grid:
        raise Problems([recipe.problem(("grid",), "expected axes, as in [grid.axes.size]")])
    axes = _table(recipe, ("grid", "axes"))
    labels = {axis: _table(recipe, ("grid", "axes", axis)) for axis in axes}
    pattern = grid["id"].value if "id" in grid else "-".join(f"{{{axis}}}" for axis in axes)
    fields = [field for _, field, _, _ in Formatter().parse(str(pattern)) if field is not None]
    for field in fields:
        if field not in axes:
            text = f"{{{field}}} is no axis of this grid; its axes are {', '.join(axes)}"
            raise Problems([recipe.problem(("grid", "id"), text)])
    runs: _Runs = []
    for combination in product(*(labels[axis] for axis in axes)):
        table = base
        for axis, label in zip(axes, combination, strict=True):
            _table(recipe, ("grid", "axes", axis, label))
            table = merge(table, labels[axis][label])
        names = dict(zip(axes, combination, strict=True))
        runs.append((str(pattern).format(**names), ("grid",), table))
    return runs


def _table(recipe: Located, key: Key) -> dict[str, Located]:
    found: Any = recipe.at(key).value
    if not isinstance(found, dict):
        raise Problems([recipe.problem(key, f"expected a table of changes, got {got(found)}")])
    return found


def _check_ids(recipe: Located, runs: _Runs) -> None:
    problems: list[Problem] = []
    seen: set[str] = set()
    for run, key, _ in runs:
        if not _RUN_ID.fullmatch(run) or len(run) > LONGEST:
            shown = run if len(run) <= LONGEST else f"{run[:40]}..."
            text = f'"{shown}" cannot name a folder: use letters, digits, ".", "_", "+" and "-"' + (
                f"; {len(run)} are more than {LONGEST}" if len(run) > LONGEST else ""
            )
            problems.append(recipe.problem(key, text))
        if run in seen:
            problems.append(recipe.problem(key, f'two runs have the id "{run}"'))
        seen.add(run)
    if problems:
        raise Problems(problems)

"""From one recipe to its runs: `[[runs]]`, `[grid]` (product), `[ablate]` (one change at a time), `seeds`."""

from __future__ import annotations

import re
from itertools import product
from string import Formatter
from typing import Any

from attrs import evolve, frozen

from fvlm_core.errors import Problem, Problems
from fvlm_core.recipes.located import Key, Located
from fvlm_core.recipes.merge import merge

EXPANSIONS = ("runs", "grid", "ablate")
_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@frozen
class Expanded:
    """One run's recipe before it is checked: its id, the table it is read from, the seed's offset."""

    id: str
    table: Located
    repeat: int = 0


def expand(recipe: Located, name: str) -> list[Expanded]:
    """The runs of a recipe, in order. A recipe without runs, grid or ablate is one run with the recipe's name.

    Raises `Problems` when the expansion itself is wrong (not a table, no id, two runs of one id).
    """
    used = [kind for kind in EXPANSIONS if kind in recipe.value]
    if len(used) > 1:
        text = f"choose one of {', '.join(EXPANSIONS)}; this recipe has {' and '.join(used)}"
        raise Problems([recipe.problem((used[1],), text)])
    base = evolve(recipe, value={k: v for k, v in recipe.value.items() if k not in (*EXPANSIONS, "seeds")})
    if not used:
        runs = [(name, (), base)]
    else:
        runs = {"runs": _listed, "grid": _grid, "ablate": _ablate}[used[0]](recipe, base)
    _check_ids(recipe, runs)
    seeds = recipe.value["seeds"].value if "seeds" in recipe.value else 1
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise Problems([recipe.problem(("seeds",), f"expected a whole number of at least 1, got {seeds!r}")])
    return [
        Expanded(run if seeds == 1 else f"{run}-s{repeat}", table, repeat)
        for run, _, table in runs
        for repeat in range(seeds)
    ]


_Runs = list[tuple[str, Key, Located]]


def _listed(recipe: Located, base: Located) -> _Runs:
    entries = recipe.value["runs"]
    if not isinstance(entries.value, list) or not entries.value:
        raise Problems([recipe.problem(("runs",), "expected one or more [[runs]] tables")])
    runs: _Runs = []
    problems: list[Problem] = []
    for index, entry in enumerate(entries.value):
        key: Key = ("runs", index)
        if not isinstance(entry.value, dict):
            problems.append(recipe.problem(key, f"expected a table, got {entry.value!r}"))
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
        raise Problems([recipe.problem(key, f"expected a table of changes, got {found!r}")])
    return found


def _check_ids(recipe: Located, runs: _Runs) -> None:
    problems: list[Problem] = []
    seen: set[str] = set()
    for run, key, _ in runs:
        if not _RUN_ID.fullmatch(run):
            text = f'"{run}" cannot name a folder: use letters, digits, ".", "_", "+" and "-"'
            problems.append(recipe.problem(key, text))
        if run in seen:
            problems.append(recipe.problem(key, f'two runs have the id "{run}"'))
        seen.add(run)
    if problems:
        raise Problems(problems)

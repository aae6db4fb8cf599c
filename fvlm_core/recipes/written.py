"""Write a recipe: runs that extend another recipe, each with what it changes, for `fvlm run` to read."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from fnmatch import filter as filter_names
from pathlib import Path
from typing import Any

from attrs import frozen

from fvlm_core.recipes.files import shipped
from fvlm_core.recipes.merge import LENGTHS

Table = Mapping[str, Any]


@frozen
class NewRun:
    """A run to write. id: unique. table: the whole recipe of a run like it (`recipes.read.Run.table`). steps: how long
    it trains. seed: its own. about: a comment."""

    id: str
    table: Table
    steps: int
    seed: int
    about: str = ""


def written(
    base: Table, extends: Path, to: Path, name: str, runs: Sequence[NewRun], comment: Sequence[str] = ()
) -> str:
    """The text of a recipe at `to` with these runs, laid over the recipe `extends`, whose own tables are `base`.

    Paths inside `base` stay relative to its own file. What a run has and the base lacks is written with the run. Fits
    of the base are kept, of whatever runs there are: those that they name are not among these.
    """
    lines = [f"# {line}" if line else "#" for line in comment]
    lines += [f"extends = {_value(reference(extends, to))}", f"name = {_value(name)}", "seeds = 1"]
    lines += _fits(base, [run.id for run in runs])
    for run in runs:
        changes = _changes(base, {key: value for key, value in run.table.items() if key != "name"}, ())
        changes = [(key, value) for key, value in changes if key not in _OWN]
        lines += ["", "[[runs]]", f"id = {_value(run.id)}" + (f"  # {run.about}" if run.about else "")]
        lines += [f"{'.'.join(map(_key, key))} = {_value(value)}" for key, value in changes]
        lines += [f"training.steps = {run.steps}", f"training.seed = {run.seed}"]
    return "\n".join(lines) + "\n"


def _fits(base: Table, ids: Sequence[str]) -> list[str]:
    """The fits of a base without the patterns that no new run is called like; nothing where all of them fit."""
    before: list[Table] = list(base.get("fits", ()))
    after: list[Table] = []
    for fit in before:
        strange = [key for key in ("runs", "holdout") if key in fit and not filter_names(ids, str(fit[key]))]
        kept = {key: value for key, value in fit.items() if key not in strange}
        after += [kept] if kept not in after else []
    return [] if after == before else [f"fits = {_value(after)}  # the base's, of the runs below"]


_OWN = {("training", name) for name in (*LENGTHS, "seed")}
"""Keys that a new run has values of its own for."""


def reference(extends: Path, to: Path) -> str:
    """How a new file names the old one: a shipped recipe by its name alone, any other by its path from there."""
    extends = extends.resolve()
    if extends.parent == shipped().resolve():
        return extends.name
    return Path(os.path.relpath(extends, to.resolve().parent)).as_posix()


def _changes(base: Table, table: Table, key: tuple[str, ...]) -> list[tuple[tuple[str, ...], Any]]:
    """What `table` changes of `base`. A table that names another component is written as a whole, as it is read."""
    out: list[tuple[tuple[str, ...], Any]] = []
    for name, value in table.items():
        here = (*key, name)
        before = base.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            other = value.get("name") != before.get("name")  # pyright: ignore[reportUnknownMemberType]
            out += _changes({} if other else before, value, here)  # pyright: ignore[reportUnknownArgumentType]
        elif isinstance(value, dict):
            out += _changes({}, value, here)  # pyright: ignore[reportUnknownArgumentType]
        elif value != before or type(value) is not type(before):
            out.append((here, value))
    return out


def _key(part: str) -> str:
    return part if re.fullmatch(r"[A-Za-z0-9_-]+", part) else json.dumps(part)


def _value(value: Any) -> str:
    """A value in TOML, tables inline."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(str(k))} = {_value(v)}" for k, v in value.items()) + " }"  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(one) for one in value) + "]"  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def whole(name: str, runs: Sequence[tuple[str, Table]], fits: Sequence[Table] = ()) -> str:
    """The text of a recipe that stands alone, with these runs and fits.

    runs: of each its id and its resolved recipe (`recipes.resolved.resolved`). The first one's tables are the recipe's
    own; the others say what they change. What the first has and another lacks cannot be taken away, so such a key is
    written with the runs that have it.
    """
    tables = [_own(table) for _, table in runs]
    base = _common(tables)
    lines = [f"name = {_value(name)}"]
    lines += [
        f"{key} = {_value(value)}"
        for key, value in base.items()
        if not isinstance(value, dict) and key != "name"
    ]
    for key, value in base.items():
        if isinstance(value, dict):
            lines += _tables((key,), value)  # pyright: ignore[reportUnknownArgumentType]
    for (id, _), table in zip(runs, tables, strict=True):
        lines += ["", "[[runs]]", f"id = {_value(id)}"]
        lines += [f"{'.'.join(map(_key, key))} = {_value(value)}" for key, value in _changes(base, table, ())]
    for fit in fits:
        lines += ["", "[[fits]]", *(f"{_key(key)} = {_value(value)}" for key, value in fit.items())]
    return "\n".join(lines) + "\n"


def _own(table: Table) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key not in ("name", "fits", "runs")}


def _common(tables: Sequence[Table]) -> dict[str, Any]:
    """The first table, without the keys that another one lacks."""
    first, *others = tables
    out: dict[str, Any] = {}
    for key, value in first.items():
        if any(key not in other for other in others):
            continue
        below = [other[key] for other in others]
        tabular = isinstance(value, dict) and all(isinstance(other, dict) for other in below)
        same = all(other.get("name") == value.get("name") for other in below) if tabular else False
        out[key] = _common([value, *below]) if same else value
    return out


def _tables(key: tuple[str, ...], table: Table) -> list[str]:
    """`[a.b]` and its keys, then the tables inside it."""
    inside = {name: value for name, value in table.items() if isinstance(value, dict)}
    plain = {name: value for name, value in table.items() if name not in inside}
    lines = ["", f"[{'.'.join(map(_key, key))}]"] if plain or not inside else []
    lines += [f"{_key(name)} = {_value(value)}" for name, value in plain.items()]
    for name, value in inside.items():
        lines += _tables((*key, name), value)
    return lines


def text_of(table: Table) -> str:
    """Tables as the text of a recipe: single values first, then each table."""
    single = {key: value for key, value in table.items() if not isinstance(value, dict)}
    lines = [f"{_key(key)} = {_value(value)}" for key, value in single.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            lines += _tables((key,), value)  # pyright: ignore[reportUnknownArgumentType]
    return "\n".join(lines) + "\n"

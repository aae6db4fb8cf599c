"""The tables of a recipe laid over those of the recipe that it extends, and so on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import evolve

from fvlm_core.recipes.expand import COUNTS, EXPANSIONS
from fvlm_core.recipes.files import find_recipe, shipped
from fvlm_core.recipes.located import Located, from_plain, read_toml
from fvlm_core.recipes.merge import merge
from fvlm_core.recipes.structure import did_you_mean
from fvlm_core.utils.errors import Problem, Problems, UsageError
from fvlm_core.utils.paths import user_path

MOST_BASES = 32
"""Recipes that one may be laid over, each over the next."""


def recipe_tree(name: str) -> Located:
    """The tables of a recipe, with `extends` followed and a name. name: as in `read_recipe`. Raises `Problems`."""
    file, shown = find_recipe(name)
    if file.name.startswith("_"):
        text = "a recipe whose name begins with _ is a base for others (extends) and is not run by itself"
        raise Problems([Problem(text, file=shown)])
    tree = _extended(file, shown, ())
    if "name" not in tree.value:
        tree.value["name"] = Located(file.stem, shown, 1, tree.base)
    return tree


def tree_of(table: Mapping[str, Any], shown: str) -> Located:
    """The same of plain values, in the layout of a recipe's file; paths in it are relative to the working folder.

    shown: what messages call it. Raises `Problems`.
    """
    tree = _over_its_base(from_plain(dict(table), shown), Path.cwd() / shown, shown, ())
    if "name" not in tree.value:
        raise Problems([Problem('expected a name, as in {"name": "mine", ...}', file=shown)])
    return tree


def base_table(name: str) -> tuple[dict[str, Any], Path]:
    """What the runs of a recipe change: its tables with `extends` followed, as plain values, and its file."""
    file, shown = find_recipe(name)
    tree = _extended(file, shown, ())
    own = {key: value for key, value in tree.value.items() if key not in (*EXPANSIONS, *COUNTS)}
    return {key: value.plain() for key, value in own.items()}, file


def parent_of(name: str) -> str | None:
    """The recipe that a recipe extends, as a path that `base_table` takes; None if it extends none."""
    file, shown = find_recipe(name)
    base = read_toml(file, shown).value.get("extends")
    return str(_parent(file, shown, base)) if base is not None else None


def of_base_runs(name: str) -> str:
    """What becomes of the runs and fits of the recipe that a recipe extends, in a line; "" where it has none, or the
    recipe lists no runs of its own, so that they are all its."""
    file, shown = find_recipe(name)
    own = read_toml(file, shown)
    base = own.value.get("extends")
    mine = [kind for kind in EXPANSIONS if kind in own.value]
    if base is None or not mine:
        return ""
    below = _extended(_parent(file, shown, base), shown, (file.resolve(),)).value
    kept = [
        kind for kind in mine if kind in below and kind != "runs"
    ]  # tables merge, and an array is replaced
    gone = [kind for kind in EXPANSIONS if kind in below and kind not in kept]
    said = [f"its [{kind}] is run, too, as far as it is not changed" for kind in kept]
    said += [f"its {' and '.join(_SHOWN[kind] for kind in gone)} is not run"] if gone else []
    if "fits" in below and "fits" not in own.value:
        said.append("its fits are " + ("not made" if "ablate" in mine else "made of these runs"))
    if "seeds" in below and "seeds" not in own.value:
        said.append(f"its seeds = {below['seeds'].value} holds")
    return f"of {base.value}: {'; '.join(said)}" if said else ""


_SHOWN = {"runs": "[[runs]]", "grid": "[grid]", "ablate": "[ablate]"}


def _extended(file: Path, shown: str, above: tuple[Path, ...]) -> Located:
    return _over_its_base(read_toml(file, shown), file, shown, above)


def _over_its_base(tree: Located, file: Path, shown: str, above: tuple[Path, ...]) -> Located:
    """A recipe's own tables laid over those that it extends."""
    base = tree.value.pop("extends", None)
    if base is None:
        return tree
    if len(above) >= MOST_BASES:
        text = f"extends the last of {MOST_BASES} recipes that extend each other; expected fewer: put some together"
        raise Problems([Problem(text, shown, base.line, "extends")])
    parent = _parent(file, shown, base)
    if parent.resolve() in (file.resolve(), *above):
        raise Problems([Problem(f"{base.value} extends this file in turn", shown, base.line, "extends")])
    beside = Path(shown).parent / user_path(base.value)
    below = _extended(parent, str(beside if beside.is_file() else parent), (*above, file.resolve()))
    merged = merge(below, tree)
    # A child that lists its runs in one way does not inherit another way from its base.
    if any(kind in tree.value for kind in EXPANSIONS):
        dropped = [kind for kind in EXPANSIONS if kind not in tree.value]
        if "ablate" in tree.value and "fits" not in tree.value:
            dropped.append("fits")  # changes of one model are compared: no law goes through them
        merged = evolve(merged, value={k: v for k, v in merged.value.items() if k not in dropped})
    return evolve(merged, file=shown, base=tree.base, line=tree.line)


def parent_file(file: Path, extends: str) -> Path:
    """The file that a recipe at `file` extends. Raises `Problems`."""
    return _parent(file, str(file), Located(extends, str(file))).resolve()


def _parent(file: Path, shown: str, base: Located) -> Path:
    """The file that `extends` names: beside the recipe, or a shipped one, which its name alone stands for too."""
    if not isinstance(base.value, str):
        raise Problems(
            [Problem(f"expected the file name of a recipe, got {base.value!r}", shown, base.line, "extends")]
        )
    try:
        parent = file.parent / user_path(base.value)
    except UsageError as error:
        raise Problems([Problem(str(error), shown, base.line, "extends")]) from None
    for found in (parent, shipped() / base.value, shipped() / f"{base.value}.toml"):
        with suppress(OSError):  # a name that no file system takes
            if found.is_file():
                return found
    near = did_you_mean(base.value, [other.name for other in file.parent.glob("*.toml")])
    raise Problems([Problem(f'no such file "{base.value}"{near}', shown, base.line, "extends")])

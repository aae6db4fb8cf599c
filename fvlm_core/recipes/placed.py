"""Where a problem is told that several keys of a recipe have in common, some of them in the recipe that it extends."""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import frozen

from fvlm_core.recipes.located import Key, Located, dotted
from fvlm_core.utils.errors import Problem
from fvlm_core.utils.listing import listed

_NAMED = 3
"""Further places that one message tells."""

_WORD = re.compile(r"[A-Za-z_][\w-]*(?:\.[A-Za-z_][\w-]*)*")
_VALUE = re.compile(r'"([^"]*)"')


@frozen
class _Place:
    """A key, and how much it is the user's: an option before their own file, that before a base; then what one run
    changes before what all have."""

    key: Key
    found: Located
    rank: tuple[bool, bool, bool]

    def __str__(self) -> str:
        where = f"{self.found.file}:{self.found.line}" if self.found.line else self.found.file
        return f"{dotted(self.key)}: {where}"


def place(tree: Located, table: Located, key: Key, text: str) -> Problem:
    """A problem at `key` of the run `table`, placed at the user's own key that has to do with it.

    A check of several keys is told at one of them, or at their table, which may be a line of a base that is right by
    itself. What was changed of it is then the place, and the other keys are named with theirs: those whose names or
    values the text has; without any, those that the user set in the same table of the recipe.

    tree: the recipe with its bases and overrides, before its runs were made of it.
    """
    told = _place(tree, table, key)
    # Of a key that nobody knows, what else the text names is what may be meant, and no part of the problem.
    named = [] if text.startswith("unknown key") else _named(tree, table, key, text)
    first = max([told, *named], key=lambda one: one.rank)  # the first of equals
    if first is told and not told.rank[1]:
        return table.problem(key, text + _told(_changed(tree, table, key), "beside "))
    if first is told:
        return table.problem(key, text + _told([one for one in named if one.found.file != told.found.file]))
    inside = first.key[: len(key)] == key  # a table is told by the keys in it
    others = [one for one in (*named, *([] if inside else [told])) if one is not first]
    subject = "" if inside else f"{dotted(key[-1:])}: "
    return table.problem(first.key, subject + text + _told(others))


def _told(places: list[_Place], how: str = "") -> str:
    """Other places, in brackets after a text."""
    found = listed(dict.fromkeys(map(str, places)), _NAMED, none="")
    return f" ({how}{found})" if found else ""


def _is_option(found: Located) -> bool:
    return found.line is None and found.file.startswith("-")


def _place(tree: Located, table: Located, key: Key) -> _Place:
    found = table.at(key)
    option = _is_option(found)
    a_run_changes_it = not isinstance(found.value, dict) and tree.at(key) is not found
    return _Place(key, found, (option, option or found.file == tree.file, a_run_changes_it))


def _named(tree: Located, table: Located, key: Key, text: str) -> list[_Place]:
    """The keys of a recipe that a text names: those at and beside its own, those written out from the root, and what
    was changed to a value that it quotes, in the same table of the recipe."""
    known: list[Key] = []
    for name in dict.fromkeys(_WORD.findall(text)):  # a plugin that is off: hundreds of words, in each run
        starts = (key, key[:-1], ()) if "." in name else (key, key[:-1])
        known += [other for start in starts if _has(table, other := (*start, *name.split(".")))]
    quoted = set(_VALUE.findall(text))
    known += [
        other
        for other, found in _leaves(table.at(key[:1]), key[:1])
        if isinstance(found.value, str) and found.value in quoted and any(_place(tree, table, other).rank)
    ]
    several = [one for one in dict.fromkeys(known) if one != key]
    # A table that is named together with one of its keys adds nothing to it.
    inner = [
        one for one in several if not any(other != one and other[: len(one)] == one for other in several)
    ]
    return [_place(tree, table, one) for one in inner]


def _has(table: Located, key: Key) -> bool:
    for part in key:
        try:
            table = table.value[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True


def _leaves(found: Located, key: Key) -> Iterator[tuple[Key, Located]]:
    if isinstance(found.value, dict):
        for name, child in found.value.items():
            yield from _leaves(child, (*key, name))
    elif isinstance(found.value, list):
        for at, child in enumerate(found.value):
            yield from _leaves(child, (*key, at))
    else:
        yield key, found


def _changed(tree: Located, table: Located, key: Key) -> list[_Place]:
    """What the user set beside a key, in their own file or by an option; without anything there, in the nearest table
    around it that they changed."""
    for around in range(len(key) - 1, 0, -1):
        leaves = _leaves(table.at(key[:around]), key[:around])
        places = [one for one in (_place(tree, table, other) for other, _ in leaves) if one.rank[1]]
        if places:
            return sorted(
                places, key=lambda one: one.key[-1] != "name"
            )  # a component's name decides its keys
    return []

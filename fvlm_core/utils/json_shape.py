"""Of what kind the values of a JSON file are. What stands there may come from anywhere; readers rely on these kinds.

A key that a shape does not name may hold anything: nothing reads it but to show it. One that is missing is no misfit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from attrs import frozen


@frozen
class JSONKind:
    """A kind of values. words: as an error says it. empty: whether null is one of them, and stands for "not known"."""

    words: str
    types: tuple[type, ...]
    empty: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value is of this kind; true and false are no numbers."""
        if value is None:
            return self.empty
        return isinstance(value, self.types) and (bool in self.types or not isinstance(value, bool))


TEXT = JSONKind("text", (str,))
NAMED = JSONKind("text or a table", (str, dict))
FLAG = JSONKind("true or false", (bool,))
WHOLE = JSONKind("a whole number", (int,))
COUNT = JSONKind("a whole number, or null", (int,), empty=True)
NUMBER = JSONKind("a number", (int, float))
MEASURED = JSONKind("a number, or null", (int, float), empty=True)
TABLE = JSONKind("a table", (dict,))
PERHAPS = JSONKind("a table, or null", (dict,), empty=True)
LIST = JSONKind("a list", (list,))


@frozen
class Each:
    """A list whose entries are tables of this shape. must: keys that none of them lacks."""

    shape: Shape
    must: tuple[str, ...] = ()


@frozen
class Every:
    """A table, or null, whose values are all of this kind or shape."""

    of: JSONKind | Shape | Every


Shape = Mapping[str, "JSONKind | Shape | Each | Every"]


def misfit(value: Any, shape: Shape, must: tuple[str, ...] = (), key: str = "") -> str:
    """The first thing that is not as `shape` has it, in words; the empty string where all is.

    must: keys that may not be missing.
    """
    if not isinstance(value, dict):
        return f"{key or 'the whole'} is {_shown(value)}; expected a table of values"
    if missing := [name for name in must if name not in value]:
        return f"{key + ' ' if key else ''}lacks {', '.join(missing)}"
    for name, of in shape.items():
        if name in value and (found := _differs(value[name], of, f"{key}.{name}" if key else name)):
            return found
    return ""


def _differs(value: Any, of: JSONKind | Shape | Each | Every, key: str) -> str:
    if isinstance(of, JSONKind):
        return "" if of.holds(value) else f"{key} is {_shown(value)}; expected {of.words}"
    if isinstance(of, Each):
        if not isinstance(value, list):
            return f"{key} is {_shown(value)}; expected a list of tables"
        found = (misfit(entry, of.shape, of.must, f"{key}[{at}]") for at, entry in enumerate(value))
        return next(filter(None, found), "")
    if isinstance(of, Every):
        if not PERHAPS.holds(value):
            return f"{key} is {_shown(value)}; expected {PERHAPS.words}"
        found = (_differs(inner, of.of, f"{key}.{name}") for name, inner in (value or {}).items())
        return next(filter(None, found), "")
    return misfit(value, of, key=key)


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict | list):
        return "a table" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."

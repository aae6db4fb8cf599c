"""Conditions on runs: `size=135M`, `best_loss < 1.3`, `training.lr >= 1e-3`."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from attrs import frozen

from fvlm_core.errors import UsageError
from fvlm_core.runs.files import read_json
from fvlm_core.runs.listing import FIELDS, Entry
from fvlm_core.runs.store import RECIPE
from fvlm_registry.nearest import did_you_mean

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_SUFFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_CONDITION = re.compile(r"\s*([^\s=!<>]+)\s*(==|!=|<=|>=|=|<|>)\s*(\S.*?)\s*")
_NUMBER = re.compile(r"([-+]?[\d_.]+(?:[eE][-+]?\d+)?)([kKMBT]?)")


@frozen
class Condition:
    """One condition. key: a field of the listing, or a dotted key of the recipe."""

    key: str
    symbol: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """`KEY OP VALUE`, with or without spaces. Raises `UsageError`."""
        found = _CONDITION.fullmatch(text)
        if found is None:
            expected = (
                f'KEY OP VALUE, such as size=135M or "best_loss < 1.3", with OP one of {" ".join(_OPERATORS)}'
            )
            raise UsageError(f'--where: expected {expected}; got "{text}"')
        return cls(*found.groups())

    def holds(self, value: Any) -> bool:
        """Whether a run's value meets it; an unknown one does not. Raises `UsageError` for text that is ordered."""
        if value is None:
            return False
        compare = _OPERATORS[self.symbol]
        if isinstance(value, bool):
            return compare(str(value).lower(), self.value.lower())
        if isinstance(value, int | float):
            number = _number(self.value)
            if number is None:
                raise UsageError(f'--where "{self}": {self.key} is a number; got "{self.value}"')
            return compare(value, number)
        if self.symbol not in ("=", "==", "!="):
            raise UsageError(f'--where "{self}": {self.key} is text; compare it with = or !=')
        if isinstance(value, tuple | list):
            return (self.value in value) == (self.symbol != "!=")
        return compare(str(value), self.value)

    def __str__(self) -> str:
        return f"{self.key} {self.symbol} {self.value}"


def meeting(entries: Sequence[Entry], conditions: Sequence[Condition], root: Path) -> list[Entry]:
    """The entries that meet all conditions. Keys of the recipe are read from the runs' own records.

    Raises `UsageError` for a key that no run has.
    """
    chosen = list(entries)
    for condition in conditions:
        if condition.key in FIELDS:
            values = [getattr(entry, condition.key) for entry in chosen]
        else:
            tables = [_settings(root / entry.folder) for entry in chosen]
            if chosen and not any(condition.key in table for table in tables):
                known = [*FIELDS, *dict.fromkeys(key for table in tables for key in table)]
                near = did_you_mean(condition.key, known)
                fields = f"; fields are {', '.join(FIELDS)}, and the keys of the recipes"
                raise UsageError(f'--where "{condition}": no run has "{condition.key}"{near or fields}')
            values = [table.get(condition.key) for table in tables]
        chosen = [entry for entry, value in zip(chosen, values, strict=True) if condition.holds(value)]
    return chosen


def _settings(folder: Path) -> dict[str, Any]:
    from fvlm_core.recipes.resolved import flat

    with suppress(OSError, ValueError):
        record = read_json(folder / RECIPE)
        if isinstance(record, dict):
            own = {key: value for key, value in record.items() if key != "resolved"}
            return flat(own) | flat(record.get("resolved", {}))
    return {}


def _number(text: str) -> float | None:
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    with suppress(ValueError):
        return float(found[1].replace("_", "")) * _SUFFIXES[found[2]]
    return None

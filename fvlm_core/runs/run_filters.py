"""Runs that meet conditions, on what the listing says of them or on any key of their recipe."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fvlm_core.runs.listing import FIELDS, ListedRun
from fvlm_core.runs.store import RECIPE
from fvlm_core.utils.atomic_files import read_json
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.filter_expression import Condition
from fvlm_registry.nearest import did_you_mean


def meeting(entries: Sequence[ListedRun], conditions: Sequence[Condition], root: Path) -> list[ListedRun]:
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
        chosen = [entry for entry, value in zip(chosen, values, strict=True) if _holds(condition, value)]
    return chosen


def _settings(folder: Path) -> dict[str, Any]:
    from fvlm_core.recipes.resolved import flat

    with suppress(OSError, ValueError):
        record = read_json(folder / RECIPE)
        if isinstance(record, dict):
            own = {key: value for key, value in record.items() if key != "resolved"}
            return flat(own) | flat(record.get("resolved", {}))
    return {}


def _holds(condition: Condition, value: Any) -> bool:
    """Whether a run's value meets it; an unknown one does not. Raises `UsageError` for text that is ordered."""
    if value is None:
        return False
    if condition.is_pattern and not isinstance(value, bool | int | float):
        words = value if isinstance(value, tuple | list) else (value,)
        return any(condition.matches(str(word)) for word in words) == (condition.symbol in ("==", "~"))
    if isinstance(value, bool):
        return condition.compare(str(value).lower(), condition.value.lower())
    if isinstance(value, int | float):
        return condition.compare(value, condition.number())
    wanted = condition.text()
    if isinstance(value, tuple | list):
        return (wanted in value) == (condition.symbol == "==")
    return condition.compare(str(value), wanted)

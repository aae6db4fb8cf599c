"""Rows of points that say the same: exact copies, rows that differ in what no law reads, what was measured twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.utils.listing import shorten

ORDER = ("n", "size", "run", "d", "step", "loss", "schedule", "lr", "compute")
"""What points are sorted by, the first first."""

NAMED = 3
"""Copies that are named; the others are counted."""

POINT = "point"
"""The column of the record of a fit that numbers its points: what told them apart may not be in it."""


def told_by_others(parts: Mapping[str, Any], read: Sequence[str]) -> str:
    """A remark on rows that are alike in all columns that laws read: what tells them apart, and how many they are."""
    alike = repeats(
        row_keys({name: parts[name] for name in (*ORDER, *read) if name in parts}), len(parts["d"])
    )
    if alike is None or not alike.any():
        return ""
    others = [name for name in parts if name not in (*ORDER, *read, POINT)]
    differ = [name or "a column without a name" for name in others if (alike & _unlike(parts[name])).any()]
    count = int((np.concatenate([[False], alike]) | np.concatenate([alike, [False]])).sum())
    return (
        f"points that differ in {shorten(', '.join(differ))} alone, all of which count: {count}"
        if differ
        else ""
    )


def _unlike(column: Any) -> Any:
    """Whether each row after the first differs from the one before: bool [rows - 1]."""
    key = column.codes if isinstance(column, pd.Categorical) else column
    return (key[1:] != key[:-1]) & ~((key[1:] != key[1:]) & (key[:-1] != key[:-1]))


def which(parts: Mapping[str, Any], rows: Any) -> str:
    """The first few of these rows, by run (or size) and D, and how many more."""
    at = np.flatnonzero(rows)
    d = parts["d"]
    named = [
        f"{parts['run'][row] or parts['size'][row]}{f' at D = {d[row]:g}' if d[row] == d[row] else ''}"
        for row in at[:NAMED]
    ]
    return ", ".join(dict.fromkeys(named)) + (f" and {len(at) - NAMED} more" if len(at) > NAMED else "")


def row_keys(parts: Mapping[str, Any]) -> list[Any]:
    """What rows are ordered by, the first key first: codes and numbers, missing ones last. Columns of one value are
    left out."""
    keys: list[Any] = [np.zeros(len(next(iter(parts.values()))), np.int8)]
    for name in dict.fromkeys(name for name in (*ORDER, *parts) if name in parts):
        column = parts[name]
        key = column.codes if isinstance(column, pd.Categorical) else column
        if not isinstance(column, pd.Categorical) and np.isnan(key).any():
            key = np.where(np.isnan(key), np.inf, key)
        if (key != key[0]).any():
            keys.append(key)
    return keys


def repeats(keys: Sequence[Any], rows: int) -> Any:
    """Whether each row after the first is equal to the one before: bool [rows - 1]; None unless rows are in order."""
    equal = np.ones(rows - 1, bool)
    for key in keys:
        before, after = key[:-1], key[1:]
        if (equal & (before > after)).any():
            return None
        equal &= before == after
    return equal


def disputed_points(parts: dict[str, Any]) -> str:
    """A remark on runs that were measured more than once at one D."""
    run, d = parts["run"], parts["d"]
    same = np.asarray(run.categories != "")[run.codes[1:]] & (d[1:] == d[:-1])
    for name in ("n", "size", "run"):
        if name in parts:
            key = parts[name].codes if isinstance(parts[name], pd.Categorical) else parts[name]
            same &= (key[1:] == key[:-1]) | (key[1:] != key[1:])
    if not same.any():
        return ""
    runs = ", ".join(dict.fromkeys(str(label) for label in run[1:][same].unique()))
    return (
        f"points at the same D of the same run as another, all of which count: {same.sum()} ({shorten(runs)})"
    )

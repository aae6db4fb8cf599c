"""A pool that nobody wrote down: every combination of some values of a law's columns, at a cost that is a formula."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.fit.preparation import prepared
from fvlm_core.scaling.points.points import Points, meaning
from fvlm_core.scaling.pool.study import Pool
from fvlm_core.scaling.pool.tables import checked, not_made
from fvlm_core.scaling.predict.question import At
from fvlm_core.utils.arithmetic import Arithmetic
from fvlm_core.utils.errors import Problem, Problems, UsageError
from fvlm_core.utils.parse_number import parse_count
from fvlm_registry.nearest import did_you_mean

Grid = Mapping[str, Sequence[float | str]]
"""Values to try of each column, and of each label of a group."""

MOST = 100_000
"""Combinations; a plan weighs 400 of them."""


def parse_grid(texts: Sequence[str], model: FitModel) -> dict[str, list[float | str]]:
    """`V=16,64,T=1,4` as values by column. Raises `Problems`."""
    given: dict[str, list[float | str]] = {}
    problems: list[Problem] = []
    for text in texts:
        name = ""
        for part in text.split(","):
            before, equals, value = (piece.strip() for piece in part.partition("="))
            name, value = (before, value) if equals else (name, before)
            if not (name and value):
                problems.append(
                    Problem(f'--grid: expected NAME=VALUE,VALUE,..., such as V=16,64, got "{text}"')
                )
                break
            given.setdefault(name, []).append(value)
    if problems:
        raise Problems(problems)
    return checked_grid(given, model)


def checked_grid(given: Grid, model: FitModel) -> dict[str, list[float | str]]:
    """The values by column, every one that the law reads, once each. Raises `Problems`."""
    read = _read(model)
    names = {"N": "n", "D": "d"}
    out: dict[str, list[float | str]] = {}
    problems: list[Problem] = []
    for name, values in given.items():
        column = names.get(name, name)
        if column not in read:
            near = did_you_mean(name, read) or f"; it reads {', '.join(map(_shown, read))}"
            problems.append(Problem(f'--grid: fit "{model.name}" reads no column "{name}"{near}'))
            continue
        out[column] = []
        for value in values:
            found = value if column in model.labels else _number(value, model, column)
            if found is None:
                sign = "positive " if model.variable(column).positive else ""
                problems.append(
                    Problem(f"--grid {name}={value}: expected a {sign}number for {meaning(model, column)}")
                )
            elif found not in out[column]:
                out[column].append(str(found) if column in model.labels else float(found))
    if missing := [one for one in read if one not in out]:
        line = " ".join(f"--grid {_shown(one)}=VALUE,VALUE" for one in missing)
        words = ", ".join(meaning(model, one) for one in missing)
        problems.append(Problem(f'fit "{model.name}" reads {words}: say which values may be run: {line}'))
    if problems:
        raise Problems(problems)
    if (count := prod(map(len, out.values()))) > MOST:
        raise UsageError(f"--grid: {count:,} combinations; expected at most {MOST:,}")
    return out


def combinations(grid: Grid) -> pd.DataFrame:
    """A row for each combination."""
    return pd.DataFrame([*product(*grid.values())], columns=[*grid])


def priced(rows: pd.DataFrame, cost: str) -> Floats:
    """What each row costs, [n]: a formula of its columns. Raises `UsageError`."""
    names = [str(one) for one in rows if rows[one].dtype.kind == "f"]
    columns = {_shown(one): rows[one].to_numpy(float) for one in names}
    found = Arithmetic.parse("6*N*D" if cost == "6ND" else cost)
    unknown = [] if found is None else sorted(found.words - {*columns})
    if found is None or unknown:
        what = f'; "{unknown[0]}" is not one of them' if unknown else ""
        raise UsageError(
            f'--cost: "{cost}": expected what a run costs, as a formula of {", ".join(columns)}{what}. With --cost 1 '
            "the budget is a number of runs"
        )
    with np.errstate(all="ignore"):
        price = np.broadcast_to(found.value(columns), len(rows)).astype(float)
    if (bad := ~(np.isfinite(price) & (price > 0))).any():
        first = int(np.argmax(bad))
        at = ", ".join(f"{name} = {values[first]:g}" for name, values in columns.items())
        raise UsageError(f'--cost: "{cost}" is {price[first]:g} at {at}: expected a cost, finite and above 0')
    return price


def wanted_row(model: FitModel, at: At, n: float | None, d: float | None) -> pd.DataFrame:
    """The row that is to be predicted. Raises `UsageError` where it says too little or too much."""
    read = _read(model)
    row: dict[str, Any] = dict(at)
    for name, value in (("n", n), ("d", d)):
        if value is not None and name not in read:
            raise UsageError(f'fit "{model.name}" reads no {name.upper()}: leave --target-{name} out')
        if value is not None:
            row[name] = value
    if missing := [one for one in read if one not in row]:
        words = ", ".join(meaning(model, one) for one in missing)
        said = " ".join(
            f"--target-{one} NUMBER"
            if one in ("n", "d")
            else f"--at {one}={'LABEL' if one in model.labels else 'NUMBER'}"
            for one in missing
        )
        raise UsageError(f'what is to be predicted lacks {words}, which fit "{model.name}" reads: say {said}')
    return pd.DataFrame([row])[read]


def pool_of(
    model: FitModel, offered: pd.DataFrame, price: Floats, wanted: pd.DataFrame, points: Points | None
) -> Pool:
    """The rows that are measured, those that may be run, and those to be predicted, in this order.

    offered: with the columns that the law reads, and `run` where they have names. What is measured already, as often as
    it is, is not offered. Raises `UsageError` when points lack what the law reads.
    """
    read = _read(model)
    known = pd.DataFrame(columns=[*read, model.target], dtype=float)
    if points is not None:
        known = prepared(points, model).table[[*read, model.target]].copy()
        known[[*model.labels]] = known[[*model.labels]].astype(str)
    left = not_made(offered, known, read)
    for what, table in (("the grid", offered), ("what is to be predicted", wanted)):
        checked(model, table, what)
    rows = [one for one in (known, offered[left], wanted) if len(one)]
    table = pd.concat(rows, ignore_index=True)
    if model.target not in table:
        table[model.target] = np.nan
    prices = np.concatenate([np.full(len(known), np.inf), price[left], np.full(len(wanted), np.inf)])
    return Pool(table, prices, np.arange(len(table)) >= len(table) - len(wanted))


def _read(model: FitModel) -> list[str]:
    return list(dict.fromkeys([*model.columns, *model.reads, *model.labels]))


def _shown(column: str) -> str:
    return column.upper() if column in ("n", "d") else column


def _number(value: float | str, model: FitModel, column: str) -> float | None:
    found = parse_count(value) if isinstance(value, str) else float(value)
    if found is None or not np.isfinite(found) or (found <= 0 and model.variable(column).positive):
        return None
    return found

"""Rows of a pool from tables: what laws read, what a row costs, and what is measured, each checked before it counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from attrs import evolve

from fvlm_core.interfaces.fit import GROUPS, FitModel
from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.points.columns import ColumnChoices, find_columns
from fvlm_core.scaling.points.files import load, open_table
from fvlm_core.scaling.points.parquet_file import FrameSheet
from fvlm_core.scaling.points.points import meaning
from fvlm_core.scaling.points.table_reader import Sheet
from fvlm_core.scaling.pool.study import Pool, read_by, with_standard
from fvlm_core.utils.errors import Problem, Problems, UsageError
from fvlm_core.utils.listing import listed
from fvlm_registry.nearest import did_you_mean

Source = Path | pd.DataFrame
"""A file (CSV, JSON or Parquet), or a table of pandas."""


def read_pool(
    laws: Sequence[FitModel],
    candidates: Source,
    cost: str,
    wanted: Source,
    observed: Source | None,
    named: Mapping[str, str],
) -> Pool:
    """The rows that are measured, those for sale, and those to be predicted, in this order.

    cost: the header of what a candidate costs, in the unit of the budget. named: headers by column, as
    `ColumnChoices.named`. Candidates that are measured already, as often as they are, are not for sale. Raises
    `Problems` or `UsageError` for missing columns and for cells that hold no number that may stand there.
    """
    sale, price = _rows(candidates, "the pool", laws, named, cost=cost)
    goal, _ = _rows(wanted, "the target", laws, named)
    known = sale.iloc[:0].assign(**{laws[0].target: np.nan})
    if observed is not None:
        known, _ = _rows(observed, "the observed rows", laws, named, measured=True)
    for what, rows in (("the observed rows", known), ("the pool", sale), ("the target", goal)):
        for law in laws:
            checked(law, rows, what)
    left = not_made(sale, known, read_by(laws))
    table = pd.concat([known, sale[left], goal], ignore_index=True)
    prices = np.concatenate(
        [np.full(len(known), np.inf), np.asarray(price)[left], np.full(len(goal), np.inf)]
    )
    return Pool(table, prices, np.arange(len(table)) >= len(table) - len(goal))


def checked(law: FitModel, rows: pd.DataFrame, what: str) -> None:
    """Raise `UsageError` for rows that the law says cannot be, and for a law whose features are of no single row."""
    if not len(rows):
        return
    try:
        if law.valid is not None:
            law.valid(rows)
        if law.features:
            whole = with_standard(rows)
            for make in law.features.values():
                make(whole, {})
    except UsageError as error:
        raise UsageError(f'{what}: fit "{law.name}": {error}') from None


def not_made(sale: pd.DataFrame, known: pd.DataFrame, columns: list[str]) -> Any:
    """Which rows for sale are not measured yet: bool [n]. Of equal ones, as many are as were measured."""
    left = (
        pd.Series(1, index=pd.MultiIndex.from_frame(known[columns])).groupby(level=columns).size().to_dict()
    )
    out = np.ones(len(sale), bool)
    for at, row in enumerate(sale[columns].itertuples(index=False, name=None)):
        key = row if len(columns) > 1 else row[0]
        if left.get(key, 0):
            left[key] -= 1
            out[at] = False
    return out


def _rows(
    source: Source,
    what: str,
    laws: Sequence[FitModel],
    named: Mapping[str, str],
    *,
    cost: str = "",
    measured: bool = False,
) -> tuple[pd.DataFrame, Floats | None]:
    """The columns that laws read, and the costs. measured: whether the laws' target is read, too."""
    sheet = FrameSheet(source, what) if isinstance(source, pd.DataFrame) else open_table(source)
    target = laws[0].target
    columns = read_by(laws)
    columns += [target] if measured else []
    choice = _choice(laws, {k: v for k, v in named.items() if measured or k != target}, columns)
    found = find_columns(str(sheet.file), sheet.line, sheet.headers, choice, counts=partial(_never, sheet))
    problems = [
        Problem(f"{what}: no column with {meaning(laws[0], one)}: add it, or say which it is: --columns {one}=HEADER; "
                f"found {listed(sheet.headers)}", str(sheet.file), sheet.line)
        for one in columns
        if one not in found.headers and one not in sheet.headers
    ]  # fmt: skip
    if cost and cost not in sheet.headers:
        near = did_you_mean(cost, sheet.headers) or f"; found {listed(sheet.headers)}"
        problems.append(Problem(f'no column "{cost}", which --cost names{near}', str(sheet.file), sheet.line))
    if problems:
        raise Problems(problems)
    held = load(sheet, found, [], choice)
    table = pd.DataFrame({one: held[one] for one in columns})
    for one in columns:
        if one not in {label for law in laws for label in law.labels}:
            bad = np.flatnonzero(~np.isfinite(table[one].to_numpy(float)))
            problems += sheet.bad_cells(found.headers.get(one, one), "expected a finite number", bad)
    price = None
    if cost:
        price = _price(sheet, cost)
    if problems:
        raise Problems(problems)
    return table, price


def _never(sheet: Sheet, header: str) -> bool:
    """No column is taken for N that is not called so."""
    return False


def _choice(laws: Sequence[FitModel], named: Mapping[str, str], columns: list[str]) -> ColumnChoices:
    """What is looked for in a table of which only some columns are read."""
    choice = ColumnChoices.of(laws, named=dict(named))
    needed = tuple(one for one in choice.needed if one in columns)
    variables = tuple(one for one in choice.variables if one.name in columns)
    unread = tuple(one for one in ("n", "d", "loss") if one not in columns)
    return evolve(choice, needed=needed, variables=variables, unread=unread)


def _price(sheet: Sheet, header: str) -> Floats:
    """What each row costs. Raises `Problems` for what is no positive number."""
    cells = sheet.read([header])
    price = np.asarray(cells.numbers[header], float)
    bad = np.flatnonzero(~((price > 0) & np.isfinite(price)))
    if len(bad):
        raise Problems(sheet.bad_cells(header, "expected a cost, finite and above 0", bad))
    return price


def same_target(laws: Sequence[FitModel]) -> None:
    """Raise `UsageError` unless laws predict the same, each of the columns of a row."""
    first = laws[0]
    for law in laws:
        of_groups = [one.per for one in law.parameters if one.per in GROUPS]
        if law.derive is not None or of_groups:
            what = (
                f"has parameters of each {of_groups[0]}"
                if of_groups
                else "is fitted to points that it makes of runs"
            )
            raise UsageError(
                f'fit "{law.name}" {what}, of which the columns of a row say nothing: name another law with --model'
            )
        if law.target != first.target:
            raise UsageError(
                f'fit "{law.name}" predicts {law.target}, "{first.name}" predicts {first.target}: one plan predicts one'
            )

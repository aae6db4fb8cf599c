"""What points lack to tell a law's parameters apart: found by trying what would be enough."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from attrs import evolve

from fvlm_core.interfaces.fit import GROUPS, FitModel
from fvlm_core.scaling.fit import diagnostics as say
from fvlm_core.scaling.fit.diagnostics import join
from fvlm_core.scaling.fit.identifiability import Rank, design_rank, idle
from fvlm_core.scaling.fit.problem import FitProblem
from fvlm_core.scaling.points.points import meaning, size_label
from fvlm_core.utils.listing import shorten

MOST = 6
"""Values of one column that are tried; a law that takes more asks for them itself (`FitModel.needs`)."""

_NUMBERS = ("no", "one", "two", "three", "four", "five", "six")

_LEVELS = {
    "n": "points of at least {count} model sizes",
    "d": "points at {count} or more amounts of data",
    "lr": "points at {count} or more learning rates",
}

_MORE = {
    "n": ("model size", "model sizes"),
    "d": ("amount of data", "amounts of data"),
    "lr": ("learning rate", "learning rates"),
}


def not_identifiable(problem: FitProblem, found: Rank) -> str:
    """Why, in a sentence or two: which parameters, what the points have, what it would take."""
    nowhere = idle(problem)
    unused = [say.slot_name(problem, problem.slots[at]) for at in nowhere]
    names = [say.slot_name(problem, problem.slots[at]) for at in found.undetermined if at not in nowhere]
    rank = f"(the Jacobian has rank {found.rank} of {found.of})"
    without = ""
    if unused:
        is_, it_makes = ("are", "they make") if len(unused) > 1 else ("is", "it makes")
        without = (
            f"{shorten(join(unused))} {is_} not identifiable: {it_makes} no difference to any predicted loss at "
            f"{'these points' if len(problem.loss) > 1 else 'this point'} {rank}. The law does not use "
            f"{'them' if len(unused) > 1 else 'it'}, or only at other points."
        )
        if not names:
            return without
    few: list[str] = []
    for column in problem.model.columns:
        values = np.unique(problem.table[column])
        if len(values) < len(problem.slots):
            shown = ", ".join(size_label(value) if column == "n" else f"{value:g}" for value in values)
            few.append(f"{say.count(len(values), 'value')} of {meaning(problem.model, column)} ({shown})")
    have = say.count(len(problem.loss), "point") + (f" with {join(few)}" if few else "")
    several = len(names) > 1
    text = (
        f"{shorten(join(names))} {'are' if several else 'is'} not identifiable from {have}: "
        f"{'they can change together' if several else 'it can change'} and leave every predicted loss as it is {rank}"
    )
    return " ".join(filter(None, (without, f"{text}.", shortage(problem))))


def shortage(problem: FitProblem) -> str:
    """A sentence on what is missing; "" where nothing was found. problem: whose points do not tell every slot."""
    model = problem.model
    if model.features or model.derive is not None:  # schedules and runs cannot be made up
        return f"It takes {model.needs}." if model.needs else ""
    short = [
        _LEVELS.get(column, f"{{count}} or more values of {meaning(problem.model, column)}").format(
            count=_NUMBERS[least]
        )
        for column in model.columns
        if (least := _levels(problem, column)) > problem.table[column].nunique()
    ]
    if short:
        return f"It takes {', and '.join(short)}."
    more = [f"{_NUMBERS[count]} more {what}" for count, what in _more(problem)]
    if more:
        return f"It takes {', or '.join(more)}."
    return f"It takes {model.needs}." if model.needs else ""


def _levels(problem: FitProblem, column: str) -> int:
    """The fewest values of a column that tell the law, however many there are of the others; 0: not known."""
    for count in range(1, MOST + 1):
        values = {
            other: _spread(problem.table[other], count if other == column else MOST)
            for other in problem.model.columns
        }
        if _tells(problem, _crossed(problem.model, problem.table, values)):
            return count
    return 0


def _more(problem: FitProblem) -> list[tuple[int, str]]:
    """How many points, of new values of one column and the others as they are somewhere, would be enough."""
    out: list[tuple[int, str]] = []
    table = problem.table
    for column in problem.model.columns:
        others = [_named(problem, other)[0] for other in problem.model.columns if other != column]
        where = f" at one {' and '.join(others)} there is" if others else ""
        for count in range(1, 3):
            new = _spread(table[column], len(table) + MOST)[-count:] * 1.7
            added = [_crossed(problem.model, table.iloc[[0]], {**_held(problem, 0), column: new})]
            if _tells(problem, pd.concat([table, *added], ignore_index=True)):
                out.append((count, f"{_named(problem, column)[count > 1]}{where}"))
                break
    return out


def _named(problem: FitProblem, column: str) -> tuple[str, str]:
    """One of its values, and several, in words."""
    words = meaning(problem.model, column)
    return _MORE.get(column, (f"value of {words}", f"values of {words}"))


def _held(problem: FitProblem, row: int) -> dict[str, Any]:
    return {column: [float(problem.table[column].iloc[row])] for column in problem.model.columns}


def _spread(values: pd.Series[Any], count: int) -> Any:
    """So many values of no special kind, about as large as those there are: [count]."""
    low, high = float(values.min()), float(values.max())
    if low <= 0:
        wide = (high - low) or 1.0
        return low - wide / 7 + 1.4 * wide * np.linspace(0.0, 1.0, count) ** 1.1
    low, high = low / 3, high * 5
    return low * (high / low) ** (np.linspace(0.0, 1.0, count) ** 1.1)


def _crossed(model: FitModel, table: pd.DataFrame, values: dict[str, Sequence[float]]) -> pd.DataFrame:
    """The groups of a table, each with every combination of these values."""
    labels = [name for name in (*GROUPS, *model.labels) if name in table]
    groups = table.drop_duplicates(labels) if "n" not in values else table.iloc[[0]]
    # [combinations, columns]. One table: a frame for each of 1,296 combinations made a refusal take 19 s, not 0.7.
    crossed = np.array(list(product(*values.values())), float)
    table = groups.iloc[np.tile(np.arange(len(groups)), len(crossed))].reset_index(drop=True)
    given = {name: np.repeat(crossed[:, at], len(groups)) for at, name in enumerate(values)}
    named = {"size": [f"{n:.6g}" for n in given["n"]]} if "n" in given else {}
    return table.assign(**given, **named)


def _tells(problem: FitProblem, table: pd.DataFrame) -> bool:
    return design_rank(evolve(problem, table=table)).full

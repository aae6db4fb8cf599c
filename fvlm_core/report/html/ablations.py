"""The ablation table of each recipe: differences to a baseline, with intervals and verdicts."""

from __future__ import annotations

from collections.abc import Sequence

from fvlm_core.comparison import compare
from fvlm_core.comparison import table as values
from fvlm_core.report.html.parts import Block, Cell, Column, Section, Table, minus
from fvlm_core.report.html.run_data import Gathered
from fvlm_core.utils.errors import FvlmError


def section(runs: Sequence[Gathered], baseline: str | None = None) -> Section:
    """A table a recipe that has several runs. baseline: a variant; None: as `fvlm runs compare` chooses it."""
    by_recipe: dict[str, list[Gathered]] = {}
    for one in runs:
        by_recipe.setdefault(one.run.recipe, []).append(one)
    blocks = [
        _block(recipe, of, baseline, at) for at, (recipe, of) in enumerate(by_recipe.items()) if len(of) > 1
    ]
    return Section(
        "comparison", "Comparison of runs", blocks or [Block("", ["One run: nothing to compare it with."])]
    )


def _block(recipe: str, runs: Sequence[Gathered], baseline: str | None, at: int) -> Block:
    try:
        found = values(compare([one.run for one in runs], baseline))
    except FvlmError as error:
        return Block("", [f"{recipe}: {error}"])
    columns = [Column(column.title, column.number) for column in found.columns]
    rows = [
        [_cell(column.show(row), row.get(column.keys[0]), column.number) for column in found.columns]
        for row in found.rows
    ]
    caption = f"{recipe}: validation loss at the best evaluation, compared with {found.baseline}."
    return Block(tables=[Table(f"comparison-{at}", caption, columns, rows, found.notes)])


def _cell(text: str, value: object, numeric: bool) -> Cell:
    return Cell(minus(text), float(value)) if numeric and isinstance(value, int | float) else Cell(text)

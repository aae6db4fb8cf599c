"""Runs beside each other, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fvlm_core.api.views.console import new_table, print_whole

if TYPE_CHECKING:
    from rich.console import Console

    from fvlm_core.comparison import ComparisonTable


def show_tables(console: Console, tables: Sequence[ComparisonTable]) -> None:
    """Print comparisons, one below the other; what holds for all of them once, below the last."""
    several = len(tables) > 1
    of_all = [note for note in tables[0].notes if several and all(note in table.notes for table in tables)]
    for number, table in enumerate(tables):
        if number:
            console.print()
        titles = [column.title for column in table.columns]
        view = new_table(*titles, right=tuple(c.title for c in table.columns if c.number))
        for row in table.texts("variant"):
            view.add_row(*row)
        effects = table.texts("effect")
        if effects:
            view.add_section()
        for row in effects:
            view.add_row(*row)
        print_whole(console, view)
        _notes(console, [note for note in table.notes if note not in of_all])
    if of_all:
        console.print("\nof all tables:", style="dim")
        _notes(console, of_all)


def _notes(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"  {note}", style="dim", soft_wrap=True)

"""The comparison of runs on the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from fvlm_core.cli.console import new_table, print_table, stdout
from fvlm_core.comparison import Table


def show_tables(tables: Sequence[Table]) -> None:
    """Print comparisons, one below the other."""
    for number, table in enumerate(tables):
        if number:
            stdout().print()
        titles = [column.title for column in table.columns]
        view = new_table(*titles, right=tuple(c.title for c in table.columns if c.number))
        for row in table.texts("variant"):
            view.add_row(*row)
        effects = table.texts("effect")
        if effects:
            view.add_section()
        for row in effects:
            view.add_row(*row)
        print_table(view)
        for note in table.notes:
            stdout().print(f"  {note}", style="dim", soft_wrap=True)

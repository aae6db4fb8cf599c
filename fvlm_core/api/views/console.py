"""Tables in the style of every command, and what is printed on a console as text or as HTML."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from fvlm_core.utils.visible_text import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

UNBOUNDED = 1000
"""Columns of a pipe or a file: one row of a table stays one line, for grep and cut."""


def new_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table in the style of every command: no lines, bold head. right: columns aligned to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in right else "left")
    return table


def visible_console(**options: Any) -> Console:
    """A console whose texts are no markup, and whose control characters are spelt out. options: rich's own."""
    from rich.console import Console
    from rich.segment import Segment
    from rich.text import Text

    class Visible(Console):
        """What is not rich's own is spelt out: texts before they are laid out, whatever else as it is written."""

        def render_str(self, text: str, **how: Any) -> Text:
            return super().render_str(visible(text), **how)

        def _render_buffer(self, buffer: Iterable[Segment]) -> str:
            return super()._render_buffer(
                [one if one.control else Segment(visible(one.text), one.style) for one in buffer]
            )

    return Visible(markup=False, emoji=False, highlight=False, **options)


def print_whole(console: Console, table: Table) -> None:
    """Print a table: fitted to a terminal's width; as wide as its text elsewhere."""
    if console.is_terminal:
        console.print(table)
        return
    width = console.width
    console.width = UNBOUNDED
    console.print(table)
    console.width = width


def progress_console() -> Console:
    """Where long work in Python shows its progress: in the notebook, else on stderr."""
    console = visible_console()
    return console if console.is_jupyter else visible_console(stderr=True)


def as_text(show: Callable[[Console], None]) -> str:
    """What `show` prints on a console, without colours and the last end of line."""
    file = io.StringIO()
    show(
        visible_console(
            file=file, width=UNBOUNDED, force_terminal=False, force_jupyter=False, color_system=None
        )
    )
    return file.getvalue().rstrip("\n")


def as_html(show: Callable[[Console], None]) -> str:
    """The same for a notebook: as on a terminal, bold and dim included."""
    console = visible_console(
        file=io.StringIO(), width=UNBOUNDED, record=True, force_terminal=False, force_jupyter=False
    )
    show(console)
    return console.export_html(inline_styles=True, code_format=_HTML).rstrip()


_HTML = '<pre style="line-height: 1.3; white-space: pre; overflow-x: auto">{code}</pre>'

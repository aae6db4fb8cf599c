"""The terminal: one rich console for results (stdout) and one for messages (stderr), made on first use.

Text is printed as it is: square brackets in a message ("[model.encoder]") are not markup. Styles are given by
`style=`, or by `rich.text.Text`. Colours are left out when the stream is no terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from functools import cache
from typing import IO, TYPE_CHECKING, Any, cast

import click

from fvlm_core.cli.streams import Styled, is_utf8
from fvlm_core.utils.visible_text import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_UNBOUNDED = 1000
"""Columns of a pipe or a file: one row of a table stays one line, for grep and cut."""


@cache
def stdout() -> Console:
    """For what the user asked for."""
    return _console(stderr=False)


@cache
def stderr() -> Console:
    """For progress, notes and errors."""
    return _console(stderr=True)


def note(text: str) -> None:
    """One line on stderr: what a person should know of a command that goes on."""
    stderr().print(text, soft_wrap=True)


def heading(text: str) -> None:
    """One line on stdout, bold on a terminal; for commands that are done before rich would be imported."""
    shown = visible(text)
    Styled(error=False).write(f"\x1b[1m{shown}\x1b[0m\n" if sys.stdout.isatty() else f"{shown}\n")


def nowhere() -> Console:
    """For the ranks that say nothing."""
    from rich.console import Console

    return Console(quiet=True, force_terminal=False)


def new_table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    """A table in the style of every command: no lines, bold head. right: columns aligned to the right."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold", justify="right" if column in right else "left")
    return table


def print_table(table: Table) -> None:
    """On stdout: fitted to the terminal's width; as wide as its text when stdout is no terminal."""
    out = stdout()
    (out if out.is_terminal else _console(stderr=False, width=_UNBOUNDED)).print(table)


def print_json(value: Any, indent: int | None = 2) -> None:
    """On stdout, readable where the encoding has every character, else with escapes: the values are the same.

    indent: as `json.dumps` has it; None for one line.
    """
    plain = not is_utf8(sys.stdout)
    click.echo(json.dumps(value, indent=indent, ensure_ascii=plain))


def _console(*, stderr: bool, width: int | None = None) -> Console:
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

    file = cast("IO[str]", Styled(stderr))
    return Visible(file=file, stderr=stderr, width=width, markup=False, emoji=False, highlight=False)

"""The terminal: one rich console for results (stdout) and one for messages (stderr), made on first use.

Text is printed as it is: square brackets in a message ("[model.encoder]") are not markup. Styles are given by
`style=`, or by `rich.text.Text`. Colours are left out when the stream is no terminal.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from typing import IO, TYPE_CHECKING, Any, cast

import click

from fvlm_core.api.views.console import print_whole, visible_console
from fvlm_core.cli.streams import Styled, is_utf8
from fvlm_core.utils.visible_text import visible

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


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


def print_table(table: Table) -> None:
    """On stdout: fitted to the terminal's width; as wide as its text when stdout is no terminal."""
    print_whole(stdout(), table)


def print_json(value: Any, indent: int | None = 2) -> None:
    """On stdout, readable where the encoding has every character, else with escapes: the values are the same.

    indent: as `json.dumps` has it; None for one line.
    """
    plain = not is_utf8(sys.stdout)
    click.echo(json.dumps(value, indent=indent, ensure_ascii=plain))


def _console(*, stderr: bool) -> Console:
    file = cast("IO[str]", Styled(stderr))
    return visible_console(file=file, stderr=stderr)

"""The terminal: one rich console for results (stdout) and one for messages (stderr), made on first use.

Text is printed as it is: square brackets in a message ("[model.encoder]") are not markup. Styles are given by
`style=`, or by `rich.text.Text`. Colours are left out when the stream is no terminal.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


@cache
def stdout() -> Console:
    """For what the user asked for."""
    return _console(stderr=False)


@cache
def stderr() -> Console:
    """For progress, notes and errors."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    return Console(stderr=stderr, markup=False, emoji=False, highlight=False)

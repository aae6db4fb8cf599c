"""An error as the command line says it: the sentence, and of a recipe the line that it is about."""

from __future__ import annotations

import os
import sys

import click

from fvlm_core.cli.streams import Styled
from fvlm_core.utils.errors import FvlmError, Problems
from fvlm_core.utils.listing import MOST, more_lines
from fvlm_core.utils.visible_text import visible


def tell(error: FvlmError) -> None:
    """On stderr: what went wrong; of problems in recipes each with its line, and the wrong part marked below it."""
    if not isinstance(error, Problems):
        click.echo(str(error), err=True)
        return
    from fvlm_core.recipes.excerpt import excerpt

    for problem in error.problems[:MOST]:
        click.echo(str(problem), err=True)
        found = excerpt(problem)
        if found is not None:
            blank = " " * (len(found.gutter) - 2) + "| "
            _styled(f"{found.gutter}{found.line}", "\x1b[2m")
            _styled(f"{blank}{found.marks}", "\x1b[1;31m")
    if more := more_lines(len(error.problems)):
        click.echo(more, err=True)


def _styled(text: str, style: str) -> None:
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    text = visible(text)
    Styled(error=True).write(f"{style}{text}\x1b[0m\n" if colour else f"{text}\n")

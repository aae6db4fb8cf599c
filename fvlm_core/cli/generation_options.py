"""How a model answers, said on the command line: the same options wherever one does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from attrs import evolve

from fvlm_core.interfaces.generation import Generation, giving_way
from fvlm_core.utils.errors import UsageError

G = TypeVar("G", bound=Generation)


def generation_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """`beams`, `temperature`, `top_p`, `stop`: fields of `Generation`, None or () where nothing is said."""
    options = (
        click.option(
            "--beams", type=click.IntRange(min=1), help="Beams of a search.  [default: none, greedy]"
        ),
        click.option("--temperature", type=float, help="Sample at this temperature."),
        click.option("--top-p", type=float, help="Sample from the likeliest tokens of this probability."),
        click.option(
            "--stop",
            multiple=True,
            metavar="TEXT",
            help="A text that ends an answer; may be given several times.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def generation(settings: G, **said: Any) -> G:
    """The settings with what the command line says otherwise. Raises `UsageError`, naming the option."""
    given = {name: value for name, value in said.items() if value is not None and value != ()}
    try:
        return evolve(settings, **giving_way(given))
    except ValueError as error:
        text = str(error.args[0] if error.args else error).replace("'", "")
        raise UsageError("--" + _as_options(text)) from None


def _as_options(text: str) -> str:
    """A field's complaint, "top_p: ..." or "'top_p' must be ...", with the option's name in front."""
    name, _, rest = text.partition(" " if " must " in text else ": ")
    return f"{name.replace('_', '-')}: {rest}"

"""`fvlm plugins`: what is installed, a new one, and whether it keeps the contract."""

from __future__ import annotations

import click

from fvlm_core.cli.lazy import LazyGroup, Table

COMMANDS: Table = {
    "list": ("fvlm_core.cli.plugins_list", "List every plugin and component, and why one is not there."),
    "new": ("fvlm_core.cli.plugins_new", "Write a small distribution with a plugin of your own."),
    "check": ("fvlm_core.cli.plugins_check", "Try what the contract promises, and name the line it breaks."),
}


@click.group(name="plugins", cls=LazyGroup, table=COMMANDS)
def command() -> None:
    """Plugins: encoders, connectors, language models, data sources and fits."""

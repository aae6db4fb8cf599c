"""`fvlm data`: data sets, what they are, how to get them, and what is done with them before training."""

from __future__ import annotations

import click

from fvlm_core.cli.lazy import LazyGroup, Table

COMMANDS: Table = {
    "describe": ("fvlm_core.cli.data_describe", "What a data set is, and what of it is on this machine."),
    "fetch": ("fvlm_core.cli.data_fetch", "Download a data set from its hub."),
    "pack": ("fvlm_core.cli.data_pack", "Write samples to tar shards that are read by offset."),
    "join": ("fvlm_core.cli.data_join", "Seal the parts of a pack as one."),
    "check": ("fvlm_core.cli.data_check", "Find truncated, altered and missing shards."),
    "inspect": (
        "fvlm_core.cli.data_inspect",
        "Draw samples with captions, tokens and masks, and the lengths.",
    ),
    "freeze": ("fvlm_core.cli.data_freeze", "Build a validation set that training has never seen."),
}


@click.group(name="data", cls=LazyGroup, table=COMMANDS)
def command() -> None:
    """Data sets: what they are, how to get them, and what is done with them before training."""

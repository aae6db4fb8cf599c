"""`fvlm runs`: what has been run, and how it compares."""

from __future__ import annotations

import click

from fvlm_core.cli.lazy import LazyGroup, Table

COMMANDS: Table = {
    "list": ("fvlm_core.cli.runs_list", "One line a run: state, best loss, progress, tags."),
    "show": ("fvlm_core.cli.runs_show", "Everything that is known of one run."),
    "compare": (
        "fvlm_core.cli.runs_compare",
        "The ablation table: differences to a baseline, with intervals.",
    ),
    "rm": ("fvlm_core.cli.runs_rm", "Remove runs, or only their checkpoints."),
    "tag": ("fvlm_core.cli.runs_tag", "Put words on runs, or take them off."),
}


@click.group(name="runs", cls=LazyGroup, table=COMMANDS)
def command() -> None:
    """The runs that are kept: list, show, compare, remove, tag."""

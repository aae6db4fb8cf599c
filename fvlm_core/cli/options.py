"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

from pathlib import Path

import click

runs_option = click.option(
    "--runs",
    "root",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    envvar="FVLM_RUNS",
    show_default=True,
    help="Where runs are kept.",
)

run_option = click.option(
    "--run", "run_name", required=True, metavar="RUN", help='A run\'s folder, its id, or "recipe/id".'
)

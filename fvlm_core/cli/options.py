"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

from pathlib import Path

import click

from fvlm_core.cli.path_types import FOLDER_PATH, NAME_OR_PATH

runs_option = click.option(
    "--runs",
    "root",
    type=FOLDER_PATH,
    default=Path("runs"),
    envvar="FVLM_RUNS",
    show_default=True,
    help="Where runs are kept.",
)

run_option = click.option(
    "--run",
    "run_name",
    type=NAME_OR_PATH,
    required=True,
    metavar="RUN",
    help='A run\'s folder, its id, or "recipe/id".',
)

"""Options that say how a law is fitted, shared by the commands that fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.counts import Finite

Command = TypeVar("Command", bound=Callable[..., Any])

objective_option = click.option(
    "--objective",
    type=NearestChoice(["log-huber", "log-lad", "log-mse", "mse"]),
    default="log-huber",
    show_default=True,
    help="What is summed over points: Huber losses of residuals of ln L, their absolute values, their squares; or "
    "squared residuals of L.",
)

_OPTIONS = (
    objective_option,
    click.option(
        "--delta",
        type=Finite(min=0, min_open=True),
        default=1e-3,
        show_default=True,
        help="Where the Huber loss turns from square to linear.",
    ),
    click.option(
        "--draws", type=click.IntRange(2, 100_000), default=1000, show_default=True, help="Bootstrap draws."
    ),
    click.option(
        "--bootstrap",
        type=NearestChoice(["auto", "cluster", "block", "iid", "wild"]),
        default="auto",
        show_default=True,
        help="What is drawn anew: whole runs (cluster), blocks of neighbouring evaluations within a run (block), "
        "points (iid), or signs of whole runs' residuals (wild). auto: random weights for runs, or for blocks where "
        "runs are few.",
    ),
    click.option(
        "--cluster",
        type=NearestChoice(["run", "size"]),
        default="run",
        show_default=True,
        help="What `--bootstrap cluster` and `wild` draw.",
    ),
    click.option(
        "--offsets", is_flag=True, help="Let every run lie above or below the law by a factor of its own."
    ),
    click.option(
        "--fix",
        "fixed",
        multiple=True,
        metavar="NAME=VALUE",
        help='Give a parameter a value, or tie it to others ("beta=alpha"). May be repeated.',
    ),
    click.option(
        "--bounds", multiple=True, metavar="NAME=LOW:HIGH", help="Bounds of a parameter. May be repeated."
    ),
    click.option("--force", is_flag=True, help="Print what is withheld, too; the reasons stay."),
)


def fit_options(command: Command) -> Command:
    """Add the options; the command receives `objective, delta, draws, bootstrap, cluster, offsets, fixed, bounds,
    force`, which `asked` turns into what `fit_points` takes."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command

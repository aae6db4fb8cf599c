"""Options that several commands share, so that they mean the same everywhere."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.offered import Place, completing
from fvlm_core.cli.path_types import FOLDER_PATH, RUN_OR_PATH
from fvlm_core.utils.paths import keep_runs

F = TypeVar("F", bound=Callable[..., Any])

runs_option = click.option(
    "--runs",
    "root",
    type=FOLDER_PATH,
    default=Path("runs"),
    callback=lambda ctx, parameter, folder: keep_runs(folder),
    envvar="FVLM_RUNS",
    show_default=True,
    help="Where runs are kept.",
)

decimal_option = click.option(
    "--decimal",
    type=NearestChoice([".", ","]),
    metavar=".|,",
    help="The decimal mark of numbers in a table; the other one then separates thousands. Default: as the file shows.",
)

run_option = click.option(
    "--run",
    "run_name",
    type=RUN_OR_PATH,
    required=True,
    metavar="RUN",
    help='A run\'s folder, its id, or "recipe/id".',
)


weights_option = click.option(
    "--weights",
    metavar="NAME",
    help="Weights that a callback kept beside the run's own: ema, mean_of_last.  [default: the run's own]",
)


def key_option(name: str, place: Place, help: str) -> Callable[[F], F]:
    """`-o KEY=VALUE`, any number of times. name: of the parameter. place: what completes it."""
    return click.option(
        "-o", name, multiple=True, metavar="KEY=VALUE", shell_complete=completing(place), help=help
    )


def frame_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What is seen of a video or picture in another way than in training: `fps`, `max_frames`, `fit`, `repeats`."""
    options = (
        click.option(
            "--fps", type=click.FloatRange(min=0, min_open=True), help="Frames a second of a video."
        ),
        click.option("--max-frames", type=click.IntRange(min=1), help="Most frames, evenly spaced."),
        click.option(
            "--fit", type=NearestChoice(["letterbox", "crop"]), help="How a picture becomes a square."
        ),
        click.option(
            "--still-frames", "repeats", type=click.IntRange(min=1), help="Frames that a picture makes."
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command

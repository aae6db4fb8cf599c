"""`fvlm gaze`: pictures of where a trained model looks in a video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fvlm_core.cli.console import note, stderr, stdout
from fvlm_core.cli.help import Command
from fvlm_core.cli.options import frame_options, run_option, runs_option, weights_option
from fvlm_core.cli.path_types import ANY_PATH, FILE_PATH


@click.command("gaze", cls=Command)
@click.argument("video", type=ANY_PATH)
@run_option
@runs_option
@weights_option
@click.option(
    "--out",
    type=FILE_PATH,
    default=Path("gaze.gif"),
    show_default=True,
    help="A .gif, .mp4 or .png (contact sheet).",
)
@frame_options
def command(video: Path, run_name: str, root: Path, weights: str | None, out: Path, **otherwise: Any) -> None:
    """Draw where the queries of a trained model attend in VIDEO, frame by frame, its passes side by side.

    VIDEO is shown as in training, unless an option says otherwise.
    """
    from fvlm_core.api.trained import Trained
    from fvlm_core.evaluation.gaze import SUFFIXES
    from fvlm_core.media.moving_pictures import shows_still
    from fvlm_core.runs.store import find_run
    from fvlm_core.utils.errors import UsageError

    if out.suffix not in SUFFIXES:
        raise UsageError(f"--out {out}: expected a file name ending in {', '.join(SUFFIXES)}")
    trained = Trained(find_run(run_name, root), note, weights=weights)
    seen = trained.restored.viewing.note(otherwise, pictures=shows_still(video))
    stderr().print(f"shown {seen}", soft_wrap=True)
    gaze = trained.gaze(video, **otherwise)
    gaze.save(out)
    stdout().print(f"{len(gaze.frames)} frames, {' and '.join(gaze.arrays)}: {out}")

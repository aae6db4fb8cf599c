"""`fvlm gaze`: pictures of where a trained model looks in a video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fvlm_core.cli.console import note, stderr, stdout
from fvlm_core.cli.options import frame_options, run_option, runs_option
from fvlm_core.cli.path_types import ANY_PATH, FILE_PATH


@click.command("gaze")
@click.argument("video", type=ANY_PATH)
@run_option
@runs_option
@click.option(
    "--out",
    type=FILE_PATH,
    default=Path("gaze.gif"),
    show_default=True,
    help="A .gif, .mp4 or .png (contact sheet).",
)
@frame_options
def command(video: Path, run_name: str, root: Path, out: Path, **otherwise: Any) -> None:
    """Draw where the queries of a trained model attend in VIDEO, frame by frame, its passes side by side.

    VIDEO is shown as in training, unless an option says otherwise.
    """
    from fvlm_core.evaluation.gaze import SUFFIXES, GazeMaps
    from fvlm_core.evaluation.inference import look
    from fvlm_core.media.decoders import open_decoder
    from fvlm_core.media.moving_pictures import shows_still
    from fvlm_core.runs.store import find_run
    from fvlm_core.utils.errors import UsageError
    from fvlm_core.weights.restore import restore

    if out.suffix not in SUFFIXES:
        raise UsageError(f"--out {out}: expected a file name ending in {', '.join(SUFFIXES)}")
    run = find_run(run_name, root)
    restored = restore(run)
    if restored.remark:
        note(restored.remark)
    viewing = restored.viewing
    stderr().print(f"shown {viewing.note(otherwise, pictures=shows_still(video))}", soft_wrap=True)
    frames = viewing.told(**otherwise).frames(video, open_decoder(restored.config.data.decoder))
    looks = look(restored, frames)
    if not looks:
        raise UsageError(
            f'{run.id} has no queries: its connector "{restored.config.model.connector.name}" never looks'
        )
    GazeMaps(frames, looks, f"{run.recipe}/{run.id}, step {restored.step}").save(out)
    stdout().print(f"{len(frames)} frames, {' and '.join(looks)}: {out}")

"""`fvlm needle`: whether a trained model finds what is shown for a moment in a long video."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.help import Command
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import key_option, runs_option, weights_option
from fvlm_core.cli.path_types import FILE_PATH, RUN_OR_PATH


class Listed(click.ParamType[tuple[float, ...]]):
    """Numbers between commas. whole: whole ones, from `least` on; else from 0 to 1."""

    name = "numbers"

    def __init__(self, *, whole: bool) -> None:
        self.whole = whole

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, ...]:
        """Text to numbers."""
        if isinstance(value, tuple):
            return value
        found: list[float] = []
        expected = "whole numbers from 1 on, as 8,16,32" if self.whole else "numbers from 0 to 1, as 0,0.5,1"
        for text in str(value).split(","):
            try:
                number = int(text) if self.whole else float(text)
            except ValueError:
                number = -1
            if not (number >= 1 if self.whole else 0 <= number <= 1):
                self.fail(f'expected {expected}, got "{text}"', param, ctx)
            if number in found:
                self.fail(f"{number:g} stands there twice; expected each once", param, ctx)
            found.append(number)
        return tuple(found)


@click.command(
    "needle", cls=Command, short_help="Whether a trained model finds what is hidden in a long video."
)
@click.argument("run_name", type=RUN_OR_PATH, metavar="RUN")
@click.option(
    "--lengths",
    type=Listed(whole=True),
    metavar="N,N,..",
    help="Frames of the videos.  [default: 8,16,32,64,128]",
)
@click.option(
    "--depths",
    type=Listed(whole=False),
    metavar="X,X,..",
    help="Where the needle is, from 0 (the beginning) to 1 (the end).  [default: 0,0.25,0.5,0.75,1]",
)
@click.option(
    "--samples", type=click.IntRange(min=1), default=32, show_default=True, help="Videos of a cell."
)
@click.option(
    "--data",
    default="needles",
    show_default=True,
    metavar="NAME",
    shell_complete=completing("data"),
    help="A data source whose settings lengths and depths say where the needle is.",
)
@key_option("settings", "data setting", "A setting of that source: -o seed=1.")
@click.option(
    "--metric",
    default="exact-match",
    show_default=True,
    metavar="NAME",
    shell_complete=completing("metric"),
    help="What answers are scored by.",
)
@click.option(
    "--tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="Longest answer.  [default: the recipe's, or 16]",
)
@click.option(
    "--mode",
    metavar="NAME",
    shell_complete=completing("mode"),
    help="All frames at once, in this mode of the connector.  [default: frame by frame, as they come]",
)
@click.option("--out", type=FILE_PATH, help="The heat map: a .png, .pdf or .svg.")
@click.option("--no-record", is_flag=True, help="Do not keep it with the run.")
@weights_option
@click.option("--device", type=NearestChoice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of a table.")
@runs_option
def command(
    run_name: str,
    lengths: tuple[int, ...] | None,
    depths: tuple[float, ...] | None,
    samples: int,
    data: str,
    settings: tuple[str, ...],
    metric: str,
    tokens: int | None,
    mode: str | None,
    out: Path | None,
    no_record: bool,
    weights: str | None,
    device: str,
    as_json: bool,
    root: Path,
) -> None:
    """Hide something in videos and ask the model of RUN for it: accuracy by the length of the video and by how deep the
    needle lies, with intervals at 95 %.

    RUN is a run (its folder, its id, or "recipe/id"), or a folder of exported weights. Videos are watched frame by
    frame, as they come, so that their length costs no memory but that of the tokens a model keeps. The same videos and
    needles are looked for at every length and depth, and those of validation, which no training saw. What was
    found is kept with the run, in place of what was found before, and `fvlm report` shows it.
    """
    from fvlm_core.api.needle import found_needles
    from fvlm_core.api.views.display import Display
    from fvlm_core.cli.console import note, stderr, stdout
    from fvlm_core.report.figures.files import check_format
    from fvlm_core.utils.outputs import prepare

    if out is not None:
        check_format(out)
        prepare(out)
    with Display(stderr(), 0) as display:
        found = found_needles(
            run_name,
            root,
            lengths=lengths or (),
            depths=depths or (),
            samples=samples,
            data=data,
            settings=settings,
            metric=metric,
            mode=mode,
            device=device,
            weights=weights,
            record=not no_record,
            note=note,
            progress=display.work,
            limit=tokens,
        )
    if out is not None:
        found.save(out)
    if as_json:
        click.echo(json.dumps(found.to_dict(), indent=2, allow_nan=False))
    else:
        found.show(stdout())

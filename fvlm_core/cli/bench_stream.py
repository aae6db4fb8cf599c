"""`fvlm bench stream`: a video without an end, watched with every connector of a recipe."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.help import Command
from fvlm_core.cli.options import key_option, runs_option
from fvlm_core.cli.path_types import RECIPE_OR_PATH

if TYPE_CHECKING:
    from fvlm_core.bench.streaming import StreamMeasured


@click.command("stream", cls=Command)
@click.argument("subject", type=RECIPE_OR_PATH, metavar="RUN|RECIPE", default="token_budget_small")
@key_option("overrides", "key", "Change one key of the recipe.")
@click.option(
    "--frames",
    type=click.IntRange(8, 4096),
    default=512,
    show_default=True,
    help="How long the video is watched.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=3, show_default=True, help="Pairs of processes, in turn."
)
@click.option("--device", type=NearestChoice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option(
    "--precision",
    type=NearestChoice(["float32", "bf16", "auto"]),
    help="Of matrix products, over float32 weights: float32 on a CPU and bf16 on a GPU unless you say; auto: what the "
    "device is faster in.",
)
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
@runs_option
def command(
    subject: str,
    overrides: tuple[str, ...],
    frames: int,
    rounds: int,
    device: str,
    precision: str | None,
    as_json: bool,
    root: Path,
) -> None:
    """Watch a video frame by frame, one alone, with the model of a run or with every connector of a recipe, each in
    turn with a control that keeps the last four frames.

    Weights are drawn at random: what is measured does not depend on them. A row tells the frames a second that are kept
    up over the last stretch, how many times as fast the control is, the time from a question to the first token of
    the answer, early and late in the video, the memory that is kept, what a further frame adds to it, and the exponent
    by which time grows with the frames seen.
    """
    from attrs import asdict

    from fvlm_core.api.trained import Trained
    from fvlm_core.api.views.display import Display
    from fvlm_core.bench.child import streams_of
    from fvlm_core.bench.pairs import machine
    from fvlm_core.bench.setting import Setting, precision_of
    from fvlm_core.bench.streaming import MARKS, VOCABULARY, bench_stream, threads
    from fvlm_core.cli.console import note, stderr
    from fvlm_core.recipes.files import shipped_recipes
    from fvlm_core.runs.store import find_run
    from fvlm_core.utils.errors import UsageError

    marks = (*(mark for mark in MARKS if mark < frames), frames)
    if len(marks) < 2:
        raise UsageError(f"--frames {frames}: growth shows from two places on; expected more than {MARKS[0]}")
    with TemporaryDirectory() as folder:
        recipe = subject
        known = subject in {file.stem for file in shipped_recipes()}
        if not known and not subject.endswith(".toml"):
            recipe = str(Path(folder, "run.toml"))
            Trained(find_run(subject, root), note).recipe.save(recipe)
        setting = Setting(
            recipe=recipe,
            overrides=overrides,
            device=device,
            precision=precision_of(device, precision),
        )
        about: dict[str, Any] = {
            **machine(("torch", "transformers")),
            "device": setting.device_name,
            "precision": setting.precision,
            **({"threads": threads(setting)} if device == "cpu" else {}),
            "vocabulary": f"{VOCABULARY} where the tokenizer is made from the data",
        }
        with Display(stderr(), 0) as display:
            found, unable = bench_stream(setting, marks, rounds, streams_of, display.work)
    for name in unable:
        note(f"{name}: cannot watch frame by frame, left out")
    if as_json:
        import json

        rows = [
            {
                **asdict(one),
                "frames_per_second": one.streamed.rate,
                "bytes_per_frame": one.streamed.growth,
                "exponent": one.streamed.exponent,
                "holds": one.holds,
            }
            for one in found
        ]
        click.echo(json.dumps({"machine": about, "measured": rows}, indent=2))
    else:
        _show(found, marks, about)


def _show(found: list[StreamMeasured], marks: tuple[int, ...], about: dict[str, Any]) -> None:
    from fvlm_core.api.views.console import new_table
    from fvlm_core.bench.streaming import EXPONENT
    from fvlm_core.cli.console import print_table, stdout

    first, last = marks[0], marks[-1]
    numbers = (
        *("tokens a frame", "frames/s", "control is faster by"),
        *(f"first token after {first}", f"after {last}"),
        *(f"kept after {last}", "a frame more", "exponent"),
    )
    table = new_table("connector", *numbers, right=numbers)
    for one in found:
        seen, pair = one.streamed, one.pair
        table.add_row(
            one.name,
            str(seen.tokens_per_frame),
            f"{seen.rate:,.1f}",
            "" if pair is None else f"{pair.ratio:.2f} ({pair.low:.2f} to {pair.high:.2f})",
            f"{1000 * seen.first_token[first]:.1f} ms",
            f"{1000 * seen.first_token[last]:.1f} ms",
            f"{seen.kept[last] / 1024:,.0f} KiB",
            f"{seen.growth / 1024:,.2f} KiB",
            f"{seen.exponent:.2f}{'' if one.holds else ' (!)'}",
        )
    print_table(table)
    stdout().print(f"exponent: promised at most {EXPONENT}", style="dim", soft_wrap=True)
    stdout().print("; ".join(f"{name} {value}" for name, value in about.items()), style="dim", soft_wrap=True)

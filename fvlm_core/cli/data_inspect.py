"""`fvlm data inspect`: samples with captions, tokens and masks, as a picture and as a page."""

from __future__ import annotations

from pathlib import Path

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.data_named import named_data
from fvlm_core.cli.help import Command
from fvlm_core.cli.path_types import FOLDER_PATH

SHEET, PAGE = "samples.png", "samples.html"


@click.command("inspect", cls=Command)
@named_data
@click.option("--to", type=FOLDER_PATH, default=Path("inspect"), show_default=True)
@click.option("--split", type=NearestChoice(["train", "validation"]), default="train", show_default=True)
@click.option(
    "--samples", type=click.IntRange(1, 1000), default=12, show_default=True, help="Shown, of all sources."
)
@click.option("--lengths", type=click.IntRange(1), default=2000, show_default=True,
              help="Measured for the histograms, of each source.")  # fmt: skip
@click.option(
    "--size", type=int, default=224, show_default=True, help="Pixels, where no recipe's encoder says it."
)
def command(
    data: str, settings: tuple[str, ...], to: Path, split: str, samples: int, lengths: int, size: int
) -> None:
    """Draw samples of RECIPE's data, or of the data SOURCE, and how long they are.

    With a recipe, the text is shown in its tokens: which are scored, which are not, which are cut off. Samples that
    cannot be decoded are named.
    """
    from fvlm_core.api.views.display import Display
    from fvlm_core.cli.console import stderr, stdout
    from fvlm_core.cli.data_named import find_data
    from fvlm_core.media.bad_sample import BadSample
    from fvlm_core.report.data_inspection import chosen, lengths_of, shown
    from fvlm_core.report.samples import LengthsOf, ShownSample, contact_sheet, sample_page
    from fvlm_core.utils.errors import FvlmError

    found = find_data(data, settings, (split,))  # type: ignore[arg-type]  # one of the choices
    recipe = found.recipe.runs[0].config if found.recipe else None
    size = recipe.model.encoder.config.spec().image_size if recipe else size
    kept: list[ShownSample] = []
    measured: list[LengthsOf] = []
    wrong: list[str] = []
    with Display(stdout(), 0) as display:
        chat = found.chat()
        for number, named in enumerate(found.sources):
            source = named.open()
            source.prepare(display.work)
            share = samples // len(found.sources) + (number < samples % len(found.sources))
            for index in chosen(source, share):
                try:
                    kept.append(shown(source[index], size, chat, recipe))
                except BadSample as error:
                    wrong.append(str(error))
            of, bad = lengths_of(source, lengths, chat, recipe, display.work)
            measured.append(of)
            wrong += bad
    for text in dict.fromkeys(wrong):
        stderr().print(f"bad sample: {text}", soft_wrap=True)
    if not kept:
        raise FvlmError("none of the samples looked at can be decoded")
    to.mkdir(parents=True, exist_ok=True)
    contact_sheet(kept, to / SHEET)
    sample_page(kept, measured, to / PAGE, f"{data}, {split}")
    for file in (SHEET, PAGE):
        stdout().print(str(to / file), soft_wrap=True)

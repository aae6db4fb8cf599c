"""`fvlm data freeze`: a validation set that stays the same, and that training has never seen."""

from __future__ import annotations

import os
from pathlib import Path

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.data_named import named_data
from fvlm_core.cli.help import Command
from fvlm_core.cli.path_types import FOLDER_PATH


@click.command("freeze", cls=Command)
@named_data
@click.option("--name", required=True, help='What recipes call it: [data.validation] name = "NAME".')
@click.option("--samples", type=click.IntRange(1), default=1000, show_default=True)
@click.option("--to", "root", type=FOLDER_PATH, envvar="FVLM_FROZEN",
              default=Path("frozen"), show_default=True, help="The folder of frozen sets.")  # fmt: skip
@click.option("--leaks", type=NearestChoice(["exclude", "refuse"]), default="exclude", show_default=True,
              help="What becomes of samples that training knows.")  # fmt: skip
@click.option("--size", type=int, default=224, show_default=True, help="Side of the frames in pixels.")
@click.option("--quality", type=int, default=90, show_default=True, help="Of the JPEGs.")
@click.option("--processes", type=int, default=0, help="Processes that decode.  [default: one a core]")
def command(
    data: str, settings: tuple[str, ...], name: str, samples: int, root: Path, leaks: str, size: int, quality: int,
    processes: int,
) -> None:  # fmt: skip
    """Freeze a validation set from the validation split of RECIPE's sources, or of the data SOURCE.

    Every sample is compared with the training split of the same sources by id, by a hash of its file, and by the
    perceptual hash of its first, middle and last frame. Packed sources hold all three; others are decoded.
    """
    import re

    from fvlm_core.api.views.display import Display
    from fvlm_core.cli.console import stdout
    from fvlm_core.cli.data_named import find_data
    from fvlm_core.data.frozen_validation import LEAKS, freeze
    from fvlm_core.datasets.shards.settings import PackSettings
    from fvlm_core.utils.errors import UsageError
    from fvlm_core.utils.file_names import LONGEST, folder_name_fault
    from fvlm_registry import registry

    if folder_name_fault(name) or not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise UsageError(
            f"--name {name}: expected at most {LONGEST} lower-case letters, digits, dots, dashes and underscores"
        )
    taken = [offer for offer in registry().offered("data") if offer.component.name == name]
    if taken and not (root / name).is_dir():
        raise UsageError(f"--name {name}: a data source is called that already ({taken[0].origin})")
    found = find_data(data, settings, ("train", "validation"))
    with Display(stdout(), 0) as display:
        opened = [(named.split, named.open()) for named in found.sources]
        for _, source in opened:
            source.prepare(display.work)
        made = freeze(
            name,
            [source for split, source in opened if split == "validation"],
            [source for split, source in opened if split == "train"],
            samples,
            root / name,
            PackSettings(size=size, quality=quality),
            refuse=leaks == "refuse",
            processes=processes or os.cpu_count() or 1,
            progress=display.work,
        )
    out = stdout()
    for leak in made.left_out:
        out.print(f"leak left out: {leak.sample}: {leak.how} as {leak.training}", soft_wrap=True)
    out.print(
        f"{root / name}: {made.packed.manifest.samples:,} samples, sha256 {made.digest}", soft_wrap=True
    )
    if made.left_out:
        out.print(f"{len(made.left_out):,} leaks are listed in {root / name / LEAKS}", soft_wrap=True)
    out.print(f'in a recipe: [data.validation]\n  name = "{name}"')

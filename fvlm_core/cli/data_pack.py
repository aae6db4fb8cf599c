"""`fvlm data pack`: frames chosen, scaled and compressed once, into shards that are read by offset."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.data_named import named_data
from fvlm_core.cli.help import Command
from fvlm_core.cli.path_types import FOLDER_PATH

if TYPE_CHECKING:
    from fvlm_core.datasets.shards.pack import Packed

SHOWN = 8
"""Reasons that are printed; the file of skipped samples holds all."""


@click.command("pack", cls=Command)
@named_data
@click.option("--to", "root", type=FOLDER_PATH, required=True, metavar="DIR",
              help="Where the shards go: DIR/SOURCE/SPLIT.")  # fmt: skip
@click.option(
    "--split", type=NearestChoice(["train", "validation", "both"]), default="both", show_default=True
)
@click.option("--fps", type=float, help="Frames a second of clips.  [default: the source's own]")
@click.option("--max-frames", type=int,
              help="Longer clips give so many, evenly spaced.  [default: the source's own]")  # fmt: skip
@click.option("--size", type=int, default=224, show_default=True,
              help="Side in pixels: short side scaled, centre cropped.")  # fmt: skip
@click.option("--quality", type=int, default=90, show_default=True, help="Of the JPEGs.")
@click.option("--samples", type=int, default=1000, show_default=True, help="Samples of a shard.")
@click.option("--timeout", type=float, default=120.0, show_default=True,
              help="Seconds after which a sample is given up.")  # fmt: skip
@click.option("--processes", type=int, default=0, help="Processes that decode.  [default: one a core]")
def command(
    data: str, settings: tuple[str, ...], root: Path, split: str, processes: int, **how: float | None
) -> None:
    """Pack the data of RECIPE, or the data SOURCE of that name, into tar shards with an index.

    A sample that cannot be decoded is skipped and named in skipped.jsonl. The same command continues after a kill; the
    same samples and settings give the same bytes, whatever the processes.
    """
    from fvlm_core.api.views.display import Display
    from fvlm_core.cli.console import stdout
    from fvlm_core.cli.data_named import data_folder, find_data
    from fvlm_core.datasets.shards.pack import origin_of, pack
    from fvlm_core.datasets.shards.settings import PackSettings
    from fvlm_core.utils.errors import UsageError

    try:
        pack_settings = PackSettings(**how)  # type: ignore[arg-type]  # click gives each its type
    except ValueError as error:
        raise UsageError(
            str(error.args[0]).replace("'", "--", 1).replace("' ", " ", 1).replace("_", "-")
        ) from None
    found = find_data(data, settings, ("train", "validation") if split == "both" else (split,))  # type: ignore[arg-type]
    packs: list[tuple[str, Packed]] = []
    with Display(stdout(), 0) as display:
        chat = found.chat()
        for named in found.sources:
            source = named.open()
            source.prepare(display.work)
            packed = pack(
                source,
                origin_of(named.chosen, named.split),
                data_folder(root, named),
                pack_settings,
                chat=chat,
                processes=processes or os.cpu_count() or 1,
                progress=display.work,
            )
            packs.append((named.label, packed))
    _show(packs, root)


def _show(packs: list[tuple[str, Packed]], root: Path) -> None:
    from fvlm_core.api.views.console import new_table
    from fvlm_core.cli.console import print_table, stdout
    from fvlm_core.datasets.shards.manifest import SKIPPED

    numbers = ("samples", "frames", "shards", "MB", "skipped", "not listed")
    table = new_table("pack", *numbers, "", right=numbers)
    for _, packed in packs:
        made = packed.manifest
        size = sum(shard.bytes for shard in made.shards) / 1e6
        cells = [f"{made.samples:,}", f"{made.frames:,}", f"{len(made.shards):,}", f"{size:,.1f}"]
        counts = [f"{made.skipped:,}", f"{made.left_out:,}"]
        table.add_row(str(packed.folder), *cells, *counts, "already complete" if packed.already else "")
    print_table(table)
    out = stdout()
    for _, packed in packs:
        if not packed.skipped:
            continue
        out.print(f"\nleft out of {packed.folder} (each is named in {SKIPPED}):", soft_wrap=True)
        for reason, count in list(packed.skipped.items())[:SHOWN]:
            out.print(f"  {count:,} x {reason}", soft_wrap=True)
        if len(packed.skipped) > SHOWN:
            out.print(f"  and {len(packed.skipped) - SHOWN:,} other reasons")
    out.print("\nin a recipe:")
    for label in dict.fromkeys(label for label, _ in packs):
        out.print(f'  [[data.sources]]\n  name = "shards"\n  path = "{root / label}"', soft_wrap=True)

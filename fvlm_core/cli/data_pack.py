"""`fvlm data pack`: frames chosen, scaled and compressed once, into shards that are read by offset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.data_named import named_data
from fvlm_core.cli.help import Command
from fvlm_core.cli.offered import completing
from fvlm_core.cli.path_types import FOLDER_PATH

if TYPE_CHECKING:
    from fvlm_core.datasets.shards.pack import Packed


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
@click.option("--parts", type=click.IntRange(min=1),
              help="Pack in so many parts, each by itself, here or elsewhere.")  # fmt: skip
@click.option(
    "--part", type=click.IntRange(min=1), help="With --parts: pack this one; fvlm data join seals all."
)
@click.option("--launcher", metavar="NAME", shell_complete=completing("launcher"),
              help="With --parts: each part is a job, local or slurm; then they are joined.")  # fmt: skip
@click.option("--slots", type=click.IntRange(min=1), default=1, show_default=True,
              help="With --launcher: jobs at once.")  # fmt: skip
@click.option("-l", "launch", multiple=True, metavar="KEY=VALUE", shell_complete=completing("launcher setting"),
              help="A setting of the launcher: -l partition=cpu.")  # fmt: skip
@click.option("--retries", type=click.IntRange(min=0), default=2, show_default=True,
              help="With --launcher: further starts of a part that make no shard.")  # fmt: skip
@click.option("--dry-run", is_flag=True,
              help="Pack nothing: rows, hours and bytes from some samples, and how far each part is.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="With --dry-run: print one JSON object.")
def command(
    data: str, settings: tuple[str, ...], root: Path, split: str, processes: int, parts: int | None, part: int | None,
    launcher: str | None, slots: int, launch: tuple[str, ...], retries: int, dry_run: bool, as_json: bool,
    **how: float | None,
) -> None:  # fmt: skip
    """Pack the data of RECIPE, or the data SOURCE of that name, into tar shards with an index.

    A sample that cannot be decoded is skipped and named in skipped.jsonl. The same command continues after a kill; the
    same samples and settings give the same bytes, whatever the processes and the parts.
    """
    from fvlm_core.api.views.display import Display
    from fvlm_core.cli.console import stdout
    from fvlm_core.cli.data_named import data_folder, find_data
    from fvlm_core.cli.data_pack_parts import PartsRequest, cores
    from fvlm_core.cli.data_pack_view import show_packs
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
    request = PartsRequest(
        found, root, pack_settings, processes, parts, part, launcher, slots, launch, retries, as_json
    )
    if request.answer(dry_run=dry_run):
        return
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
                processes=processes or cores(),
                progress=display.work,
            )
            packs.append((named.label, packed))
    show_packs(packs, root)

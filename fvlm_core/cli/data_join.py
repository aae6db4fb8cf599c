"""`fvlm data join`: the parts of a pack sealed as one."""

from __future__ import annotations

from pathlib import Path

import click

from fvlm_core.cli.help import Command
from fvlm_core.cli.path_types import FOLDER_PATH


@click.command("join", cls=Command)
@click.argument("root", type=FOLDER_PATH, metavar="DIR")
@click.option("--hash/--sizes", "hashes", default=True, show_default=True,
              help="SHA-256 of every shard, or sizes alone, which is done at once.")  # fmt: skip
def command(root: Path, hashes: bool) -> None:
    """Seal the packs below DIR that were made by `fvlm data pack --parts`, each as one.

    Every file is then, byte for byte, as packing in one go makes it. Parts that lack a shard, or hold one that is not
    what was written, are named (exit code 1); made again, alone, they make the pack whole.
    """
    from fvlm_core.api.views.display import Display
    from fvlm_core.cli.console import stdout
    from fvlm_core.cli.data_pack_view import show_packs
    from fvlm_core.datasets.shards.pack import Packed
    from fvlm_core.datasets.shards.parts import join_parts, packs_in_parts
    from fvlm_core.utils.errors import FvlmError

    folders = packs_in_parts(root)
    if not folders:
        stdout().print(f"{root}: all that is in it is joined already")
        return
    joined: list[tuple[str, Packed]] = []
    wrong: list[str] = []
    with Display(stdout(), 0) as display:
        for folder in folders:
            try:
                label = str(folder.parent.relative_to(root)) if folder != root else "."
                joined.append((label, join_parts(folder, hashes=hashes, progress=display.work)))
            except FvlmError as error:
                wrong.append(str(error))
    if joined:
        show_packs(joined, root)
    if wrong:
        raise FvlmError("\n".join(wrong))

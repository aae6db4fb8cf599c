"""`fvlm data fetch`: download a data set from its hub. The one command that goes to the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fvlm_core.cli.help import Command
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import key_option
from fvlm_core.cli.path_types import FOLDER_PATH


@click.command("fetch", cls=Command)
@click.argument("name", shell_complete=completing("data"))
@click.option(
    "--to",
    type=FOLDER_PATH,
    required=True,
    metavar="DIR",
    help="Where the files go; a recipe's `path` for this source.",
)
@key_option("settings", "data setting", "One of the source's own keys.")
@click.option(
    "--only",
    "patterns",
    multiple=True,
    metavar="PATTERN",
    help="Get the files that match, instead of all that the source reads: --only 'OpenVid_part1.zip'.",
)
def command(name: str, to: Path, settings: tuple[str, ...], patterns: tuple[str, ...]) -> None:
    """Download the data set NAME into DIR, as published. What is there already is not downloaded again.

    Prints size and licence first. Data sets that ask for their terms to be accepted need `hf auth login`.
    """
    from fvlm_core.cli.console import stdout
    from fvlm_core.datasets.catalogue import describe
    from fvlm_core.datasets.fetching import download, look_up
    from fvlm_core.utils.errors import UsageError

    card = describe(name, settings, None).card
    if card is None:
        raise UsageError(f'"{name}" is not from a hub: there is nothing to fetch')
    if not card.fetch:
        raise UsageError(f'"{name}" cannot be downloaded: {card.legal}')
    wanted = patterns or card.fetch
    out = stdout()
    out.print(f"{card.hub}: {card.size}", soft_wrap=True)
    out.print(f"licence: {card.licence}", soft_wrap=True)
    if card.legal:
        out.print(f"note: {card.legal}", soft_wrap=True)
    files = look_up(card.hub, wanted)
    out.print(f"{files.count:,} files, {files.size / 1e9:,.2f} GB, to {to}", soft_wrap=True)
    download(files, to, _bars())
    out.print(f"look at it with: fvlm data describe {name} --at {to}", soft_wrap=True)


def _bars() -> type[Any]:
    """The hub's bars, which draw over themselves."""
    from huggingface_hub.utils import tqdm

    from fvlm_core.cli.streams import Styled

    class Bars(tqdm):
        def __init__(self, *of: Any, **how: Any) -> None:
            super().__init__(*of, **{**how, "file": Styled(error=True)})

    return Bars

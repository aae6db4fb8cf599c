"""`fvlm data describe`: what a data set is, and what of it is on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fvlm_core.cli.help import Command
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import key_option
from fvlm_core.cli.path_types import FOLDER_PATH

if TYPE_CHECKING:
    from fvlm_core.datasets.catalogue import Described

SHOWN = 10
"""Problems printed without --all."""


@click.command("describe", cls=Command)
@click.argument("name", shell_complete=completing("data"))
@click.option(
    "--at",
    type=FOLDER_PATH,
    metavar="DIR",
    help="Also list what is in DIR: samples of each split, and every row that cannot be used.",
)
@key_option("settings", "data setting", "One of the source's own keys.")
@click.option("--all", "every", is_flag=True, help="With --at: print every problem, not the first ten.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(name: str, at: Path | None, settings: tuple[str, ...], every: bool, as_json: bool) -> None:
    """Say what the data set NAME is: hub, licence, size, layout, splits, prompts, and what becomes of odd rows."""
    from fvlm_core.cli.console import print_json
    from fvlm_core.datasets.catalogue import describe

    described = describe(name, settings, at)
    if as_json:
        print_json(described.to_json())
    else:
        _print(described, every)


def _print(described: Described, every: bool) -> None:
    from fvlm_core.api.views.console import new_table
    from fvlm_core.cli.console import print_table, stdout

    stdout().print(f"{described.name}  {described.summary}", soft_wrap=True)
    table = new_table("", "")
    table.show_header = False
    for label, value in _lines(described):
        table.add_row(label, value)
    print_table(table)
    listed = described.listed
    if listed is None:
        return
    stdout().print()
    for split, samples in listed.samples.items():
        shown = f"{samples:,} samples" if isinstance(samples, int) else samples
        stdout().print(f"{split}: {shown}", soft_wrap=True)
    shown = listed.problems if every else listed.problems[:SHOWN]
    stdout().print(f"problems: {len(listed.problems):,}")
    for problem in shown:
        stdout().print(f"  {problem}", soft_wrap=True)
    if len(shown) < len(listed.problems):
        stdout().print(f"  and {len(listed.problems) - len(shown):,} more (--all prints them)")


def _lines(described: Described) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []

    def add(label: str, values: Any) -> None:
        for value in [values] if isinstance(values, str) else values:
            if value:
                lines.append((label, value))
                label = ""

    card = described.card
    if card is not None:
        add("hub", card.hub)
        add("licence", card.licence)
        add("legal", card.legal)
        add("size", card.size)
        add("layout", card.layout)
        add("columns", card.columns)
        add("split", card.split)
        add("prompts", card.prompts)
        add("odd rows", [f"{trap}: {answer}" for trap, answer in card.traps])
    add("floor of the loss", described.floor)
    add("settings", [f"{key} = {value}" for key, value in described.settings.items()])
    if card is not None:
        command = f"fvlm data fetch {described.name} --to DIR"
        add("get it with", command if card.fetch else "cannot be downloaded")
    return lines

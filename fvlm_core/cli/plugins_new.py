"""`fvlm plugins new`: a small distribution with a plugin that installs, passes its tests and runs."""

from __future__ import annotations

from pathlib import Path

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.help import Command
from fvlm_core.cli.path_types import FOLDER_PATH

KINDS = (
    "encoder",
    "connector",
    "llm",
    "data",
    "objective",
    "optimizer",
    "schedule",
    "callback",
    "metric",
    "section",
    "fit",
)


@click.command("new", cls=Command)
@click.argument("name")
@click.option(
    "--kind",
    type=NearestChoice(KINDS, {"law": "fit", "model": "llm", "source": "data", "loss": "objective"}),
    required=True,
    help="What the plugin offers.",
)
@click.option(
    "--to",
    type=FOLDER_PATH,
    metavar="DIR",
    help="The folder to write.  [default: fvlm-NAME]",
)
def command(name: str, kind: str, to: Path | None) -> None:
    """Write a distribution fvlm-NAME with one component NAME: code to change, tests, and a recipe that uses it.

    NAME is lower-case letters and digits, with dashes between words. What exists is never written over.
    """
    from fvlm_core.cli.console import stdout
    from fvlm_core.templates.distribution import write

    folder = to or Path(f"fvlm-{name}")
    written = write(name, kind, folder)
    out = stdout()
    for file in written:
        out.print(str(file), soft_wrap=True)
    out.print(f"\npip install -e '{folder}[test]' && pytest {folder}", soft_wrap=True)
    out.print(f"fvlm run {folder}/recipe.toml", soft_wrap=True)

"""`fvlm schema`: the JSON Schema of recipes with the installed plugins."""

from __future__ import annotations

import json
from pathlib import Path

import click

from fvlm_core.cli.help import Command
from fvlm_core.cli.path_types import FILE_OR_STDOUT, STDOUT


@click.command("schema", cls=Command)
@click.option("--out", type=FILE_OR_STDOUT, metavar="FILE",
              help="Write it there instead of printing it.")  # fmt: skip
def command(out: Path | None) -> None:
    """The JSON Schema (2020-12) of recipes, with the plugins installed here: what an editor completes and underlines.

    With the Even Better TOML extension or taplo, write it beside the recipes and begin each with
    "#:schema ./recipe.schema.json".
    """
    from fvlm_core.cli.console import print_json
    from fvlm_core.recipes.json_schema import recipe_schema
    from fvlm_core.utils.outputs import prepare, writing

    if out is None or out == STDOUT:
        print_json(recipe_schema(), indent=1)
        return
    prepare(out)
    with writing(out):
        out.write_text(json.dumps(recipe_schema(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

"""`fvlm recipes`: the recipes that come with fvlm, and what one of them says."""

from __future__ import annotations

from typing import Any

import click

from fvlm_core.api.views.console import new_table
from fvlm_core.cli import console
from fvlm_core.cli.help import Group
from fvlm_core.cli.path_types import RECIPE_OR_PATH


@click.group(name="recipes", cls=Group)
def command() -> None:
    """The recipes that come with fvlm: `fvlm run NAME` runs one."""


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array: with run ids and what each needs.")
def list_(as_json: bool) -> None:
    """List every recipe with the number of its runs and what it is for.

    One that cannot be read here, because a plugin is off or broken, is listed with its reason.
    """
    entries = _entries()
    if as_json:
        console.print_json(entries)
        return
    table = new_table("recipe", "runs", "what it is", right=("runs",))
    for entry in entries:
        if entry["problem"] is None:
            table.add_row(entry["name"], str(len(entry["runs"])), entry["description"])
        else:
            table.add_row(entry["name"], "", f"cannot be read here: {entry['problem']}", style="red")
    console.print_table(table)


@command.command()
@click.argument("name", type=RECIPE_OR_PATH)
@click.option("--resolved", is_flag=True, help="Print what it comes to: bases followed, defaults filled in.")
def show(name: str, resolved: bool) -> None:
    """Print recipe NAME (or a file) with its comments: what it does, needs, and where its numbers are from."""
    from fvlm_core.recipes.files import find_recipe
    from fvlm_core.recipes.read import read_recipe

    if not resolved:
        file, _ = find_recipe(name)
        click.echo(file.read_text(encoding="utf-8"), nl=False)
        return
    recipe = read_recipe(name)
    from fvlm_core.api.views.recipe import resolved_text

    click.echo("\n".join(resolved_text(recipe)))


def _entries() -> list[dict[str, Any]]:
    from fvlm_core.recipes.files import shipped_recipes
    from fvlm_core.recipes.read import read_recipe
    from fvlm_core.utils.errors import Problems

    entries: list[dict[str, Any]] = []
    for file in shipped_recipes():
        entry: dict[str, Any] = {
            "name": file.stem,
            "file": str(file),
            "description": "",
            "runs": [],
            "about": _about(file.read_text(encoding="utf-8")),
            "problem": None,
        }
        try:
            recipe = read_recipe(file.stem)
        except Problems as problems:
            entry["problem"] = str(problems).splitlines()[0]
        else:
            entry["description"] = recipe.runs[0].config.description
            entry["runs"] = [run.id for run in recipe.runs]
        entries.append(entry)
    return entries


def _about(text: str) -> str:
    """The comment that a recipe begins with."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").removeprefix(" "))
    return "\n".join(lines)

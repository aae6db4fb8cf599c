"""`fvlm runs tag`: words on runs, to find them again."""

from __future__ import annotations

from pathlib import Path

import click

from fvlm_core.cli.help import Command
from fvlm_core.cli.options import runs_option
from fvlm_core.cli.path_types import RUN_OR_PATH


@click.command("tag", cls=Command)
@click.argument("name", type=RUN_OR_PATH, metavar="RUN")
@click.argument("tags", nargs=-1, required=True, metavar="TAG...")
@click.option("--remove", is_flag=True, help="Take the tags off instead.")
@runs_option
def command(name: str, tags: tuple[str, ...], remove: bool, root: Path) -> None:
    """Put tags on a run, on all runs of a recipe, or on those that match a pattern; `runs list --tag` finds them."""
    from fvlm_core.runs.listing import find_entries
    from fvlm_core.runs.tags import change_tags, check_tag, read_tags
    from fvlm_core.utils.errors import UsageError
    from fvlm_registry.nearest import did_you_mean

    for tag in tags:
        check_tag(tag)
    entries = find_entries([name], root)
    if remove:
        known = {tag for entry in entries for tag in read_tags(root / entry.folder)}
        for tag in tags:
            if tag not in known:
                near = did_you_mean(tag, known) or (f"; tags: {', '.join(sorted(known))}" if known else "")
                raise UsageError(f'{name} has no tag "{tag}"{near}')
    for entry in entries:
        now = (
            change_tags(root / entry.folder, remove=tags)
            if remove
            else change_tags(root / entry.folder, tags)
        )
        click.echo(f"{entry.name}: {' '.join(now) or 'no tags'}")

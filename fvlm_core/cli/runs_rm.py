"""`fvlm runs rm`: runs that are not wanted any more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.help import Command
from fvlm_core.cli.options import runs_option
from fvlm_core.cli.path_types import RUNS_OR_PATH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fvlm_core.runs.listing import ListedRun


@click.command("rm", cls=Command)
@click.argument("names", type=RUNS_OR_PATH, nargs=-1, required=True, metavar="RUN...")
@click.option("--checkpoints", is_flag=True, help="Only the checkpoints; the record stays.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@runs_option
def command(names: tuple[str, ...], checkpoints: bool, yes: bool, root: Path) -> int:
    """Remove runs: "recipe/id", an id, a recipe (all its runs), or a pattern.

    A run that a process is writing is refused, and nothing outside the store is touched.
    """
    from fvlm_core.runs.listing import find_entries
    from fvlm_core.runs.removal import check_inside, remove_checkpoints, remove_run, size_on_disk
    from fvlm_core.runs.store import CHECKPOINTS
    from fvlm_core.utils.errors import FvlmError

    entries = find_entries(names, root)
    folders = [root / entry.folder for entry in entries]
    for folder in folders:
        check_inside(folder, root)
    sizes = [size_on_disk(folder / CHECKPOINTS if checkpoints else folder) for folder in folders]
    if not yes:
        _ask(entries, sizes, checkpoints)
    failed = False
    for entry, folder, size in zip(entries, folders, sizes, strict=True):
        try:
            (remove_checkpoints if checkpoints else remove_run)(folder, root)
        except FvlmError as error:
            click.echo(str(error), err=True)
            failed = True
            continue
        click.echo(f"removed {'the checkpoints of ' * checkpoints}{entry.name} ({size / 1e6:,.1f} MB)")
    return 1 if failed else 0


def _ask(entries: Sequence[ListedRun], sizes: Sequence[int], checkpoints: bool) -> None:
    """Show what would go, and ask. Raises `click.Abort`."""
    for entry, size in zip(entries, sizes, strict=True):
        loss = f"best val {entry.best_loss:.4f}" if entry.best_loss is not None else "no evaluation"
        planned = f" of {entry.planned:,}" if entry.planned is not None else ""
        click.echo(
            f"  {entry.name}  {entry.state}  step {entry.step:,}{planned}  {loss}  {size / 1e6:,.1f} MB"
        )
    unfinished = [entry for entry in entries if entry.state != "complete"]
    if checkpoints and unfinished:
        click.echo(
            f"  without them {len(unfinished)} of these runs, not complete, would begin again from step 0"
        )
    runs = "1 run" if len(entries) == 1 else f"{len(entries)} runs"
    what = f"the checkpoints of {runs}" if checkpoints else runs
    click.confirm(f"Remove {what}, {sum(sizes) / 1e6:,.1f} MB, for good?", abort=True)

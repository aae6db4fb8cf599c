"""`fvlm watch`: a live report in the web browser while runs go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.help import Command
from fvlm_core.cli.options import runs_option
from fvlm_core.cli.path_types import RUNS_OR_PATH

if TYPE_CHECKING:
    from fvlm_core.report.html import Content

PORT = 8437


@click.command("watch", cls=Command)
@click.argument("names", type=RUNS_OR_PATH, nargs=-1, metavar="[RUN|RECIPE]...")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes a free one."
)
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Where to listen.")
@click.option(
    "--allow-remote",
    is_flag=True,
    help="Let --host be an address that other machines reach. There is no password and no encryption.",
)
@click.option("--open", "then_open", is_flag=True, help="Show it in the web browser.")
@runs_option
def command(
    names: tuple[str, ...], port: int, host: str, allow_remote: bool, then_open: bool, root: Path
) -> None:
    """Serve the report of runs live, to this machine's browser, until Ctrl-C.

    RUN is as for `fvlm report`; without any, all runs of the store. A recipe's file may be named before its first run
    has begun. The page follows the runs without being loaded again, and says when they are complete.
    """
    from fvlm_core.cli.console import note
    from fvlm_core.report.loopback import is_loopback
    from fvlm_core.report.watch import Board, Server, stamp_of
    from fvlm_core.runs.sound import each_once

    if not is_loopback(host) and not allow_remote:
        raise click.UsageError(
            f"--host {host} can be reached from other machines, and whoever reaches it reads these runs. "
            f"To look from another machine, keep 127.0.0.1 and use `ssh -L {port}:127.0.0.1:{port} THIS-MACHINE`; "
            "or add --allow-remote"
        )
    choose = _chooser(names, root)
    choose()  # what is wrong with the names is said before anything is served
    remote = not is_loopback(host)
    tell = each_once(note)
    board = Board(lambda: _look(*choose(), tell), lambda: stamp_of(choose()[0]))
    server = Server(host, port, board, _own_names() if remote else ())
    with server:
        click.echo(f"{server.url}  (Ctrl-C ends it)")
        if then_open:
            import webbrowser

            webbrowser.open(server.url)
        server.serve_forever(poll_interval=0.2)


def _chooser(names: Sequence[str], root: Path) -> Callable[[], tuple[list[Path], list[str]]]:
    """What finds the folders of the runs that are meant, and the ids of those that have not begun."""
    from fvlm_core.recipes.read import Recipe, read_recipe
    from fvlm_core.runs.listing import list_entries
    from fvlm_core.runs.select import named_folders, recipe_names
    from fvlm_core.scaling.campaign.record import STATE

    recipes: list[Recipe] = [read_recipe(name) for name in names if name.endswith(".toml")]
    planned = {f"{recipe.name}/{run.id}": recipe.name for recipe in recipes for run in recipe.runs}
    plain = recipe_names(names)

    def choose() -> tuple[list[Path], list[str]]:
        entries = list_entries(root)
        begun = {entry.name for entry in entries}
        # A campaign makes runs of its own of the recipe's sizes.
        bought = {name for name in planned.values() if (root / name / STATE).exists()}
        waiting = [name for name, of in planned.items() if name not in begun and of not in bought]
        absent = set(planned.values()) - {entry.recipe for entry in entries}
        asked = [name for name in plain if name not in absent]
        if plain and not asked:
            return [], waiting
        return named_folders(asked, root) if asked else [root / e.folder for e in entries], waiting

    return choose


def _look(folders: Sequence[Path], waiting: Sequence[str], passed_over: Callable[[str], None]) -> Content:
    from fvlm_core.report.html import gather
    from fvlm_core.runs.sound import sound
    from fvlm_core.runs.store import in_order

    runs = in_order(sound(folders, passed_over))
    return gather(runs, draw_fits=False, waiting=waiting)


def _own_names() -> tuple[str, ...]:
    import socket

    return socket.gethostname(), socket.getfqdn()

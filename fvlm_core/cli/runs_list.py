"""`fvlm runs list`: one line a run, for thousands of them.

Lines are laid out by hand: rich takes several seconds for a table of 10,000 rows, this a twentieth of one.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.help import Command
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import runs_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fvlm_core.runs.listing import ListedRun

SORTS = ("run", "state", "size", "best", "step", "samples", "seed", "hours", "when")
_STATES = ("complete", "interrupted", "queued", "running", "failed", "imported", "unreadable")


@click.command("list", cls=Command)
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...", shell_complete=completing("run", "group"))
@click.option(
    "--recipe",
    "recipes",
    multiple=True,
    metavar="NAME",
    shell_complete=completing("group"),
    help="Only runs of this recipe; *, ? and [..].",
)
@click.option(
    "--state", "states", multiple=True, type=NearestChoice(_STATES), help="Only runs in this state."
)
@click.option(
    "--tag", "tags", multiple=True, metavar="TAG", help="Only runs with this tag; several: with all."
)
@click.option(
    "--where",
    "conditions",
    multiple=True,
    metavar="'KEY OP VALUE'",
    help='Only runs that meet this, such as size=135M, "best_loss < 1.3" or training.lr=1e-3: a field of --json, or a '
    "key of the recipe (= or ==, !=, <, <=, >, >=). May be repeated.",
)
@click.option(
    "--sort", type=NearestChoice(SORTS), help="Default: recipes by name, runs in the recipe's order."
)
@click.option("--reverse", is_flag=True, help="The other way round.")
@click.option("--json", "as_json", is_flag=True, help="Every field, as a JSON list.")
@click.option("--csv", "as_csv", is_flag=True, help="Every field, as CSV.")
@runs_option
def command(
    patterns: tuple[str, ...],
    recipes: tuple[str, ...],
    states: tuple[str, ...],
    tags: tuple[str, ...],
    conditions: tuple[str, ...],
    sort: str | None,
    reverse: bool,
    as_json: bool,
    as_csv: bool,
    root: Path,
) -> None:
    """List the runs that are kept; with PATTERN, those whose "recipe/id" or id matches one (*, ? and [..]).

    A run is complete, interrupted, queued (a start of it was submitted and has not begun), running (a process
    holds it), failed (its last attempt ended with an error), imported (measured elsewhere), or unreadable.
    """
    if as_json and as_csv:
        raise click.UsageError("--json and --csv exclude each other")
    from fvlm_core.api.runs import meant
    from fvlm_core.runs.listing import list_entries

    entries = list_entries(root, queued=True)
    chosen = meant(entries, root, patterns, recipes, states, tags, conditions)
    if sort:
        chosen.sort(key=lambda entry: _order(entry, sort))
    if reverse:
        chosen.reverse()
    if as_json:
        import json

        click.echo(json.dumps([entry.to_json() for entry in chosen], indent=2))
    elif as_csv:
        _print_csv(chosen)
    elif not chosen:
        _say_none(entries, root)
    else:
        _print_lines(chosen)
        for entry in chosen:
            if entry.problem:
                click.echo(f"{entry.name}: {entry.state}: {entry.problem}", err=True)


def _order(entry: ListedRun, sort: str) -> tuple[bool, Any]:
    """What is not known comes last."""
    value: Any = {
        "run": (entry.recipe, entry.id),
        "state": entry.state,
        "size": entry.total_params,
        "best": entry.best_loss,
        "step": entry.step,
        "samples": entry.samples,
        "seed": entry.seed,
        "hours": entry.hours,
        "when": entry.written,
    }[sort]
    return value is None, 0 if value is None else value


def _count(entry: ListedRun, value: int) -> str:
    """Empty where zero means that nobody knows."""
    return f"{value:,}" if value or entry.state not in ("imported", "unreadable") else ""


def _say_none(entries: Sequence[ListedRun], root: Path) -> None:
    if entries:
        click.echo(f"none of the {len(entries):,} runs under {root} is meant", err=True)
    else:
        click.echo(
            f"{root}: no runs are kept there. Train some with `fvlm run quickstart`, or name another folder with "
            "--runs DIR",
            err=True,
        )


def _print_csv(entries: Sequence[ListedRun]) -> None:
    from fvlm_core.utils.csv_text import csv_text

    rows = [{**entry.to_json(), "tags": " ".join(entry.tags)} for entry in entries]
    if rows:
        click.echo(csv_text([*rows[0]], [[*row.values()] for row in rows]), nl=False)


def _print_lines(entries: Sequence[ListedRun]) -> None:
    from time import localtime, strftime

    from fvlm_core.cli.console import heading

    head = ("run", "state", "size", "best val", "step", "samples", "seed", "written", "tags")
    rows = [
        (
            entry.name,
            entry.state,
            entry.size,
            f"{entry.best_loss:.4f}" if entry.best_loss is not None else "",
            f"{entry.step:,}/{entry.planned:,}" if entry.planned is not None else _count(entry, entry.step),
            _count(entry, entry.samples),
            str(entry.seed) if entry.seed is not None else "",
            strftime("%Y-%m-%d %H:%M", localtime(entry.written)),
            " ".join(entry.tags),
        )
        for entry in entries
    ]
    width = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    right = {3, 4, 5, 6}
    layout = "  ".join(f"{{:{'>' if at in right else '<'}{wide}}}" for at, wide in enumerate(width))
    heading(layout.format(*head).rstrip())
    click.echo("\n".join(layout.format(*row).rstrip() for row in rows))

"""`fvlm runs compare`: the ablation table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import runs_option
from fvlm_core.cli.path_types import FILE_OR_STDOUT, RUNS_OR_PATH, STDOUT

if TYPE_CHECKING:
    from fvlm_core.comparison import ComparisonTable

_FORMATS = ("rich", "markdown", "latex", "csv", "json")


@click.command("compare")
@click.argument("names", type=RUNS_OR_PATH, nargs=-1, required=True, metavar="RUN|RECIPE...")
@click.option(
    "--baseline",
    metavar="ID",
    shell_complete=completing("id"),
    help='What the others are compared with. Default: "baseline", or the first.',
)
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="NAME",
    help="A column of the evaluations, at the best one. Default: val_loss; several: a table each.",
)
@click.option(
    "--factors",
    metavar="A,B[,AB]",
    help="Two variants of a 2x2, and the one that changes both. Default: every 2x2 that the recipes show.",
)
@click.option(
    "--format",
    "form",
    type=NearestChoice(_FORMATS),
    help="Default: by the suffix of --out, else for the terminal.",
)
@click.option(
    "--out",
    type=FILE_OR_STDOUT,
    metavar="FILE",
    help="Write it to a file: .md, .tex, .csv, .json.",
)
@runs_option
def command(
    names: tuple[str, ...],
    baseline: str | None,
    metrics: tuple[str, ...],
    factors: str | None,
    form: str | None,
    out: Path | None,
    root: Path,
) -> None:
    """Compare runs with a baseline: differences, intervals, and whether they are more than noise.

    Runs are named as "recipe/id", by their id, by a recipe (all its runs) or a pattern. Seeds of one variant
    (A1-s0, A1-s1, ...) are taken together.
    """
    from fvlm_core.cli.console import note
    from fvlm_core.comparison import compare, table
    from fvlm_core.comparison.formats import FORMATS, SUFFIXES
    from fvlm_core.runs.select import recipe_names, select_runs

    out = None if out == STDOUT else out
    if out is not None and form is None:
        form = SUFFIXES.get(out.suffix.lower())
        if form is None:
            raise click.UsageError(
                f"--out {out}: expected a name that ends in {', '.join(SUFFIXES)}, or --format"
            )
    if out is not None and form == "rich":
        raise click.UsageError("--format rich is for the terminal; --out takes markdown, latex, csv or json")
    runs = select_runs(recipe_names(names), root, note)
    asked = tuple(filter(None, factors.split(","))) if factors else ()
    tables = [table(compare(runs, baseline, metric, asked)) for metric in metrics or ("val_loss",)]
    if form in (None, "rich"):
        show_tables(tables)
        return
    text = FORMATS[form](tables)
    if out is None:
        click.echo(text, nl=False)
        return
    from fvlm_core.cli.outputs import prepare, writing

    prepare(out)
    with writing(out):
        out.write_text(text, encoding="utf-8")
    click.echo(str(out))


def show_tables(tables: Sequence[ComparisonTable]) -> None:
    """Print comparisons on the terminal, one below the other."""
    from fvlm_core.cli.console import new_table, print_table, stdout

    for number, table in enumerate(tables):
        if number:
            stdout().print()
        titles = [column.title for column in table.columns]
        view = new_table(*titles, right=tuple(c.title for c in table.columns if c.number))
        for row in table.texts("variant"):
            view.add_row(*row)
        effects = table.texts("effect")
        if effects:
            view.add_section()
        for row in effects:
            view.add_row(*row)
        print_table(view)
        for note in table.notes:
            stdout().print(f"  {note}", style="dim", soft_wrap=True)

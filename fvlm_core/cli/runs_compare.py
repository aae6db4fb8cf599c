"""`fvlm runs compare`: the ablation table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.choice import NearestChoice
from fvlm_core.cli.help import Command
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import runs_option
from fvlm_core.cli.path_types import FILE_OR_STDOUT, FILE_PATH, RUNS_OR_PATH, STDOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fvlm_core.comparison import ComparisonTable

_FORMATS = ("rich", "markdown", "latex", "csv", "json")


@click.command("compare", cls=Command)
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
    "--columns",
    metavar="A,B,...",
    shell_complete=completing("comparison column"),
    help="The columns to show, in this order: variant, value, difference, verdict, or any value that CSV has. Default: "
    "all that say something; for LaTeX as many of them as one column of a paper holds.",
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
@click.option(
    "--plot",
    type=FILE_PATH,
    metavar="FILE",
    help="Draw it, too, a panel a metric: .pdf, .png, .svg. What it shows is written beside it, as text and for LaTeX.",
)
@click.option(
    "--style",
    type=NearestChoice(["paper", "slide", "screen"], {"print": "paper", "beamer": "slide"}),
    default="screen",
    show_default=True,
    help="How the figure looks: in the columns of a paper (84 or 174 mm), on a slide, or on a screen.",
)
@runs_option
def command(
    names: tuple[str, ...],
    baseline: str | None,
    metrics: tuple[str, ...],
    factors: str | None,
    columns: str | None,
    form: str | None,
    out: Path | None,
    plot: Path | None,
    style: str,
    root: Path,
) -> None:
    """Compare runs with a baseline: differences, intervals, and whether they are more than noise.

    Runs are named as "recipe/id", by their id, by a recipe (all its runs) or a pattern. Seeds of one variant
    (A1-s0, A1-s1, ...) are taken together.
    """
    from fvlm_core.api.compare import compared
    from fvlm_core.cli.console import note, stdout
    from fvlm_core.comparison.formats import FORMATS, SUFFIXES, one_column

    out = None if out == STDOUT else out
    if out is not None and form is None:
        form = SUFFIXES.get(out.suffix.lower())
        if form is None:
            raise click.UsageError(
                f"--out {out}: expected a name that ends in {', '.join(SUFFIXES)}, or --format"
            )
    if out is not None and form == "rich":
        raise click.UsageError("--format rich is for the terminal; --out takes markdown, latex, csv or json")
    if plot is not None:
        from fvlm_core.report.figures.files import check_format

        check_format(plot)
    asked = tuple(filter(None, factors.split(","))) if factors else ()
    chosen = [name.strip() for name in (columns or "").split(",") if name.strip()]
    tables = compared(names, root, baseline, metrics or ("val_loss",), asked, note, chosen)
    if plot is not None:
        _draw(tables, plot, style)
    if form in (None, "rich"):
        from fvlm_core.api.views.comparison import show_tables

        show_tables(stdout(), tables)
        return
    if form == "latex" and not chosen:
        tables = [one_column(one) for one in tables]
        if left := list(dict.fromkeys(name for one in tables for name in one.left_out)):
            note(
                f"as wide as one column of a paper; left out: {', '.join(left)} (--columns names those to show)"
            )
    text = FORMATS[form](tables)
    if out is None:
        click.echo(text, nl=False)
        return
    from fvlm_core.utils.outputs import prepare, writing

    prepare(out)
    with writing(out):
        out.write_text(text, encoding="utf-8")
    click.echo(str(out))


def _draw(tables: Sequence[ComparisonTable], plot: Path, style: str) -> None:
    from fvlm_core.cli.console import stderr
    from fvlm_core.report.figures.ablations import ablations_plot
    from fvlm_core.report.figures.look import LOOKS
    from fvlm_core.utils.outputs import prepare, writing

    prepare(plot)
    with writing(plot):
        files = ablations_plot(tables, plot, LOOKS[style])
    stderr().print(f"plot: {', '.join(map(str, files))}", soft_wrap=True)

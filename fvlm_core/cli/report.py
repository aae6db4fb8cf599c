"""`fvlm report`: what runs were and what came of them, as one HTML file."""

from __future__ import annotations

from pathlib import Path

import click

from fvlm_core.cli.options import runs_option
from fvlm_core.cli.path_types import FILE_PATH, RUNS_OR_PATH


@click.command("report")
@click.argument("names", type=RUNS_OR_PATH, nargs=-1, metavar="[RUN|RECIPE]...")
@click.option(
    "--out",
    type=FILE_PATH,
    default=Path("report.html"),
    show_default=True,
    metavar="FILE",
    help="The file to write; one of that name is replaced.",
)
@click.option("--open", "then_open", is_flag=True, help="Show it in the web browser.")
@click.option(
    "--baseline", metavar="ID", help='What runs are compared with. Default: "baseline", or the first.'
)
@click.option(
    "--gaze",
    type=click.IntRange(0, 8),
    default=0,
    show_default=True,
    metavar="N",
    help="Draw where each trained model looks in N videos of its validation set.",
)
@runs_option
def command(
    names: tuple[str, ...], out: Path, then_open: bool, baseline: str | None, gaze: int, root: Path
) -> None:
    """Write one HTML file about runs: what was run, curves, scaling laws, comparison, data, compute, environment.

    RUN is a recipe (its name or its file), "recipe/id", an id, a pattern, or a run's folder; without any, all runs.
    The file needs no other one and no network.
    """
    from fvlm_core.api.outputs import prepare, writing
    from fvlm_core.cli.console import note, stderr
    from fvlm_core.report.html import gather, page
    from fvlm_core.runs.select import listing, recipe_names, select_runs
    from fvlm_core.runs.store import in_order
    from fvlm_core.scaling.points.points_from_runs import stored_runs
    from fvlm_core.utils.atomic_files import write_text

    runs = in_order(select_runs(recipe_names(names), root, note)) if names else stored_runs(root, note)
    prepare(out)
    text = page(gather(runs, baseline=baseline, gaze=gaze))
    with writing(out):
        write_text(out, text)
    stderr().print(f"report of {listing(runs)}", soft_wrap=True)
    click.echo(str(out))
    if then_open:
        import webbrowser

        if not webbrowser.open(out.resolve().as_uri()):
            stderr().print(f"no web browser was found here; open {out} in one", soft_wrap=True)

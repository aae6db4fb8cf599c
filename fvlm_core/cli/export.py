"""`fvlm export`: the measurements of runs as files that scripts and spreadsheets read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.fit_options import objective_option
from fvlm_core.cli.help import Command
from fvlm_core.cli.options import runs_option
from fvlm_core.cli.path_types import FOLDER_PATH, RUNS_OR_PATH

if TYPE_CHECKING:
    from fvlm_core.scaling.fit.objective import ObjectiveName


@click.command("export", cls=Command)
@click.argument("names", type=RUNS_OR_PATH, nargs=-1, metavar="[RUN]...")
@click.option(
    "--to",
    type=FOLDER_PATH,
    required=True,
    metavar="DIR",
    help="The folder to write into; made if it is not there.",
)
@objective_option
@runs_option
def command(names: tuple[str, ...], to: Path, objective: ObjectiveName, root: Path) -> None:
    """Write all_eval_points.csv, run_summaries.csv, scaling_fits.json and scaling_law_plot.png; and in_fits.csv where
    some runs are no fit points (in_fits = false), which `fvlm import` and `fvlm fit --data` then leave out as well.

    RUN is a recipe (all its runs), "recipe/id", an id, a pattern such as 'phase1a/A*', or a run's folder. Without any,
    all runs are exported. The same runs give the same bytes.
    """
    from fvlm_core.cli.console import note, stderr, stdout
    from fvlm_core.interchange.export import export, not_in_fits
    from fvlm_core.runs.select import listing, select_runs
    from fvlm_core.runs.store import in_order
    from fvlm_core.scaling.points.in_fits import FITS, MARKS
    from fvlm_core.scaling.points.points_from_runs import stored_runs
    from fvlm_core.utils.listing import listed
    from fvlm_core.utils.outputs import writing

    runs = in_order(select_runs(names, root, note)) if names else stored_runs(root, note)
    with writing(to):
        files = export(runs, to, objective)
    count = f"{len(runs)} run{'s' * (len(runs) != 1)}"
    stderr().print(f"exported {count}: {listing(runs)}", soft_wrap=True)
    if controls := not_in_fits(runs):
        stderr().print(
            f"not meant for fits, and marked so in {MARKS} and {FITS}: {listed(controls)}", soft_wrap=True
        )
    for file in files:
        stdout().print(str(file), soft_wrap=True)

"""`fvlm export`: the measurements of runs as files that scripts and spreadsheets read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.fit_options import objective_option
from fvlm_core.cli.options import runs_option

if TYPE_CHECKING:
    from fvlm_core.scaling.objective import ObjectiveName


@click.command("export")
@click.option(
    "--to",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    metavar="DIR",
    help="The folder to write into; made if it is not there.",
)
@objective_option
@runs_option
def command(to: Path, objective: ObjectiveName, root: Path) -> None:
    """Write all_eval_points.csv, run_summaries.csv, scaling_fits.json and scaling_law_plot.png."""
    from fvlm_core.cli.console import stdout
    from fvlm_core.runs.export import export
    from fvlm_core.scaling.stored import stored_runs

    for file in export(stored_runs(root), to, objective):
        stdout().print(str(file), soft_wrap=True)

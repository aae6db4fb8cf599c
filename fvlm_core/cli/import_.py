"""`fvlm import`: measurements made elsewhere as runs, compared and fitted together with one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.help import Command
from fvlm_core.cli.options import decimal_option, runs_option
from fvlm_core.cli.path_types import ANY_PATH

if TYPE_CHECKING:
    from fvlm_core.interchange.write_runs import ImportedGroup
    from fvlm_core.scaling.points.dialect import Decimal

_SHOWN = 50
"""Runs that are listed one by one."""


@click.command("import", cls=Command)
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=ANY_PATH)
@click.option(
    "--name", metavar="NAME", help="The group's name in the store.  [default: the folder's, or the file's]"
)
@click.option(
    "--in-fits/--not-in-fits",
    default=None,
    help="Whether the points enter scaling fits; they are exported all the same.  [default: as the export says, else "
    "yes]",
)
@click.option(
    "--total-params",
    multiple=True,
    metavar="SIZE|RUN=N",
    help="N of the runs of a size, of a run, or of a pattern of runs, such as 360M=384912384. May be repeated.",
)
@click.option(
    "--size", multiple=True, metavar="RUN=LABEL", help="The size of a run, or of a pattern of runs."
)
@click.option(
    "--schedule", multiple=True, metavar="RUN=NAME", help="The schedule of a run, or of a pattern of runs."
)
@click.option(
    "--samples-per-step",
    multiple=True,
    metavar="RUN=N",
    help="D of evaluations that only say their step: N samples a step, of a run or a pattern of runs. May be repeated.",
)
@click.option("--replace", is_flag=True, help="Put this import in the place of the one of the same name.")
@click.option("--dry-run", is_flag=True, help="Say what would be imported, and write nothing.")
@decimal_option
@runs_option
def command(
    paths: tuple[Path, ...],
    name: str | None,
    in_fits: bool | None,
    total_params: tuple[str, ...],
    size: tuple[str, ...],
    schedule: tuple[str, ...],
    samples_per_step: tuple[str, ...],
    replace: bool,
    dry_run: bool,
    decimal: Decimal | None,
    root: Path,
) -> None:
    """Make runs of measurements: PATH is a folder of an export, all_eval_points.csv or run_summaries.csv alone, any CSV
    with the columns of one of them, a folder of raw metrics (metrics_RUN.csv, run_summary_RUN.json), or a chart or a
    run's history saved from W&B as CSV.

    Everything that the files say is kept, nothing is made up, and an export gives the tables again, row by row.
    """
    from fvlm_core.cli.console import stdout
    from fvlm_core.interchange.overrides import Given
    from fvlm_core.interchange.sources import find_sources, read_source
    from fvlm_core.interchange.write_runs import keep, plan
    from fvlm_core.utils.outputs import writing

    given = Given(total_params, size, schedule, samples_per_step)
    groups = [
        plan(
            read_source(source, decimal or ""),
            root,
            in_fits=in_fits,
            given=given,
            replace=replace,
            named=name is not None,
        )
        for source in find_sources(paths, name)
    ]
    for group in groups:
        _show(group)
        if dry_run:
            done = {"new": "would be imported", "replaced": "would replace"}.get(group.outcome)
        else:
            with writing(group.folder):
                keep(group)
            done = {"new": "imported", "replaced": "replaced"}.get(group.outcome)
        stdout().print(f"{done or 'already imported'}: {group.folder}", soft_wrap=True)
    if dry_run:
        stdout().print("nothing was written (--dry-run)")


def _show(group: ImportedGroup) -> None:
    """The runs as a table, and the remarks below it."""
    from fvlm_core.api.views.console import new_table
    from fvlm_core.cli.console import print_table, stdout
    from fvlm_core.interchange.exported import check_sizes
    from fvlm_core.utils.listing import shorten

    read = group.read
    files = ", ".join(file.name for file in read.source.files[:4])
    more = len(read.source.files) - 4
    stdout().print(
        f"{read.kind}: {files}{f' and {more} more' if more > 0 else ''}; runs: {len(read.runs)}, points: "
        f"{sum(len(run.evaluations) for run in read.runs)}",
        soft_wrap=True,
    )
    table = new_table(
        "run", "size", "N", "schedule", "points", "steps", "best", right=("N", "points", "steps", "best")
    )
    for run in read.runs[:_SHOWN]:
        points = run.evaluations
        losses = [row["val_loss"] for row in points if row.get("val_loss") is not None]
        best = min(losses) if losses else (run.summary or {}).get("best_val_loss")
        count = "-" if run.total_params is None else f"{run.total_params:,}"
        reach = f"{points[0]['step']:,} to {points[-1]['step']:,}" if points else "-"
        table.add_row(
            run.id,
            run.size or "-",
            count,
            run.schedule or "-",
            str(len(points)),
            reach,
            "-" if best is None else f"{best:.4f}",
        )
    print_table(table)
    if len(read.runs) > _SHOWN:
        stdout().print(f"  and {len(read.runs) - _SHOWN} more")
    if controls := [run.id for run in read.runs if not run.in_fits]:
        stdout().print(f"  not meant for fits: {shorten(', '.join(controls))}", soft_wrap=True)
    for remark in read.remarks:
        stdout().print(f"  {remark}", soft_wrap=True)
    if any(row.get("tokens_seen") is not None for run in read.runs for row in run.evaluations):
        stdout().print("  D counts tokens: fit these runs with --d tokens", soft_wrap=True)
    lacking = [
        run.id
        for run in read.runs
        if any(row.get("samples_seen", row.get("tokens_seen")) is None for row in run.evaluations)
    ]
    if lacking:
        stdout().print(
            f"  D, the samples seen, is not known of all points of {shorten(', '.join(lacking))}: fits leave these "
            "out. Give it with --samples-per-step RUN=N",
            soft_wrap=True,
        )
    if unknown := check_sizes(read.runs):
        stdout().print(
            f"  N is not known of {shorten(', '.join(unknown))}: laws that compare sizes need it. Give it with "
            "--total-params SIZE=N or RUN=N",
            soft_wrap=True,
        )

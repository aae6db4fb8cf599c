"""`fvlm fit`: a scaling law through the points of runs, or of a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from attrs import evolve

from fvlm_core.cli.costs import compute_option
from fvlm_core.cli.figure_options import figure_options
from fvlm_core.cli.fit_options import fit_options
from fvlm_core.cli.help import Command
from fvlm_core.cli.offered import completing
from fvlm_core.cli.path_types import FILE_OR_STDOUT, FILE_PATH, STDOUT
from fvlm_core.cli.points_options import fit_points_options
from fvlm_core.utils.outputs import prepare, writing

if TYPE_CHECKING:
    from fvlm_core.api.points import PointsRequest
    from fvlm_core.cli.figure_options import FigureRequest


@click.command("fit", cls=Command)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    shell_complete=completing("fit"),
    help="The law: a fit component of any plugin; may be repeated. Default: per-size and joint-chinchilla.",
)
@fit_points_options
@fit_options
@compute_option
@click.option(
    "--roll-out",
    is_flag=False,
    flag_value="",
    default=None,
    metavar="[COLUMN]",
    help="Fit the smaller runs and predict the larger, step by step, and say how the error grows. COLUMN: what says "
    "how large a run is; N times D, where it is not given.",
)
@click.option(
    "--verbose", is_flag=True, help="Print all notes and warnings, and not only the first ten lines."
)
@click.option(
    "--strict", is_flag=True, help="Exit with 1 when anything is withheld, or a law has no roll-out."
)
@click.option(
    "--json",
    "json_file",
    type=FILE_OR_STDOUT,
    metavar="FILE",
    help="Write all numbers, uncertainties and warnings as JSON; -: to standard output, all else to standard error.",
)
@click.option(
    "--plot",
    "plot_file",
    type=FILE_PATH,
    metavar="FILE",
    help="Where the plot goes (.png, .pdf, .svg). Default: scaling_law_plot.png beside the JSON file, else in the "
    "folder of runs, else here.",
)
@figure_options
def command(
    models: tuple[str, ...],
    cost_name: str,
    roll_out: str | None,
    verbose: bool,
    strict: bool,
    json_file: Path | None,
    plot_file: Path | None,
    request: PointsRequest,
    figures: FigureRequest,
    **chosen: Any,
) -> int:
    """Fit scaling laws to runs, or to a table of points.

    Parameters that the points cannot tell apart are withheld, with the reason; that is a result, and exits with 0.
    """
    from fvlm_core import __version__
    from fvlm_core.api.fit import asked, chosen_points
    from fvlm_core.api.fitted import foreseen
    from fvlm_core.api.points import conditions_of
    from fvlm_core.api.views.fit import print_fit
    from fvlm_core.api.views.foreseen import print_holdout, print_roll_out
    from fvlm_core.cli.console import note, print_json, stderr, stdout
    from fvlm_core.interchange.export import EXPORTED, PLOT, scaling_fits
    from fvlm_core.report.figures import check_format, scaling_law_plot
    from fvlm_core.scaling.fit.fitting import fit_points, load_model
    from fvlm_core.scaling.fit.preparation import prepared
    from fvlm_core.scaling.predict.holdout import kept_out, score
    from fvlm_core.scaling.predict.roll_out import scale_column
    from fvlm_core.utils.atomic_files import json_text, write_text
    from fvlm_core.utils.errors import UsageError

    beside = Path() if request.files else request.root
    printed = json_file == STDOUT
    told = stderr() if printed else stdout()
    plot = plot_file or (json_file.with_name(PLOT) if json_file and not printed else beside / PLOT)
    check_format(plot)
    drawn = figures.check()
    laws = [load_model(name) for name in models or EXPORTED]
    request = evolve(request, also=(roll_out,) if roll_out else ())
    points = chosen_points(request, laws, cost_name, note)
    if roll_out:
        scale_column(roll_out, points.table)
    where = conditions_of(request.holdout, "--holdout")
    parts = [kept_out(prepared(points, law), where) if where else (points, None) for law in laws]
    objective, draws, options = asked(**chosen)
    prepare(*filter(None, (json_file, plot)))
    reports = [
        fit_points(part, law, objective, draws, options) for law, (part, _) in zip(laws, parts, strict=True)
    ]
    tested: list[dict[str, Any]] = []
    answered = True
    for report, (_, held) in zip(reports, parts, strict=True):
        print_fit(told, report, verbose)
        found: dict[str, Any] = {}
        if held is not None:
            scores = score(report, held, where)
            print_holdout(told, scores)
            found["holdout"] = scores.to_json()
        if roll_out is not None:
            try:
                for group, rolled in foreseen(report, roll_out).items():
                    print_roll_out(told, rolled, report.fits[0].problem.relative, group)
                    found.setdefault("roll_out", {})[group] = rolled.to_json()
            except UsageError as error:
                answered = False
                told.print(str(error), markup=False, highlight=False, soft_wrap=True)
        tested.append(found)
    if json_file:
        record = {
            "fvlm": __version__,
            **scaling_fits(reports),
            "points": points.to_json(),
            "reports": [report.to_json() | found for report, found in zip(reports, tested, strict=True)],
        }
        if printed:
            print_json(record, indent=2)
        else:
            with writing(json_file):
                write_text(json_file, json_text(record))
            told.print(f"numbers: {json_file}", soft_wrap=True)
    with writing(plot):
        scaling_law_plot(reports, plot, look=figures.look(), captioned=True)
    told.print(f"plot: {plot}", soft_wrap=True)
    if drawn:
        with writing(figures.into(plot)):
            made = figures.draw(drawn, reports, plot)
        for file in made.files:
            told.print(f"figure: {file}", soft_wrap=True)
        for name, why in made.nothing.items():
            told.print(f"no figure {name}: {why}", soft_wrap=True, markup=False)
    return 1 if strict and not (answered and all(report.status == "ok" for report in reports)) else 0

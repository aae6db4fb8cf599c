"""`fvlm report`: what runs were and what came of them, as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.help import Command
from fvlm_core.cli.offered import completing
from fvlm_core.cli.options import runs_option
from fvlm_core.cli.path_types import FILE_PATH, RUNS_OR_PATH

if TYPE_CHECKING:
    from fvlm_core.recipes.schema import Chosen
    from fvlm_core.runs.store import StoredRun


@click.command("report", cls=Command)
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
@click.option(
    "--predictions",
    type=click.IntRange(0, 4),
    default=0,
    show_default=True,
    metavar="N",
    help="Show what each trained model says of its N best, typical and worst validation samples, beside the truth.",
)
@click.option(
    "--fit",
    "fits",
    multiple=True,
    type=FILE_PATH,
    metavar="FILE",
    help="Show the laws of a file that `fvlm fit --json FILE` wrote, of a table, say; without RUN these alone. May be "
    "repeated.",
)
@click.option(
    "--section",
    "sections",
    multiple=True,
    metavar="NAME",
    shell_complete=completing("section"),
    help="Add a section: stability, or a plugin's; may be repeated.",
)
@click.option(
    "-s",
    "settings",
    multiple=True,
    metavar="NAME:KEY=VALUE",
    help="A setting of the section NAME: -s stability:most=8.",
)
@click.option(
    "--track",
    is_flag=True,
    help="Have the trackers of these runs' recipes keep the file, those that keep files: mlflow, trackio, wandb.",
)
@runs_option
def command(
    names: tuple[str, ...],
    out: Path,
    then_open: bool,
    baseline: str | None,
    gaze: int,
    predictions: int,
    fits: tuple[Path, ...],
    sections: tuple[str, ...],
    settings: tuple[str, ...],
    track: bool,
    root: Path,
) -> None:
    """Write one HTML file about runs: what was run, curves, scaling laws, comparison, data, compute, environment.

    RUN is a recipe (its name or its file), "recipe/id", an id, a pattern, or a run's folder; without any, all runs.
    The file needs no other one and no network.
    """
    from fvlm_core.cli.console import note, stderr
    from fvlm_core.report.html import failures, gather, page
    from fvlm_core.runs.select import listing, recipe_names, select_runs
    from fvlm_core.runs.store import in_order
    from fvlm_core.scaling.points.points_from_runs import stored_runs
    from fvlm_core.utils.atomic_files import write_text
    from fvlm_core.utils.outputs import prepare, writing

    chosen = _chosen(list(dict.fromkeys(sections)), settings)
    runs: list[StoredRun] = []
    if names:
        runs = in_order(select_runs(recipe_names(names), root, note))
    elif not fits:
        runs = stored_runs(root, note)
    if not runs and (baseline or gaze or predictions or chosen or track):
        raise click.UsageError(
            "--baseline, --gaze, --predictions, --section and --track are about runs: name some beside --fit"
        )
    prepare(out)
    content = gather(
        runs, baseline=baseline, gaze=gaze, chosen=chosen, fits=fits, two=True, predictions=predictions
    )
    for failure in failures(content.sections):
        note(failure)
    text = page(content)
    with writing(out):
        write_text(out, text)
    of = [*([listing(runs)] if runs else []), *map(str, fits)]
    stderr().print(f"report of {', '.join(of)}", soft_wrap=True)
    click.echo(str(out))
    if track:
        _track(runs, out)
    if then_open:
        import webbrowser

        if not webbrowser.open(out.resolve().as_uri()):
            stderr().print(f"no web browser was found here; open {out} in one", soft_wrap=True)


def _track(runs: list[StoredRun], file: Path) -> None:
    """Have trackers keep the file. Raises `FvlmError` where one fails, and click's `UsageError` where there is none."""
    from fvlm_core.cli.console import note, stderr
    from fvlm_core.execution.tracked_report import send
    from fvlm_core.utils.errors import FvlmError

    answered: list[str] = []
    for name, reason in send(runs, file):
        answered.append(reason)
        if reason:
            note(f"{name}: {reason}")
        else:
            stderr().print(f"kept by {name}", soft_wrap=True)
    if not answered:
        raise click.UsageError(
            "--track: no tracker of these runs keeps files; expected runs whose recipe has one that does"
        )
    if any(answered):
        failed = sum(map(bool, answered))
        raise FvlmError(f"{failed} of {len(answered)} trackers have not kept {file}; --track tries again")


def _chosen(sections: list[str], settings: tuple[str, ...]) -> list[Chosen]:
    """The sections with their settings. Raises `Problems`, and click's `UsageError` for a setting of no section."""
    from fvlm_core.recipes.read import read_section

    own: dict[str, list[str]] = {name: [] for name in sections}
    for text in settings:
        named = [name for name in sections if text.startswith(f"{name}:")]
        if not named:
            example = f"-s {sections[0]}:KEY=VALUE" if sections else "--section NAME -s NAME:KEY=VALUE"
            raise click.UsageError(f"-s {text}: belongs to no --section; expected {example}")
        name = max(named, key=len)  # a plugin may be called as another one's section: "acme" and "acme:tags"
        own[name].append(text.removeprefix(f"{name}:"))
    return [read_section(name, found) for name, found in own.items()]

"""`fvlm`: finds the command, imports only that one, and turns every error into a message and an exit code.

Exit codes: 0 done, 1 failure, 2 misuse, 130 interrupted from the keyboard.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import NoReturn

import click

from fvlm_core import __version__
from fvlm_core.cli.lazy import LazyGroup, Table
from fvlm_core.cli.streams import lost_stdout, need_stdout, open_streams
from fvlm_core.utils import process_exit as leaving

COMMANDS: Table = {
    "run": ("fvlm_core.cli.run", "Train every run of a recipe, evaluate, fit and draw."),
    "fit": ("fvlm_core.cli.fit", "Fit a scaling law to runs or to a table of points."),
    "predict": ("fvlm_core.cli.predict", "The loss of a run not yet made, or the best use of a budget."),
    "suggest": ("fvlm_core.cli.suggest", "Which runs to make next, written as a recipe."),
    "campaign": ("fvlm_core.cli.campaign", "Buy runs until a prediction is sure: plan, train, fit, again."),
    "runs": ("fvlm_core.cli.runs", "The runs that are kept: list, show, compare, remove, tag."),
    "report": ("fvlm_core.cli.report", "Write what runs were and what came of them as one HTML file."),
    "watch": ("fvlm_core.cli.watch", "Show runs in the web browser while they go on."),
    "export": ("fvlm_core.cli.export", "Write the measurements as CSV, JSON and a plot."),
    "import": (
        "fvlm_core.cli.import_",
        "Make runs of measurements made elsewhere.",
    ),
    "eval": ("fvlm_core.cli.evaluate", "Losses of a trained model, by source and mode, on any data."),
    "needle": ("fvlm_core.cli.needle", "Whether a trained model finds what is hidden in a long video."),
    "caption": ("fvlm_core.cli.caption", "What a trained model says about videos, as JSON lines."),
    "gaze": ("fvlm_core.cli.gaze", "Draw where a trained model looks in a video."),
    "demo": ("fvlm_core.cli.demo", "A page on which a trained model watches a video."),
    "verify-resume": (
        "fvlm_core.cli.verify_resume",
        "Prove that a killed run continues bit for bit.",
    ),
    "weights": ("fvlm_core.cli.weights", "Weights made elsewhere in, trained models out."),
    "data": ("fvlm_core.cli.data", "Data sets: describe, fetch, and prepare them for training."),
    "bench": ("fvlm_core.cli.bench", "How fast this machine does what a run waits for."),
    "recipes": ("fvlm_core.cli.recipes", "The recipes that come with fvlm: list them, show one."),
    "plugins": ("fvlm_core.cli.plugins", "List the plugins, write a new one, check it."),
    "schema": ("fvlm_core.cli.schema", "The JSON Schema of recipes, for editors."),
    "completion": ("fvlm_core.cli.completion", "Print the script that completes fvlm's commands in a shell."),
}

MAKERS = ("run", "campaign", "report", "watch", "export", "import", "gaze", "demo", "weights")
"""Commands whose work is files, or a server: what they print only tells of it, and is not what they are called for."""


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Environment: FVLM_RUNS folder of runs · FVLM_PLUGINS names of the plugins to load · "
    "FVLM_DEBUG=1 tracebacks with every error.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@click.pass_context
def fvlm(ctx: click.Context) -> None:
    """The laboratory for small vision-language models: compose a model from plugins, run ablations and
    scaling grids, export the measurements, and fit scaling laws that say what to train next."""
    from fvlm_core.utils.paths import settle_home  # pathlib is a tenth of the time that --help takes

    settle_home()
    need_stdout(ctx.invoked_subcommand not in MAKERS)
    ctx.color = True  # click shall take nothing out of what it prints: `Stream` spells it out
    if ctx.invoked_subcommand != "data":  # bars of libraries write past rich, and for moments only
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.getcwd()  # raises where that is gone; what a command imports (MKL) ends the process then, with words of its own


def program() -> NoReturn:
    """`fvlm`: run the command line of this process, and end it with the exit code."""
    leaving.end(main())


def main() -> int:
    """Run the command line of this process; the exit code."""
    leaving.code = code = _run()
    return code


def _run() -> int:
    open_streams()
    need_stdout(True)
    if "_FVLM_COMPLETE" in os.environ:  # a shell's Tab: the scripts of `fvlm completion` set it
        from fvlm_core.utils.paths import settle_home

        settle_home()
        importlib.import_module("fvlm_core.cli.completion")  # takes the place of click's own
    try:
        outcome = fvlm.main(prog_name="fvlm", standalone_mode=False)
        sys.stdout.flush()
        if lost := lost_stdout():
            click.echo(lost, err=True)
    except (click.Abort, KeyboardInterrupt) as stop:
        interrupted = isinstance(stop, KeyboardInterrupt) or isinstance(stop.__cause__, KeyboardInterrupt)
        return 130 if interrupted else 1
    except Exception as error:
        return _report(error)
    return outcome if isinstance(outcome, int) else 0


def _report(error: Exception) -> int:
    """Say what went wrong on stderr; the exit code."""
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    from fvlm_core.api.explained import explained
    from fvlm_core.utils.error_summary import debugging, described, place

    if debugging():
        import traceback

        traceback.print_exception(error)
    told = explained(error)
    if told is not None:
        if str(told):  # empty on a rank that ends because another one failed and said why
            from fvlm_core.cli.told import tell

            tell(told)
        return told.exit_code
    click.echo(f"unexpected {described(error)}", err=True)
    if not debugging() and not place(error):
        click.echo("This is a defect of fvlm or of a plugin; FVLM_DEBUG=1 shows where it happened.", err=True)
    return 1

"""`fvlm`: finds the command, imports only that one, and turns every error into a message and an exit code.

Exit codes: 0 done, 1 failure, 2 misuse, 130 interrupted from the keyboard.
"""

from __future__ import annotations

import os
import sys
from errno import EDQUOT, EFBIG, ENOSPC
from importlib import import_module
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("fvlm_core.cli.run", "Train every run of a recipe, evaluate, fit and draw."),
    "fit": ("fvlm_core.cli.fit", "Fit a scaling law to runs or to a table of points."),
    "predict": ("fvlm_core.cli.predict", "The loss of a run not yet made, or the best use of a budget."),
    "suggest": ("fvlm_core.cli.suggest", "Which runs to make next, written as a recipe."),
    "export": ("fvlm_core.cli.export", "Write the measurements as CSV, JSON and a plot."),
    "eval": ("fvlm_core.cli.evaluate", "Losses of a trained model, by source and mode, on any data."),
    "caption": ("fvlm_core.cli.caption", "What a trained model says about videos, as JSON lines."),
    "gaze": ("fvlm_core.cli.gaze", "Draw where a trained model looks in a video."),
    "verify-resume": (
        "fvlm_core.cli.verify_resume",
        "Prove that a killed run continues bit for bit.",
    ),
    "weights": ("fvlm_core.cli.weights", "Weights made elsewhere in, trained models out."),
    "plugins": ("fvlm_core.cli.plugins", "List the plugins and what they offer."),
    "completion": ("fvlm_core.cli.completion", "Print the script that completes fvlm's commands in a shell."),
}
"""Every command: its module, which holds a click command named `command`, and its line in `fvlm --help`."""


class LazyGroup(click.Group):
    """A group that knows its commands' names and help lines without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command."""
        if cmd_name not in COMMANDS:
            return None
        command = import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click's, but an unknown name suggests the nearest."""
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f'no command is called "{args[0]}"' + (f': did you mean "{near[0]}"?' if near else "."))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table as it stands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names from the table, so that pressing Tab imports no command."""
        from click.shell_completion import CompletionItem

        named = [(name, text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        options = click.Command.shell_complete(self, ctx, incomplete)
        return [*(CompletionItem(name, help=text) for name, text in named), *options]


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Environment: FVLM_RUNS folder of runs · FVLM_PLUGINS names of the plugins to load · "
    "FVLM_DEBUG=1 tracebacks with every error.",
)
@click.version_option(package_name="fvlm", message="%(prog)s %(version)s")
def fvlm() -> None:
    """The laboratory for small vision-language models: compose a model from plugins, run ablations and
    scaling grids, export the measurements, and fit scaling laws that say what to train next."""


def main() -> int:
    """Run the command line of this process; the exit code."""
    try:
        outcome = fvlm.main(prog_name="fvlm", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:  # the reader went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
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
    from fvlm_core.errors import FvlmError
    from fvlm_registry import LookupFailure

    debug = os.environ.get("FVLM_DEBUG") == "1"
    if debug:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, FvlmError):
        if str(error):  # empty on a rank that ends because another one failed and said why
            click.echo(str(error), err=True)
        return error.exit_code
    if isinstance(error, LookupFailure):
        click.echo(str(error), err=True)
        return 2
    if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT, EFBIG):
        click.echo(f"no room to write: {error}", err=True)
        return 1
    click.echo(f"unexpected {type(error).__name__}: {error}", err=True)
    if not debug:
        click.echo("This is a defect of fvlm or of a plugin; FVLM_DEBUG=1 shows where it happened.", err=True)
    return 1

"""`fvlm bench start`: how long fvlm takes to say something, beside a Python that does nothing."""

from __future__ import annotations

import sys

import click

from fvlm_core.cli.help import Command

SAYINGS = ((("--version",), 6.0), (("--help",), 8.0), (("plugins", "list"), 20.0))
"""Commands that answer at once, and how many times as long as `python -c pass` they may take."""


@click.command("start", cls=Command)
@click.option(
    "--rounds", type=click.IntRange(1), default=11, show_default=True, help="Pairs of each measurement."
)
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def command(rounds: int, as_json: bool) -> None:
    """Time `fvlm --version`, `--help` and `plugins list`, each in turn with a Python that does nothing."""
    from fvlm_core.api.views.display import Display
    from fvlm_core.bench.pairs import in_pairs, machine
    from fvlm_core.bench.processes import run
    from fvlm_core.cli.bench_pairs import show_pairs
    from fvlm_core.cli.console import stderr

    fvlm = (sys.executable, "-c", "from fvlm_core.cli.main import program; program()")
    with Display(stderr(), 0) as display:
        found = [
            in_pairs(
                f"fvlm {' '.join(arguments)}, against python -c pass",
                "s",
                lambda arguments=arguments: run((*fvlm, *arguments))[0],
                lambda: run((sys.executable, "-c", "pass"))[0],
                rounds,
                display.work,
                limit=limit,
            )
            for arguments, limit in SAYINGS
        ]
    show_pairs(found, machine(), as_json)

"""`fvlm bench start`: how soon fvlm answers."""

from __future__ import annotations

import click


@click.command("start")
@click.option(
    "--rounds", type=click.IntRange(1), default=11, show_default=True, help="Pairs of each measurement."
)
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def command(rounds: int, as_json: bool) -> None:
    """Time `fvlm --version`, `--help` and `plugins list`, each in turn with a Python that does nothing."""
    from fvlm_core.bench.pairs import machine
    from fvlm_core.bench.start import bench_start
    from fvlm_core.cli.bench_pairs import show_pairs
    from fvlm_core.cli.console import stderr
    from fvlm_core.cli.display import Display

    with Display(stderr(), 0) as display:
        found = bench_start(rounds, display.work)
    show_pairs(found, machine(), as_json)

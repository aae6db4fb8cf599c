"""`fvlm bench data`: frames a second, fvlm and bare loops in pairs."""

from __future__ import annotations

import click

from fvlm_core.cli.help import Command


@click.command("data", cls=Command)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Pairs in each process.")
@click.option(
    "--processes", type=click.IntRange(1), default=5, show_default=True, help="For each measurement."
)
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def command(rounds: int, processes: int, as_json: bool) -> None:
    """Read packed shards, MP4 files and whole batches, each in turn with a bare loop over the same bytes.

    Ratios hold on a busy machine, too; frames a second do not.
    """
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from fvlm_core.api.views.display import Display
    from fvlm_core.bench.data import Paired, bench_data
    from fvlm_core.bench.pairs import machine
    from fvlm_core.cli.bench_pairs import show_measured
    from fvlm_core.cli.console import stderr

    def cells(one: Paired) -> tuple[str, ...]:
        rates = (f"{one.frames:,.0f}", f"{one.bare:,.0f}")
        return one.name, *rates, f"{one.ratio:.2f}", f"{one.low:.2f} to {one.high:.2f}", f"{one.least:.2f}"

    with TemporaryDirectory() as scratch, Display(stderr(), 0) as display:
        found = bench_data(Path(scratch), rounds, processes, display.work)
    show_measured(found, "frames/s", cells, machine(("av", "pillow", "torch")), as_json)

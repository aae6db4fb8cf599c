"""`fvlm bench data`: frames a second, fvlm and bare loops in pairs."""

from __future__ import annotations

import click


@click.command("data")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, help="Pairs in each process.")
@click.option(
    "--processes", type=click.IntRange(1), default=5, show_default=True, help="For each measurement."
)
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def command(rounds: int, processes: int, as_json: bool) -> None:
    """Read packed shards, MP4 files and whole batches, each in turn with a bare loop over the same bytes.

    Ratios hold on a busy machine, too; frames a second do not.
    """
    import json
    from pathlib import Path
    from tempfile import TemporaryDirectory

    from attrs import asdict

    from fvlm_core.bench.data import bench_data
    from fvlm_core.bench.pairs import machine
    from fvlm_core.cli.console import new_table, print_table, stderr, stdout
    from fvlm_core.cli.display import Display

    with TemporaryDirectory() as scratch, Display(stderr(), 0) as display:
        found = bench_data(Path(scratch), rounds, processes, display.work)
    about = machine(("av", "pillow", "torch"))
    if as_json:
        click.echo(json.dumps({"machine": about, "measured": [asdict(one) for one in found]}, indent=2))
        return
    numbers = ("frames/s", "bare", "ratio", "lowest to highest", "promised")
    table = new_table("measured", *numbers, right=numbers)
    for one in found:
        table.add_row(
            one.name,
            f"{one.frames:,.0f}",
            f"{one.bare:,.0f}",
            f"{one.ratio:.2f}",
            f"{one.low:.2f} to {one.high:.2f}",
            f"{one.least:.2f}",
        )
    print_table(table)
    stdout().print("; ".join(f"{name} {value}" for name, value in about.items()), style="dim", soft_wrap=True)

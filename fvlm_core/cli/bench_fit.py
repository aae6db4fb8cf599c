"""`fvlm bench fit`: how fast laws are fitted, beside the published way."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fvlm_core.cli.help import Command
from fvlm_core.cli.path_types import FILE_PATH

if TYPE_CHECKING:
    from fvlm_core.bench.fit import FitBench

MOST = 4_500
"""Starts of the published grid."""


@click.command("fit", cls=Command)
@click.option(
    "--data",
    type=FILE_PATH,
    metavar="FILE",
    help="Points, as `fvlm fit --data` reads them. Default: 240 made points of a known truth.",
)
@click.option(
    "--starts",
    type=click.IntRange(1, MOST),
    default=150,
    show_default=True,
    help=f"Of the published grid, followed in each round; {MOST} is all of it.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=5, show_default=True, help="Pairs of processes, in turn."
)
@click.option("--json", "as_json", is_flag=True, help="The figures as JSON.")
def command(data: Path | None, starts: int, rounds: int, as_json: bool) -> None:
    """Time the fit of the joint law beside the published way (Hoffmann et al. 2022: a grid of starts, L-BFGS with
    numeric gradients), its draws beside one refit after the other, and `fvlm fit` beside its imports."""
    from tempfile import TemporaryDirectory

    from fvlm_core.api.views.display import Display
    from fvlm_core.bench.fit import bench_fit
    from fvlm_core.bench.pairs import machine
    from fvlm_core.cli.bench_pairs import show_pairs
    from fvlm_core.cli.console import stderr, stdout

    with TemporaryDirectory() as scratch, Display(stderr(), 0) as display:
        found = bench_fit(Path(scratch), data, starts, rounds, display.work)
    about = {**machine(("numpy", "scipy", "lmfit", "pandas")), "threads of a fit": 1}
    show_pairs(found.pairs, about, as_json, more=found.to_json())
    if not as_json:
        for line in _said(found):
            stdout().print(line, soft_wrap=True)


def _said(found: FitBench) -> list[str]:
    """What the table has no column for."""
    fit, ends = found.pairs[0], found.ends
    whole = (
        "all of them" if found.starts == MOST else f"{found.starts} in each round, from which all are scaled"
    )
    draws = "not compared, some draws gave no fit" if ends.draws is None else f"fvlm {ends.draws:.10f}"
    return [
        f"published way: {found.per_start:.3g} s a start, {whole}; it takes {1 / fit.ratio:,.0f} times as long as "
        f"fvlm ({1 / fit.high:,.0f} to {1 / fit.low:,.0f})",
        f"objective: fvlm {ends.objective:.10f}, published {ends.published:.10f} (reached by {ends.reached:,} of "
        f"{ends.followed:,} starts): fvlm's is {'no higher' if ends.holds else 'HIGHER'}",
        f"mean objective of the same draws: {draws}, draw after draw {ends.refits:.10f}",
    ]

"""How benchmarks in pairs are shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from fvlm_core.bench.pairs import Pair


def show_pairs(pairs: Sequence[Pair], about: dict[str, Any], as_json: bool) -> None:
    """A table and the machine, or both as JSON."""
    import json

    from attrs import asdict

    from fvlm_core.cli.console import new_table, print_table, stdout

    if as_json:
        measured = [{**asdict(pair), "holds": pair.holds} for pair in pairs]
        click.echo(json.dumps({"machine": about, "measured": measured}, indent=2))
        return
    numbers = ("fvlm", "bare", "ratio", "lowest to highest", "promised")
    table = new_table("measured", *numbers, right=numbers)
    for pair in pairs:
        table.add_row(
            pair.name,
            f"{pair.ours:.3g} {pair.unit}",
            f"{pair.bare:.3g} {pair.unit}",
            f"{pair.ratio:.2f}",
            f"{pair.low:.2f} to {pair.high:.2f}",
            f"{pair.limit:.2f}",
        )
    print_table(table)
    stdout().print("; ".join(f"{name} {value}" for name, value in about.items()), style="dim", soft_wrap=True)

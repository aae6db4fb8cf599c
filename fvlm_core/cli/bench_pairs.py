"""How benchmarks in pairs are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from fvlm_core.bench.pairs import Pair


def show_pairs(
    pairs: Sequence[Pair], about: dict[str, Any], as_json: bool, more: Mapping[str, Any] | None = None
) -> None:
    """Seconds of both sides, as a table with the machine or as JSON. more: see `show_measured`."""

    def cells(pair: Pair) -> tuple[str, ...]:
        return (
            pair.name,
            f"{pair.ours:.3g} {pair.unit}",
            f"{pair.bare:.3g} {pair.unit}",
            _ratio(pair.ratio),
            f"{_ratio(pair.low)} to {_ratio(pair.high)}",
            "-" if pair.limit is None else f"{pair.limit:.2f}",
        )

    show_measured(pairs, "fvlm", cells, about, as_json, more)


def _ratio(value: float) -> str:
    """Two decimals, or as many as a small ratio needs."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3g}"


def show_measured(
    measured: Sequence[Any],
    ours: str,
    cells: Callable[[Any], tuple[str, ...]],
    about: dict[str, Any],
    as_json: bool,
    more: Mapping[str, Any] | None = None,
) -> None:
    """A table and the machine, or both as JSON. measured: attrs classes with `holds`. ours: what fvlm's figures are.
    cells: of a row: name, ours, bare, ratio, its range, what is promised. more: entries that only the JSON has."""
    import json

    from attrs import asdict

    from fvlm_core.cli.console import new_table, print_table, stdout

    if as_json:
        rows = [{**asdict(one), "holds": one.holds} for one in measured]
        click.echo(json.dumps({"machine": about, "measured": rows, **(more or {})}, indent=2))
        return
    numbers = (ours, "bare", "ratio", "lowest to highest", "promised")
    table = new_table("measured", *numbers, right=numbers)
    for one in measured:
        table.add_row(*cells(one))
    print_table(table)
    stdout().print("; ".join(f"{name} {value}" for name, value in about.items()), style="dim", soft_wrap=True)

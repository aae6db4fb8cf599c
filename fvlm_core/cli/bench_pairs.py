"""How benchmarks in pairs are shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from fvlm_core.bench.pairs import Pair

PROMISED = "promised"
LIMIT = "of the limit"
"""The rate of a large square product on this machine: what a step could reach at best."""


def show_pairs(
    pairs: Sequence[Pair],
    about: dict[str, Any],
    as_json: bool,
    *,
    peak: float | None = None,
    more: Mapping[str, Any] | None = None,
) -> None:
    """Both sides, as a table with the machine or as JSON. peak: FLOP/s of the device, for the share that is used.
    more: see `show_measured`."""
    counted = any(pair.flops for pair in pairs)
    extra = (*(("by FLOPs", "GFLOP/s", LIMIT) if counted else ()), *(("MFU",) if peak else ()))

    def cells(pair: Pair) -> tuple[str, ...]:
        rate = pair.flops / pair.ours if pair.flops else None
        more = {
            "by FLOPs": f"{pair.bound:.2f}" if pair.bound else "-",
            "GFLOP/s": f"{rate / 1e9:,.0f}" if rate else "-",
            LIMIT: f"{rate / pair.peak:.0%}" if rate and pair.peak else "-",
            "MFU": f"{rate / peak:.1%}" if rate and peak else "-",
        }
        return (
            pair.name,
            f"{pair.ours:.3g} {pair.unit}",
            f"{pair.bare:.3g} {pair.unit}",
            _ratio(pair.ratio),
            f"{_ratio(pair.low)} to {_ratio(pair.high)}",
            *(more[name] for name in extra),
            _promise(pair),
        )

    show_measured(pairs, "fvlm", cells, about, as_json, extra=extra, more=more)


def _ratio(value: float) -> str:
    """Two decimals, or as many as a small ratio needs."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3g}"


def _promise(pair: Pair) -> str:
    if pair.limit is not None:
        return f"at most {pair.limit:.2f}"
    return f"faster by at least {pair.least:.2f}" if pair.least is not None else "-"


def show_measured(
    measured: Sequence[Any],
    ours: str,
    cells: Callable[[Any], tuple[str, ...]],
    about: dict[str, Any],
    as_json: bool,
    *,
    extra: Sequence[str] = (),
    more: Mapping[str, Any] | None = None,
) -> None:
    """A table and the machine, or both as JSON. measured: attrs classes with `holds`. ours: what fvlm's figures are.
    cells: of a row: name, ours, bare, ratio, its range, what is `extra`, what is promised. more: entries that only the
    JSON has."""
    import json

    from attrs import asdict

    from fvlm_core.api.views.console import new_table
    from fvlm_core.cli.console import print_table, stdout

    if as_json:
        rows = [{**asdict(one), "holds": one.holds} for one in measured]
        click.echo(json.dumps({"machine": about, "measured": rows, **(more or {})}, indent=2))
        return
    numbers = (ours, "bare", "ratio", "lowest to highest", *extra, PROMISED)
    table = new_table("measured", *numbers, right=numbers)
    for one in measured:
        table.add_row(*cells(one))
    print_table(table)
    stdout().print("; ".join(f"{name} {value}" for name, value in about.items()), style="dim", soft_wrap=True)

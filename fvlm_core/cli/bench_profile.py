"""How a profile of a training step is shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fvlm_core.bench.profile import StepPart, profiled
from fvlm_core.bench.setting import Setting


def show_profile(setting: Setting, trace: Path | None, about: dict[str, Any], as_json: bool) -> None:
    """Profile a step, and show it as a table or as JSON. trace: where the browser's trace goes."""
    import json

    from attrs import asdict

    from fvlm_core.api.views.console import new_table
    from fvlm_core.cli.console import print_table, stdout

    found = profiled(setting, trace)
    total = StepPart("all of it", found.limit)
    for part in found.parts:
        total.flops += part.flops
        total.forward += part.forward
        total.backward += part.backward
    rows = (*found.parts, total)
    if as_json:
        parts = [{**asdict(part), "seconds": part.seconds, "above_limit": part.above} for part in rows]
        click.echo(json.dumps({"machine": about, **asdict(found), "parts": parts}, indent=2))
        return
    numbers = ("forward", "backward", "share", "GFLOP", "GFLOP/s", "of the limit", "beyond it")
    table = new_table("part", *numbers, right=numbers)
    for part in rows:
        rate = part.flops / part.seconds if part.seconds else 0.0
        table.add_row(
            part.name,
            f"{part.forward:.3f} s",
            f"{part.backward:.3f} s",
            f"{part.seconds / total.seconds:.1%}",
            f"{part.flops / 1e9:,.1f}" if part.flops else "-",
            f"{rate / 1e9:,.0f}" if part.flops else "-",
            f"{rate / found.limit:.0%}" if part.flops else "-",
            f"{part.above:.3f} s",
        )
    print_table(table)
    say = lambda text: stdout().print(text, style="dim", soft_wrap=True)
    say(
        f"the limit: {found.limit / 1e9:,.0f} GFLOP/s, a product of large square matrices; a step by the clock: "
        f"{found.plain:.2f} s, {found.whole:.2f} s while recorded"
    )
    if trace is not None:
        say(f"trace: {trace} (open it at chrome://tracing or https://ui.perfetto.dev)")
    say("; ".join(f"{name} {value}" for name, value in about.items()))

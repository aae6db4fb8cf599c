"""What came of packing, as a person sees it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fvlm_core.datasets.shards.pack import Packed

SHOWN = 8
"""Reasons that are printed; the file of skipped samples holds all."""


def show_packs(packs: list[tuple[str, Packed]], root: Path) -> None:
    """Print a table of packs, what was left out of them, and how a recipe names them."""
    from fvlm_core.api.views.console import new_table
    from fvlm_core.cli.console import print_table, stdout
    from fvlm_core.datasets.shards.manifest import SKIPPED

    numbers = ("samples", "frames", "shards", "MB", "skipped", "not listed")
    table = new_table("pack", *numbers, "", right=numbers)
    for _, packed in packs:
        made = packed.manifest
        size = sum(shard.bytes for shard in made.shards) / 1e6
        cells = [f"{made.samples:,}", f"{made.frames:,}", f"{len(made.shards):,}", f"{size:,.1f}"]
        counts = [f"{made.skipped:,}", f"{made.left_out:,}"]
        table.add_row(str(packed.folder), *cells, *counts, "already complete" if packed.already else "")
    print_table(table)
    out = stdout()
    for _, packed in packs:
        if not packed.skipped:
            continue
        out.print(f"\nleft out of {packed.folder} (each is named in {SKIPPED}):", soft_wrap=True)
        for reason, count in list(packed.skipped.items())[:SHOWN]:
            out.print(f"  {count:,} x {reason}", soft_wrap=True)
        if len(packed.skipped) > SHOWN:
            out.print(f"  and {len(packed.skipped) - SHOWN:,} other reasons")
    out.print("\nin a recipe:")
    for label in dict.fromkeys(label for label, _ in packs):
        out.print(f'  [[data.sources]]\n  name = "shards"\n  path = "{root / label}"', soft_wrap=True)

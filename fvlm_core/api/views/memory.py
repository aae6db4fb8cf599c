"""How a plan shows memory and disk: one row for runs that need the same, and words for those that do not fit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table

from fvlm_core.api.views.console import new_table
from fvlm_core.planning.memory_fit import gib
from fvlm_core.planning.run_plan import RunPlan

COLUMNS = ("weights", "gradients", "optimizer", "copies", "kept", "keys, values", "working", "runtime")

ABOUT = (
    "memory: at the fullest moment of a training step. copies: bf16 copies of weights. kept: activations for the "
    "backward pass. working: logits of a chunk, a layer that is made again, gradients that wait for another pass. An "
    "estimate: within 15 % of what small models were seen to hold, on a CPU, where freed blocks that glibc keeps come "
    "on top, up to 0.7 GiB (docs/measurements/model_cost.md has its settings)"
)


def memory_table(groups: Sequence[tuple[str, RunPlan]]) -> Table:
    """Memory and disk by part. groups: ids, and the plan they share."""
    table = new_table("memory", *COLUMNS, "peak", "", "disk", right=(*COLUMNS, "peak", "disk"))
    for ids, plan in groups:
        need, memory = plan.need, plan.need.memory
        parts = (memory.weights, memory.gradients, memory.optimizer, memory.copies)
        kept = sum(memory.activations.values())
        cells = [gib(part) for part in (*parts, kept, memory.keys_values, memory.working, memory.runtime)]
        verdict = "fits" if need.fits else "DOES NOT FIT"
        disk = f"{plan.disk.checkpoints} x {gib(plan.disk.checkpoint)}"
        table.add_row(ids, *cells, gib(memory.total), verdict, disk)
    return table


def memory_notes(plan: RunPlan) -> Iterator[str]:
    """What a run's memory rests on, and what would fit where it does not."""
    need, memory = plan.need, plan.need.memory
    parts = ", ".join(f"{name} {gib(part)}" for name, part in memory.activations.items() if part)
    when = (
        "an evaluation"
        if memory.evaluation > memory.training
        else f"{memory.moment} (kept then: {parts or 'nothing'})"
    )
    yield ABOUT
    yield f"the fullest moment: {when}; an evaluation takes {gib(memory.evaluation)}"
    if not need.fits:
        yield f"CANNOT FIT: {need}"

"""How `fvlm run RECIPE --dry-run` shows a recipe and its plan: as text for people, as plain values for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attrs import asdict
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fvlm_core.api.views.bad_data import check_command, left_out_text, unusable_text
from fvlm_core.api.views.console import new_table, print_whole
from fvlm_core.api.views.memory import memory_notes, memory_table
from fvlm_core.api.views.recipe import resolved_text
from fvlm_core.data.lengths import LOOKED_AT
from fvlm_core.planning.flops import COMPONENTS
from fvlm_core.planning.run_plan import RunPlan
from fvlm_core.recipes.parent import Difference, Parentage, parentage
from fvlm_core.recipes.read import Recipe
from fvlm_core.recipes.resolved import resolved
from fvlm_core.utils.listing import listed


def plan_json(recipe: Recipe, plans: Sequence[RunPlan], family: Parentage | None = None) -> dict[str, Any]:
    """The recipe, every run of it fully resolved (defaults filled in) with its plan and what it changes of the recipe's
    parent, and the totals: JSON values. family: what to compare with in place of the parent."""
    family = family or parentage(recipe)
    return {
        "recipe": recipe.name,
        "file": recipe.file,
        "parent": family.parent,
        "runs": [
            {
                "id": run.id,
                "seed": run.seed,
                "changes": [asdict(difference) for difference in family.runs[run.id]],
                "resolved": resolved(run.config),
                "plan": planned.to_json(),
            }
            for run, planned in zip(recipe.runs, plans, strict=True)
        ],
        "totals": {
            "runs": len(plans),
            "samples": sum(planned.samples for planned in plans),
            "flops": sum(planned.flops for planned in plans),
            "seconds": sum(planned.seconds for planned in plans),
            "disk": sum(planned.disk.total for planned in plans),
        },
    }


def show_plan(
    console: Console,
    recipe: Recipe,
    plans: Sequence[RunPlan],
    family: Parentage | None = None,
    overrides: Sequence[str] = (),
) -> None:
    """The resolved recipe as TOML (what most runs share, then what each changes), what it changes of its parent, the
    runs, the models, memory, notes, unusable data. family: as in `plan_json`. overrides: that the recipe was read
    with."""
    for line in resolved_text(recipe):
        console.print(Text(line, "bold" if line.startswith("[") else ""), soft_wrap=True)
    console.print()
    for line in parent_text(recipe, family):
        console.print(Text(line), soft_wrap=True)
    console.print()
    print_whole(console, _runs(plans))
    console.print()
    print_whole(console, _parameters(plans))
    console.print()
    print_whole(console, _flops(plans))
    console.print()
    alike = _alike(plans, lambda plan: (plan.need, plan.disk.checkpoint, plan.disk.checkpoints))
    print_whole(console, memory_table(alike))
    console.print()
    for note in [*_notes(plans), *_bad_data(plans, check_command(recipe.file, overrides))]:
        console.print(Text("- " + note.replace("\n", "\n  ")), soft_wrap=True)


def parent_text(recipe: Recipe, family: Parentage | None = None) -> list[str]:
    """What the recipe changes of its parent, or of what `family` says: what all runs share, then each run's own."""
    family = family or parentage(recipe)
    shared = [d for d in family.runs[recipe.runs[0].id] if all(d in own for own in family.runs.values())]
    lines = [f"against {family.parent}:", *(f"  {difference}" for difference in shared)]
    for run, differences in family.runs.items():
        own: list[Difference] = [d for d in differences if d not in shared]
        lines += [f"  {run}: {'; '.join(map(str, own))}"] if own else []
    lines += [f"  {family.of_runs}"] if family.of_runs else []
    return lines if len(lines) > 1 else [f"against {family.parent}: nothing changes"]


def _runs(plans: Sequence[RunPlan]) -> Table:
    numbers = ("parameters", "steps", "samples", "FLOPs", "time")
    rates = "learning rates (connector, encoder, llm)"
    table = new_table("run", "size", *numbers, rates, right=numbers)
    for plan in plans:
        table.add_row(
            plan.id,
            plan.size,
            f"{plan.parameters.total:,}",
            f"{plan.steps:,}",
            f"{plan.samples:,}",
            f"{plan.flops:.2e}",
            about(plan.seconds),
            ", ".join(f"{plan.rates[name]:.3g}" for name in ("connector", "encoder", "llm")),
        )
    if len(plans) > 1:
        table.add_section()
        totals = (sum(p.samples for p in plans), sum(p.flops for p in plans), sum(p.seconds for p in plans))
        table.add_row(
            f"{len(plans)} runs", "", "", "", f"{totals[0]:,}", f"{totals[1]:.2e}", about(totals[2]), ""
        )
    return table


def _parameters(plans: Sequence[RunPlan]) -> Table:
    columns = ("encoder", "connector", "llm", "total", "trainable")
    table = new_table("parameters", *columns, "vocabulary", right=(*columns, "vocabulary"))
    for ids, plan in _alike(plans, lambda plan: (plan.parameters, plan.vocabulary)):
        counts = [plan.parameters.components[name] for name in columns[:3]]
        numbers = (*counts, plan.parameters.total, plan.parameters.trainable, plan.vocabulary)
        table.add_row(ids, *(f"{number:,}" for number in numbers))
    return table


def _flops(plans: Sequence[RunPlan]) -> Table:
    columns = (*COMPONENTS, "total", "masked", "nominal", "6ND", "frames", "text tokens")
    table = new_table("FLOPs a sample", *columns, right=columns)
    for ids, plan in _alike(plans, lambda plan: (plan.ledger, plan.parameters)):
        costs = (
            *(plan.flops_per_sample[name] for name in COMPONENTS),
            sum(plan.flops_per_sample.values()),
            plan.masked_flops_per_sample,
            plan.nominal_flops_per_sample,
            plan.six_nd_per_sample,
        )
        lengths = (f"{plan.frames:.3g}", f"{plan.text_tokens:.4g}")
        table.add_row(ids, *(f"{cost:.3e}" for cost in costs), *lengths)
    return table


_NAMED = 6
"""Runs that a row or a note names; of more it says how many."""


def _alike(plans: Sequence[RunPlan], key: Any) -> list[tuple[str, RunPlan]]:
    """Plans that agree in `key`, once, with the ids of all of them."""
    found: list[tuple[list[str], RunPlan]] = []
    for plan in plans:
        for ids, other in found:
            if key(other) == key(plan):
                ids.append(plan.id)
                break
        else:
            found.append(([plan.id], plan))
    return [(listed(ids, _NAMED), plan) for ids, plan in found]


_ABOUT_FLOPS = (
    "FLOPs: a multiply-add is 2, forward and backward. masked: the part of the total that a causal mask hides and some "
    "kernels skip. nominal: the founding project's accounting, of 8 frames and 128 tokens. 6ND: the rule of thumb"
)


def about(seconds: float) -> str:
    """An estimate in two digits: "41 s", "2.7 min", "4.3 h", "289 days"."""
    for unit, scale, most in (("s", 1, 120), ("min", 60, 120), ("h", 3600, 72)):
        if seconds < most * scale:
            return (
                f"{seconds / scale:.2g} {unit}" if seconds < 100 * scale else f"{seconds / scale:.0f} {unit}"
            )
    return f"{seconds / 86400:,.0f} days"


def _notes(plans: Sequence[RunPlan]) -> list[str]:
    """What the figures rest on, and what is missing; said once, with the runs it is about if not all."""
    said: dict[str, list[str]] = {}
    for plan in plans:
        notes = [
            f"lengths: {plan.lengths_from}",
            f"time: {plan.speed}",
            _ABOUT_FLOPS,
            *memory_notes(plan),
            *plan.notes,
        ]
        for note in notes:
            said.setdefault(note, []).append(plan.id)
    told = [
        note if len(ids) == len(plans) else f"{note} ({listed(ids, _NAMED)})" for note, ids in said.items()
    ]
    return told + _epochs(plans)


def _bad_data(plans: Sequence[RunPlan], check: str) -> list[str]:
    """What of the data cannot be used, as far as a plan looks, of all runs together."""
    bad = {sample: why for plan in plans for sample, why in plan.bad_samples.items()}
    worst = max(plans, key=lambda plan: plan.left_out)
    of = f" of the first {LOOKED_AT} of training"
    return [*unusable_text(bad, check, of), *left_out_text(worst.left_out, worst.first_left_out, check)]


def _epochs(plans: Sequence[RunPlan]) -> list[str]:
    """How often the data are seen, from the run that sees a source least to the one that sees it most."""
    seen: dict[str, list[float]] = {}
    for plan in plans:
        for name, times in plan.epochs:
            seen.setdefault(name, []).append(times)
    said = [
        f"{min(times):.3g} x {name}"
        if min(times) == max(times)
        else f"{min(times):.3g} to {max(times):.3g} x {name}"
        for name, times in seen.items()
    ]
    return [f"the data are seen {', '.join(said)}"] if said else []

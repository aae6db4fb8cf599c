"""What a recipe's runs take of a launcher: jobs, hours, GPU hours, disk, and when the last one ends, by slots."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import ceil

from fvlm_core.api.views.plan import about
from fvlm_core.interfaces.launcher import Launcher
from fvlm_core.planning.memory_fit import gib
from fvlm_core.planning.run_plan import RunPlan
from fvlm_core.planning.wall_time import wall_seconds
from fvlm_core.recipes.read import Recipe


def jobs_text(
    recipe: Recipe,
    plans: Sequence[RunPlan],
    after: Mapping[str, Collection[str]],
    launcher: Launcher,
    slots: int,
) -> list[str]:
    """A few lines. after: the runs that each one waits for. slots: those asked for."""
    processes, gpus = launcher.processes, launcher.gpus
    seconds = {plan.id: plan.seconds / processes for plan in plans}
    starts = sum(ceil(one / launcher.limit) if launcher.limit else 1 for one in seconds.values())
    total = sum(seconds.values())
    most = wall_seconds(seconds, after, len(plans))[1]
    shown = sorted({1, min(slots, most), most})
    ends = ", ".join(f"{about(wall_seconds(seconds, after, n)[0])} with {n}" for n in shown)
    shared = f", were {processes} processes {processes} times as fast as one" if processes > 1 else ""
    hours = f"{total / 3600:.3g} job hours" + (f", {total / 3600 * gpus:.3g} GPU hours" if gpus else "")
    written = sum(
        plan.disk.checkpoint * ceil(plan.steps / (run.config.checkpoints.every or run.config.eval.every))
        for run, plan in zip(recipe.runs, plans, strict=True)
    )
    disk = sum(plan.disk.total for plan in plans)
    return [
        f"{len(plans)} runs in {starts} jobs: {hours}{shared}",
        f"slots, and when the last run ends: {ends}"
        + ("; more than that wait for other runs" if most < len(plans) else "")
        + ("; a queue's own waiting comes on top" if launcher.detached else ""),
        f"disk: at most {gib(disk)} at a time; {gib(written)} of checkpoints written in all",
    ]

"""What a recipe will cost, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from fvlm_core.api.checks import within
from fvlm_core.api.explained import public
from fvlm_core.api.places import Root, runs_folder
from fvlm_core.api.recipe import Recipe, as_recipe
from fvlm_core.api.views.console import as_html, as_text
from fvlm_core.recipes import read

if TYPE_CHECKING:
    import pandas as pd

    from fvlm_core.planning.run_plan import RunPlan


@public
def plan(
    recipe: Recipe | str | PathLike[str] | Mapping[str, Any],
    *,
    device: str | None = None,
    mfu: float | None = None,
    root: Root = None,
) -> PlanResult:
    """Parameters, steps, FLOPs, memory, time and disk of every run of a recipe, as `fvlm run --dry-run` shows them.

    recipe: as in `train`. device: of a GPU that is not here, "RTX 5090". mfu: the share of its peak that training
    reaches; None: measured here. root: where runs that it starts from are kept; see `runs`. Raises `FvlmError`.
    """
    within("mfu", mfu, 0, 1, above=True)
    kept = runs_folder(root)
    checked = as_recipe(recipe).checked
    return PlanResult(checked, tuple(planned(checked, kept, device, mfu)))


def planned(recipe: read.Recipe, root: Path, device: str | None, mfu: float | None) -> list[RunPlan]:
    """The plan of every run, with what is missing for it among its notes."""
    from fvlm_core.execution.begun import as_begun, missing_start
    from fvlm_core.hardware.gpus import find_gpu
    from fvlm_core.planning.plan import PlannedDevice, plan

    known = as_begun(recipe, root)
    plans = plan(known, PlannedDevice(find_gpu(device) if device else None, mfu))
    return [
        evolve(
            one,
            notes=tuple(dict.fromkeys([*one.notes, *_begun(run, own), *missing_start(recipe, run, root)])),
        )
        for run, own, one in zip(recipe.runs, known.runs, plans, strict=True)
    ]


def _begun(run: read.Run, own: read.Run) -> list[str]:
    """A note where a run goes on in the precision that it began in. own: as it does."""
    asked, precision = run.config.training.precision, own.config.training.precision
    return [] if asked == precision else [f"training.precision is {asked}: {precision}, in which it began"]


@frozen(eq=False, repr=False)
class PlanResult:
    """The plans of a recipe's runs, in its order."""

    recipe: read.Recipe
    plans: tuple[RunPlan, ...]

    @property
    def table(self) -> pd.DataFrame:
        """A row a run: run, size, parameters, trainable, steps, samples, flops, seconds, memory and disk in bytes, and
        whether it fits."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "run": one.id,
                    "size": one.size,
                    "parameters": one.parameters.total,
                    "trainable": one.parameters.trainable,
                    "steps": one.steps,
                    "samples": one.samples,
                    "flops": one.flops,
                    "seconds": one.seconds,
                    "memory": one.need.memory.total,
                    "disk": one.disk.total,
                    "fits": one.need.fits,
                }
                for one in self.plans
            ]
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything, as `fvlm run --dry-run --json` prints it."""
        from fvlm_core.api.views.plan import plan_json

        return plan_json(self.recipe, self.plans)

    def __repr__(self) -> str:
        from fvlm_core.api.views.plan import show_plan

        return as_text(lambda console: show_plan(console, self.recipe, self.plans))

    def _repr_html_(self) -> str:
        from fvlm_core.api.views.plan import show_plan

        return as_html(lambda console: show_plan(console, self.recipe, self.plans))

"""What is on disk of runs before they are trained: where each is, the precision it keeps, what it starts from.

A plan needs this of them alone.
"""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from fvlm_core.execution.decay import begins_from
from fvlm_core.hardware.precision import Precision, computed_in
from fvlm_core.planning.requirements import missing_weights
from fvlm_core.recipes.read import Recipe, Run
from fvlm_core.runs.store import CHECKPOINTS, RECIPE, read_part
from fvlm_core.utils.errors import MissingWeights
from fvlm_core.weights.init_from import find_initial


def run_folder(root: Path, recipe: Recipe, run: Run) -> Path:
    """Where a run is kept."""
    return root / recipe.name / run.id


def missing_start(recipe: Recipe, run: Run, root: Path) -> list[str]:
    """What a run would start from and is not on this machine, a message each with the way to get it."""
    begun = any((run_folder(root, recipe, run) / CHECKPOINTS).glob("step-*"))
    if begun and not run.config.training.objective_spec.start:
        return []  # it continues from its own weights
    training = run.config.training
    start = training.init_from
    if training.continue_from and not training.objective_spec.start:
        return []
    if start is None:
        return missing_weights(run.config.model)
    earlier = recipe.runs[: recipe.runs.index(run)]
    if start in [f"{recipe.name}/{other.id}" for other in earlier]:
        return []  # it will be there by then
    try:
        find_initial(start, root)
    except MissingWeights as error:
        return [str(error)]
    return []


def as_begun(recipe: Recipe, root: Path) -> Recipe:
    """The recipe with the precision that `auto` is of the runs that have begun."""
    return evolve(
        recipe,
        runs=tuple(
            run if (kept := kept_precision(recipe, run, root)) is None else computed_in(run, kept)
            for run in recipe.runs
        ),
    )


def kept_precision(recipe: Recipe, run: Run, root: Path) -> Precision | None:
    """What `auto` is of a run that has begun, or that decays from one that has; None of any other."""
    if run.config.training.precision != "auto":
        return None
    file = run_folder(root, recipe, run) / RECIPE
    if file.exists():
        return read_part(file)["resolved"]["training"]["precision"]
    stored = begins_from(run, root)
    return stored.record["resolved"]["training"]["precision"] if stored else None

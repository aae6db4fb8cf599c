"""The decay alone, from a checkpoint of the stable part of a run: many final losses out of one long run.

`fvlm run RECIPE --decay-from RUN@STEP` makes of the run of RECIPE that is called as RUN one whose schedule is stable up
to STEP and falls from there. It begins with the weights, the optimizer's state and the place in the data of RUN's
checkpoint, and ends bit for bit as a run of that schedule that did it in one go.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import evolve, fields_dict

from fvlm_core.data.sources import Sources
from fvlm_core.recipes.drift import NOT_SET, Change, explain
from fvlm_core.recipes.read import Recipe, Run
from fvlm_core.recipes.resolved import plain
from fvlm_core.recipes.schema import Chosen
from fvlm_core.runs.checkpoint import damage
from fvlm_core.runs.fingerprint import drift, seen_data
from fvlm_core.runs.store import CHECKPOINTS, StoredRun, find_run
from fvlm_core.training.state import Latest, latest_of
from fvlm_core.utils.errors import UsageError

_OF_THE_DECAY = (
    *("training.steps", "training.samples", "training.budget", "training.budget_accounting"),
    *("training.warmup_steps", "training.continue_from", "training.floor"),
    *("training.schedule.decay", "training.schedule.decay_steps", "training.schedule.shape"),
)
"""Keys in which the decay may differ from the stable part; the number of warm-up steps is taken from that."""


def decaying(recipe: Recipe, text: str, root: Path) -> Recipe:
    """The recipe with one run, which decays from "RUN@STEP", and no fits. Raises `UsageError`.

    root: where runs are kept. RUN is complete or not; what it was trained under has to be the recipe.
    """
    name, step = _parsed(text)
    stored = find_run(name, root)
    run = next((run for run in recipe.runs if run.id == stored.id), None)
    if run is None:
        known = ", ".join(run.id for run in recipe.runs)
        raise UsageError(f"--decay-from {text}: {recipe.file} has no run {stored.id}; its runs: {known}")
    checkpoint_of(stored, step)
    decayed = _decaying(run, stored, step, text)
    return evolve(
        recipe, runs=(decayed,), fits=(), left_out=tuple(other for other in recipe.runs if other is not run)
    )


def beginning(run: Run, root: Path, data: Sources) -> Latest | None:
    """Where a run begins that decays from another; None for any other run. Raises `UsageError` where the other is no
    more, or was trained under another recipe, or on other data, than the stable part of this one."""
    stored = begins_from(run, root)
    if stored is None:
        return None
    name, step = _parsed(run.config.training.continue_from or "")
    found = drift(stored.record, run, seen_data(data.train, data.validation))
    if wrong := [change for change in found if not _free(change, _was_constant(stored))]:
        raise UsageError(
            f"{name} was trained under another recipe than its decay; what differs:\n{explain(wrong)}"
        )
    latest = latest_of(checkpoint_of(stored, step))
    progress = latest.progress
    progress.best_val_loss = progress.best_val_step = progress.best_val_loss_content = None  # not of this run
    progress.ended = ""
    return latest


def begins_from(run: Run, root: Path) -> StoredRun | None:
    """The run that a run decays from; None for any other run. Raises `UsageError` where it is no more."""
    start = run.config.training.continue_from
    return None if start is None else find_run(_parsed(start)[0], root)


def checkpoint_of(stored: StoredRun, step: int) -> Path:
    """The folder of a checkpoint. Raises `UsageError`, with those there are."""
    folder = stored.folder / CHECKPOINTS
    checkpoint = folder / f"step-{step:08d}"
    if not checkpoint.is_dir():
        there = ", ".join(str(int(each.name.removeprefix("step-"))) for each in sorted(folder.glob("step-*")))
        raise UsageError(
            f"{stored.recipe}/{stored.id} has no checkpoint of step {step}; it has those of {there or 'no step'}. "
            "checkpoints.every and checkpoints.keep_last say which are kept"
        )
    if wrong := damage(checkpoint):
        raise UsageError(wrong)
    return checkpoint


def _parsed(text: str) -> tuple[str, int]:
    name, at, step = text.rpartition("@")
    if not at or not name or not step.isdecimal():
        raise UsageError(f"--decay-from {text}: expected RUN@STEP, as in captions_small/48@400")
    return name, int(step)


def _decaying(run: Run, stored: StoredRun, step: int, text: str) -> Run:
    """The run with a schedule that falls from `step`. How long: the schedule's own decay_steps, or so many that they
    are its share of the steps."""
    training = run.config.training
    schedule = training.schedule
    own: dict[str, Any] = {} if isinstance(schedule, str) else plain(schedule.config)
    if isinstance(schedule, str) or not {"decay", "decay_steps"} <= fields_dict(type(schedule.config)).keys():
        raise UsageError(
            f'--decay-from {text}: training.schedule is "{training.schedule_name}", which has no decay of its own; '
            "expected one with a decay, as in -o training.schedule=wsd"
        )
    if training.objective_spec.start:
        raise UsageError(
            f"--decay-from {text}: an objective that holds on to the start of a run has no decay alone"
        )
    planned = stored.record["steps"]
    warmup = training.warmup_steps if training.warmup_steps is not None else int(planned * training.warmup)
    if step < warmup:
        raise UsageError(f"--decay-from {text}: the warm-up ends at step {warmup} only")
    if step > (falls := _falls(stored, planned, warmup)):
        raise UsageError(
            f"--decay-from {text}: the rate of that run falls from step {int(falls)} on; choose an earlier one"
        )
    share, fixed = own["decay"], own.get("decay_steps")
    if fixed is None and share == 1:
        raise UsageError(
            f"--decay-from {text}: a decay of all steps has no stable part; say decay or decay_steps"
        )
    length = fixed or max(1, round((step - warmup) * share / (1 - share)))
    changed = evolve(
        training,
        steps=step + length,
        samples=None,
        budget=None,
        warmup_steps=warmup,
        schedule=Chosen(schedule.name, schedule.component, evolve(schedule.config, decay_steps=length)),
        continue_from=text,
    )
    table = {**run.table, "training": {**run.table.get("training", {}), "continue_from": text}}
    return evolve(run, id=f"{run.id}-decay-{step}", config=evolve(run.config, training=changed), table=table)


def _was_constant(stored: StoredRun) -> bool:
    return stored.record["resolved"]["training"]["schedule"] == "constant"


def _falls(stored: StoredRun, planned: int, warmup: int) -> float:
    """The step from which the rate of a run falls; the warm-up's end where its schedule has no stable part."""
    schedule = stored.record["resolved"]["training"]["schedule"]
    if schedule == "constant":
        return planned
    if isinstance(schedule, str):
        return warmup
    fixed = schedule.get("decay_steps")
    return planned - (schedule.get("decay", 1.0) * (planned - warmup) if fixed is None else fixed)


def _free(change: Change, was_constant: bool) -> bool:
    """Whether a change leaves the stable part what it was. was_constant: whether the whole of it was the peak rate."""
    if change.kind in ("runtime", "evaluation") or change.key in _OF_THE_DECAY:
        return True
    # The plugin that the falling schedule comes from.
    brought = change.before == NOT_SET and change.key.startswith("software.plugins.")
    return was_constant and (brought or change.key.startswith("training.schedule"))

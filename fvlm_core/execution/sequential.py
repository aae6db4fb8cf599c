"""All runs of a recipe, one after the other: what is done is skipped, what is not continues where it stopped."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from attrs import frozen

from fvlm_core.data.modalities import ungiven
from fvlm_core.data.pairs import without_pairs
from fvlm_core.data.sources import Sources, open_all, unseen
from fvlm_core.execution.attempt import Attempt, Begun
from fvlm_core.execution.begun import kept_precision, missing_start, run_folder
from fvlm_core.execution.decay import beginning
from fvlm_core.hardware.devices import pick_device
from fvlm_core.hardware.precision import ChosenPrecision, computed_in, faster_precision
from fvlm_core.interfaces.data import Progress
from fvlm_core.model.build import modality_specs
from fvlm_core.planning.requirements import missing_libraries
from fvlm_core.recipes.drift import Change, check_allowed, explain, refused
from fvlm_core.recipes.read import Recipe, Run
from fvlm_core.recipes.resolved import flat
from fvlm_core.recipes.schema import Data
from fvlm_core.runs.fingerprint import data_places, drift, identity, seen_data
from fvlm_core.runs.store import (
    CHECKPOINTS,
    IMPORTED,
    QUEUED,
    RECIPE,
    SUMMARY,
    TOKENIZER,
    find_run,
    open_run,
    read_part,
)
from fvlm_core.training.callbacks import Observer
from fvlm_core.training.failure import failure_recorded
from fvlm_core.training.process_group import Ranks
from fvlm_core.training.signals import StopRequest
from fvlm_core.training.state import find_latest
from fvlm_core.utils.atomic_files import refuse_link
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.folder_lock import writing
from fvlm_core.utils.paths import keep_runs


@frozen
class Outcome:
    """What became of one run. skipped: it was complete already."""

    run: Run
    folder: Path
    summary: dict[str, Any]
    skipped: bool


def completed(recipe: Recipe, root: Path, allowed: Sequence[str] = ()) -> list[Outcome] | None:
    """The outcomes of a recipe whose runs are all complete, read without building anything; else None.

    allowed: keys in which a run may have changed since it began. Raises `UsageError` when one changed in others.
    """
    check_drift(recipe, root, allowed)
    outcomes: list[Outcome] = []
    for run in recipe.runs:
        outcome = completed_run(recipe, run, root)
        if outcome is None:
            return None
        outcomes.append(outcome)
    return outcomes


def completed_run(recipe: Recipe, run: Run, root: Path) -> Outcome | None:
    """The outcome of a run that is complete, read without building anything; else None."""
    folder = run_folder(root, recipe, run)
    found = _drift(folder, run)
    elsewhere = [change for change in found if change.key in data_places(run.config)]
    # Data that moved may be other data: whether they are is known once they are opened.
    summary = None if elsewhere else _complete_summary(folder, found)
    return None if summary is None else Outcome(run, folder, summary, skipped=True)


def complete_runs(recipe: Recipe, root: Path) -> set[str]:
    """Ids of the runs of a recipe for which there is nothing left to do."""
    return {run.id for run in recipe.runs if _is_complete(run_folder(root, recipe, run), run)}


def _is_complete(folder: Path, run: Run) -> bool:
    return _complete_summary(folder, _drift(folder, run)) is not None


def prepare(recipe: Recipe, root: Path, progress: Progress) -> dict[str, Sources]:
    """Open, and where needed make, the data of every run, by run id; check that all weights to start from are here.

    root: where runs are kept. Raises one `UsageError` that names everything that is missing and how to get it.
    """
    missing: list[str] = []
    opened: list[tuple[Data, Sources]] = []  # runs of the same data share it
    by_run: dict[str, Sources] = {}
    for run in recipe.runs:
        missing += missing_start(recipe, run, root)
        missing += missing_before(recipe, run, root)
        missing += missing_libraries("tracker", run.config.trackers)
        missing += missing_libraries("metric", run.config.eval.metrics or ())
        shared = next((sources for data, sources in opened if data == run.config.data), None)
        if shared is None:
            shared = open_all(run.config.data)
            if not isinstance(shared, Sources):
                missing += shared
                continue
            opened.append((run.config.data, shared))
            missing += unseen(shared.every, run.config.data.max_bad)
        if run.config.training.objective_spec.pairs:
            missing += without_pairs(shared.every)
        missing += ungiven(modality_specs(run.config.model), shared.every)
        by_run[run.id] = shared
    if missing:
        raise UsageError("\n".join(["this recipe cannot run here yet:", *dict.fromkeys(missing)]))
    for _, sources in opened:
        for source in sources.every:
            source.prepare(progress)
    return by_run


def missing_before(recipe: Recipe, run: Run, root: Path) -> list[str]:
    """Runs that have to be trained before this one, and are not: neither by this recipe nor before."""
    found: list[str] = []
    earlier = recipe.runs[: recipe.runs.index(run)]
    own = {name for other in earlier for name in (other.id, f"{recipe.name}/{other.id}")}
    for name in [name for name in run.config.training.objective_spec.after if name not in own]:
        try:
            state = find_run(name, root).state
        except UsageError as error:
            found.append(f"training.objective: {error}; train that run first, or name another")
        else:
            if state != "complete":
                found.append(f"training.objective: {name} is {state}; train it to its end first")
    return found


def check_drift(
    recipe: Recipe, root: Path, allowed: Sequence[str], data: Mapping[str, Sources] | None = None
) -> None:
    """Raise `UsageError`, key by key, when a run that has begun differs from the recipe in what nobody accepted.

    allowed: keys, or tables of them. data: the opened sources by run id, to compare fingerprints too.
    """
    texts: list[str] = []
    known: set[str] = set()
    for run in recipe.runs:
        folder = run_folder(root, recipe, run)
        found = _drift(folder, run, data)
        known |= {*flat(identity(run)), *(change.key for change in found)}
        wrong = refused(found, allowed)
        if wrong:
            texts.append(f"{folder} holds this run of another recipe; what differs:\n{explain(wrong)}")
    for run in recipe.left_out if allowed else ():  # what was accepted may be theirs
        known |= {*flat(identity(run))}
    if texts:
        way_out = (
            "Or give the recipe another name (-o name=...), another place (--runs DIR), or remove the folder."
        )
        raise UsageError("\n".join([*texts, way_out]))
    check_allowed(allowed, known)


def run_all(
    recipe: Recipe,
    root: Path,
    data: dict[str, Sources],
    observer: Observer,
    stop: StopRequest,
    allowed: Sequence[str] = (),
    ranks: Ranks | None = None,
    *,
    rehearsal: bool = False,
) -> list[Outcome]:
    """Train every run of a recipe that is not complete. Raises `Stopped` after a signal, and as `check_drift`.

    ranks: the processes that train together; what is on disk is read and written by the first of them.
    rehearsal: whether records and summaries say that this is one.
    """
    ranks = ranks or Ranks()
    keep_runs(root)
    ranks.on_first(lambda: check_drift(recipe, root, allowed, data))
    outcomes: list[Outcome] = []
    for run in recipe.runs:
        with ExitStack() as held:
            folder = run_folder(root, recipe, run)
            begun = ranks.on_first(lambda run=run, held=held: _begin(recipe, run, root, data, held))
            if isinstance(begun, Begun):
                if ranks.first:
                    held.enter_context(failure_recorded(folder))
                own = run if begun.precision is None else computed_in(run, begun.precision.precision)
                attempt = Attempt(own, recipe.name, root, folder, data[run.id], begun, ranks, rehearsal)
                summary = attempt.train(observer, stop)
                outcomes.append(Outcome(run, folder, summary, skipped=False))
            else:
                observer.skipped(run)
                outcomes.append(Outcome(run, folder, begun, skipped=True))
    return outcomes


def _begin(
    recipe: Recipe, run: Run, root: Path, data: Mapping[str, Sources], held: ExitStack
) -> Begun | dict[str, Any]:
    """Take a run's folder, until `held` is closed; its summary when it is complete."""
    folder = run_folder(root, recipe, run)
    refuse_link(folder.parent, folder)
    folder.mkdir(parents=True, exist_ok=True)
    held.enter_context(writing(folder))
    (folder / QUEUED).unlink(missing_ok=True)
    found = _drift(folder, run, data)
    summary = _complete_summary(folder, found)
    if summary is not None:
        return summary
    latest, tokenizer = find_latest(folder), folder / TOKENIZER
    begins = beginning(run, root, data[run.id]) if latest.folder is None else None
    if begins is not None and begins.folder is not None:
        latest = begins
        if not tokenizer.exists():
            shutil.copyfile(begins.folder.parents[1] / TOKENIZER, tokenizer)
    return Begun(found, latest, tokenizer.exists(), _precision(recipe, run, root))


def _precision(recipe: Recipe, run: Run, root: Path) -> ChosenPrecision | None:
    """What `auto` is for a run: the precision that it began in, or the one that this device is faster in; None where
    the recipe says one."""
    training = run.config.training
    if training.precision != "auto":
        return None
    kept = kept_precision(recipe, run, root)
    if kept is not None:
        return ChosenPrecision(kept, "in which it began")
    return faster_precision(pick_device(training.device))


def _drift(folder: Path, run: Run, data: Mapping[str, Sources] | None = None) -> list[Change]:
    """In what a run on disk differs from the recipe; nothing when it has not begun."""
    if not (folder / RECIPE).exists():
        if any((folder / CHECKPOINTS).glob("step-*")):
            raise UsageError(
                f"{folder} has checkpoints but no {RECIPE}: what they were trained under is unknown. Put the file "
                "back, give another place (--runs DIR), or remove the folder"
            )
        return []
    begun = open_run(folder)
    if not begun.has_recipe:
        raise UsageError(
            f"{folder} holds measurements imported from {begun.record[IMPORTED]['file']}, which cannot be trained on. "
            "Give the recipe another name (-o name=...), another place (--runs DIR), or remove the folder"
        )
    sources = data[run.id] if data is not None else None
    seen = seen_data(sources.train, sources.validation) if sources is not None else None
    return drift(begun.record, run, seen)


def _complete_summary(folder: Path, found: Sequence[Change]) -> dict[str, Any] | None:
    """The summary of a complete run; None when there is work left, as under accepted changes there may be."""
    if not (folder / SUMMARY).exists() or not (folder / RECIPE).exists():
        return None
    summary = read_part(folder / SUMMARY)
    return summary if summary.get("complete") and all(change.free for change in found) else None

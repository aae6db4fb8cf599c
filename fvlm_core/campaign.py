"""All runs of a recipe, one after the other: what is done is skipped, what is not continues where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from attrs import frozen

import fvlm_core
from fvlm_core.compose import Sources, compose, make_chat, specs
from fvlm_core.compute import (
    count_parameters,
    flops_per_sample,
    nominal_flops,
    short_count,
    vocabulary_parameters,
)
from fvlm_core.errors import FvlmError, UsageError
from fvlm_core.interfaces.data import Progress
from fvlm_core.missing import missing_weights, open_all
from fvlm_core.recipes.read import Recipe, Run
from fvlm_core.recipes.resolved import changed_keys, resolved
from fvlm_core.recipes.schema import Data, RunRecipe
from fvlm_core.runs.environment import describe_environment
from fvlm_core.runs.files import read_json, write_json
from fvlm_core.runs.lock import writing
from fvlm_core.runs.store import ENVIRONMENT, RECIPE, SUMMARY, TOKENIZER
from fvlm_core.training.loop import Length, Observer, train
from fvlm_core.training.stop import StopRequest


@frozen
class Outcome:
    """What became of one run. skipped: it was complete already."""

    run: Run
    folder: Path
    summary: dict[str, Any]
    skipped: bool


def completed(recipe: Recipe, root: Path) -> list[Outcome] | None:
    """The outcomes of a recipe whose runs are all complete, read without building anything; else None."""
    outcomes: list[Outcome] = []
    for run in recipe.runs:
        folder = run_folder(root, recipe, run)
        summary = _complete_summary(folder, run)
        if summary is None:
            return None
        outcomes.append(Outcome(run, folder, summary, skipped=True))
    return outcomes


def run_folder(root: Path, recipe: Recipe, run: Run) -> Path:
    """Where a run is kept."""
    return root / recipe.name / run.id


def prepare(recipe: Recipe, progress: Progress) -> dict[str, Sources]:
    """Open, and where needed make, the data of every run, by run id; check that every pretrained weight is here.

    Raises one `UsageError` that names everything that is missing and how to get it.
    """
    missing: list[str] = []
    opened: list[tuple[Data, Sources]] = []  # runs of the same data share it
    by_run: dict[str, Sources] = {}
    for run in recipe.runs:
        missing += missing_weights(run.config.model)
        shared = next((sources for data, sources in opened if data == run.config.data), None)
        if shared is None:
            shared = open_all(run.config.data)
            if not isinstance(shared, Sources):
                missing += shared
                continue
            opened.append((run.config.data, shared))
        by_run[run.id] = shared
    if missing:
        raise UsageError("\n".join(["this recipe cannot run here yet:", *dict.fromkeys(missing)]))
    for _, sources in opened:
        for source in (*sources.train, *sources.validation):
            source.prepare(progress)
    return by_run


def run_all(
    recipe: Recipe, root: Path, data: dict[str, Sources], observer: Observer, stop: StopRequest
) -> list[Outcome]:
    """Train every run of a recipe that is not complete. Raises `Stopped` after a signal."""
    outcomes: list[Outcome] = []
    for order, run in enumerate(recipe.runs):
        folder = run_folder(root, recipe, run)
        folder.mkdir(parents=True, exist_ok=True)
        with writing(folder):
            summary = _complete_summary(folder, run)
            if summary is not None:
                outcomes.append(Outcome(run, folder, summary, skipped=True))
                continue
            summary = _train_one(recipe, run, order, folder, data[run.id], observer, stop)
            outcomes.append(Outcome(run, folder, summary, skipped=False))
    return outcomes


def _train_one(
    recipe: Recipe,
    run: Run,
    order: int,
    folder: Path,
    sources: Sources,
    observer: Observer,
    stop: StopRequest,
) -> dict[str, Any]:
    config = run.config
    chat = make_chat(
        config.model, sources.texts, folder / TOKENIZER if (folder / TOKENIZER).exists() else None
    )
    model = compose(config.model, chat.vocabulary, run.seed)
    parameters = count_parameters(model, config.training.frozen)
    flops = flops_per_sample(config, sources, chat)
    length = Length.of(config.training, _budgeted(config, chat.vocabulary, flops))
    size = config.model.size or config.model.llm.config.spec().size or short_count(parameters.total)
    record = {
        "id": run.id,
        "recipe": recipe.name,
        "order": order,
        "seed": run.seed,
        "size": size,
        "total_params": parameters.total,
        "trainable_params": parameters.trainable,
        "non_embedding_params": parameters.total - vocabulary_parameters(model.llm.spec),
        "llm_params": parameters.components["llm"],
        "schedule": config.training.schedule,
        "in_fits": config.in_fits,
        "steps": length.steps,
        "flops_per_sample": flops,
        "fvlm": fvlm_core.__version__,
        "data": {
            split: [
                {"source": source.name, "samples": len(source), "fingerprint": source.fingerprint()}
                for source in of
            ]
            for split, of in (("train", sources.train), ("validation", sources.validation))
        },
        "resolved": resolved(config),
    }
    if not (folder / TOKENIZER).exists():
        chat.save(folder / TOKENIZER)
    _check_data(folder, record)
    write_json(folder / ENVIRONMENT, describe_environment())
    write_json(folder / RECIPE, record)
    known = {
        "run_id": run.id,
        "model_size": size,
        "total_params": parameters.total,
        "lr_schedule": config.training.schedule,
        "flops_per_sample": flops,
        "left_out": [str(problem) for source in sources.train for problem in source.problems()],
    }
    summary = train(run, model, chat, sources, folder, length, known, observer, stop)
    write_json(folder / SUMMARY, summary)
    return summary


def _budgeted(config: RunRecipe, vocabulary: int, ledger: float) -> float:
    """The training FLOPs of a sample that a budget is divided by, in the accounting that the recipe names."""
    if config.training.accounting == "ledger":
        return ledger
    encoder, llm = specs(config.model, vocabulary)
    return nominal_flops(encoder, config.model.connector.config.spec(encoder), llm)


def _complete_summary(folder: Path, run: Run) -> dict[str, Any] | None:
    """The summary of a complete run of the same recipe; None when there is work left.

    Raises `UsageError` when the folder holds a run of another recipe.
    """
    if not (folder / RECIPE).exists():
        return None
    record = read_json(folder / RECIPE)
    changed = changed_keys(record["resolved"], resolved(run.config))
    if record["seed"] != run.seed:
        changed.append(f"seed: {record['seed']} -> {run.seed}")
    if changed:
        listed = "\n".join(f"  {change}" for change in changed)
        raise UsageError(
            f"{folder} holds this run of another recipe; what differs:\n{listed}\n"
            "Give the recipe another name (-o name=...), another place (--runs DIR), or remove that folder."
        )
    summary = read_json(folder / SUMMARY) if (folder / SUMMARY).exists() else {}
    return summary if summary.get("complete") else None


def _check_data(folder: Path, record: dict[str, Any]) -> None:
    if not (folder / RECIPE).exists():
        return
    before = read_json(folder / RECIPE)["data"]
    if before != record["data"]:
        raise FvlmError(
            f"{folder}: the data are not those this run began with (then {before}; now {record['data']}). "
            "Bring them back, or train under another name (-o name=...)."
        )

"""Weights made elsewhere as a run: a folder that every command takes for one."""

from __future__ import annotations

from pathlib import Path

from attrs import asdict

import fvlm_core
from fvlm_core.data.sources import open_sources
from fvlm_core.model.build import compose, make_chat, read_architectures
from fvlm_core.model.lora import adapt
from fvlm_core.planning.compute import count_parameters, short_count
from fvlm_core.recipes.read import Recipe, Run
from fvlm_core.recipes.resolved import plain, resolved
from fvlm_core.runs.belonging import CONFIGS, configs, owner
from fvlm_core.runs.checkpoint import Checkpoint, save_checkpoint
from fvlm_core.runs.environment import describe_environment
from fvlm_core.runs.store import ARCHITECTURES, CHECKPOINTS, ENVIRONMENT, IMPORTED, RECIPE, SUMMARY, TOKENIZER
from fvlm_core.runs.viewing import VIEWING, viewing_from_recipe
from fvlm_core.training.state import Progress
from fvlm_core.utils.atomic_files import empty_folder, sha256, write_json
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import listed
from fvlm_core.weights.matching import load_foreign, read_foreign


def choose_run(recipe: Recipe, run_id: str | None) -> Run:
    """The run of a recipe that describes the model: the one named, or the only one. Raises `UsageError`."""
    named = [run for run in recipe.runs if run_id in (None, run.id)]
    if len(named) == 1:
        return named[0]
    ids = listed(run.id for run in recipe.runs)
    if run_id is None:
        raise UsageError(f"{recipe.file} has {len(recipe.runs)} runs; say which one with --run: {ids}")
    raise UsageError(f'--run: {recipe.file} has no run "{run_id}"; its runs: {ids}')


def import_weights(file: Path, run: Run, to: Path) -> Path:
    """Write the run folder `to` with the weights of `file` in the model that `run` describes, and return it.

    file: see `read_foreign`. The tokenizer is the recipe's; no pretrained weight and, unless the tokenizer is made
    from the data, no data are needed. The record says `imported`, and the points of such a run enter no fit.
    Raises `UsageError` when `to` is not empty, `Problems` when the tensors are not the model's.
    """
    empty_folder(to)
    config = run.config
    foreign = read_foreign(file)
    chat = make_chat(config.model, lambda: open_sources(config.data).texts())
    model = compose(config.model, chat.vocabulary, run.seed, weights=False)
    load_foreign(model, foreign)
    adapt(model, config.training.lora, run.seed)
    tensors = {name: parameter.detach() for name, parameter in model.named_parameters()}
    parameters = count_parameters(model, config.training.frozen)
    size = config.model.size or config.model.llm.config.spec().size or short_count(parameters.total)
    origin = {"file": file.name, "sha256": sha256(file), "layout": foreign.layout, **foreign.about}
    step = int(foreign.about.get("step", 0))

    to.mkdir(parents=True, exist_ok=True)
    chat.save(to / TOKENIZER)
    write_json(to / ENVIRONMENT, describe_environment())
    summary = {
        "run_id": run.id,
        "model_size": size,
        "total_params": parameters.total,
        "lr_schedule": IMPORTED,
        "total_steps": step,
        "complete": True,
        IMPORTED: origin,
    }
    write_json(to / SUMMARY, summary)
    record = {
        "id": run.id,
        "recipe": IMPORTED,
        "order": 0,
        "seed": run.seed,
        "size": size,
        "total_params": parameters.total,
        "trainable_params": parameters.trainable,
        "schedule": IMPORTED,  # the recipe says what the model is, not how these weights were trained
        "in_fits": False,
        "steps": step,
        "flops_per_sample": None,
        "fvlm": fvlm_core.__version__,
        "data": {"train": [], "validation": []},
        "resolved": resolved(config),
        VIEWING: plain(viewing_from_recipe(config.data, model.encoder.spec.image_size, chat)),
        ARCHITECTURES: read_architectures(config.model),
        IMPORTED: origin,
    }
    record[CONFIGS] = configs(record)
    progress = asdict(Progress(step=step))
    save_checkpoint(to / CHECKPOINTS, Checkpoint(tensors, {}, progress), owner(record))
    write_json(to / RECIPE, record)  # last: a folder without it is no run
    return to

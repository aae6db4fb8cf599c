"""A trained model back from its run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from attrs import frozen
from safetensors.torch import load_file

from fvlm_core.interfaces.chat import Chat
from fvlm_core.media.viewing import Viewing
from fvlm_core.model.build import compose, make_chat
from fvlm_core.model.lora import adapt
from fvlm_core.model.mup import parametrise
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.read import from_resolved
from fvlm_core.recipes.schema import RunRecipe, Training
from fvlm_core.runs.checkpoint import (
    MODEL,
    UNIDENTIFIED,
    damage,
    is_identified,
    latest_checkpoint,
    read_callbacks,
)
from fvlm_core.runs.store import ARCHITECTURES, CHECKPOINTS, IMPORTED, RECIPE, TOKENIZER, StoredRun
from fvlm_core.runs.viewing import VIEWING, read_viewing, viewing_from_recipe
from fvlm_core.training.callbacks import CallbackRun, Callbacks
from fvlm_core.training.optimizer import freeze
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import lines, listed
from fvlm_core.utils.pretrained import check_whole, known_architectures
from fvlm_registry.nearest import did_you_mean

Checkpoint = Literal["best", "last"]
"""Which weights of a run: those of the best evaluation, or the newest."""


@frozen(eq=False)
class Restored:
    """A model ready to use (in evaluation mode), its chat format, its recipe, and the step its weights are from.

    record: of its run. remark: what people should know of where the weights come from; or nothing.
    """

    model: VLM
    chat: Chat
    config: RunRecipe
    step: int
    record: dict[str, Any]
    remark: str = ""

    @property
    def viewing(self) -> Viewing:
        """How it is shown things: as its record says; of a run from before records did, as its recipe and data say."""
        written = self.record.get(VIEWING)
        if written is None:
            return viewing_from_recipe(self.config.data, self.model.encoder.spec.image_size, self.chat)
        return read_viewing(written, RECIPE)


def restore(
    run: StoredRun, device: str = "cpu", checkpoint: Checkpoint = "best", weights: str | None = None
) -> Restored:
    """The model of a run with the weights of its best checkpoint, or of the newest: of that one too when there is no
    best yet.

    weights: those that a callback kept beside the run's own in that checkpoint, by the name that `val_loss_NAME` has.
    Raises `UsageError` when the run has no complete checkpoint, or no such weights.
    """
    folder = best_checkpoint(run) if checkpoint == "best" else _newest_checkpoint(run)
    with known_architectures(dict(run.record.get(ARCHITECTURES, {}))):
        config = from_resolved(run.record["resolved"])
        chat = make_chat(config.model, tuple, run.folder / TOKENIZER)
        model = compose(config.model, chat.vocabulary, run.record["seed"], weights=False)
        adapt(model, config.training.lora, run.record["seed"])
        parametrise(model, config.model, config.training.mup)
    _load(model, folder / MODEL)
    if weights is not None:
        _exchange(model, config.training, folder, run, weights)
    step = int(folder.name.removeprefix("step-"))
    remark = "" if is_identified(folder) else f"{folder}: {UNIDENTIFIED}"
    return Restored(model.to(device).eval(), chat, config, step, run.record, remark)


@torch.no_grad()
def _load(model: VLM, file: Path) -> None:
    """Raises `UsageError` for a file that does not hold the weights of this model."""
    check_whole(file)
    tensors = load_file(file)
    own = dict(model.named_parameters())
    wrong = [name for name, one in own.items() if name not in tensors or tensors[name].shape != one.shape]
    if wrong:
        raise UsageError(
            f"{file}: not the weights of this run's model: {listed(wrong)} are not in it, or of another shape. Put the "
            f"file back, or name the run that it is from"
        )
    for name, parameter in own.items():
        parameter.copy_(tensors[name])


@torch.no_grad()
def _exchange(model: VLM, training: Training, folder: Path, run: StoredRun, name: str) -> None:
    """Put the weights into the model that one of the run's callbacks kept in this checkpoint. Raises `UsageError`."""
    freeze(model, training.frozen)
    watched = CallbackRun(run.id, run.folder, run.record.get("steps") or 0, model)
    callbacks = Callbacks.of(training, watched, lambda text: None)
    callbacks.restore(read_callbacks(folder))
    found = dict(callbacks.weights())
    if not found:
        raise UsageError(
            f'weights "{name}": {run.recipe}/{run.id} keeps none beside its own: expected none, or a run whose recipe '
            'has a callback that does, as [[training.callbacks]] name = "ema"'
        )
    if name not in found:
        raise UsageError(
            f'weights "{name}": {run.recipe}/{run.id} has none of that name beside its own'
            f"{did_you_mean(name, list(found))}; expected {listed(list(found))}"
        )
    for key, tensor in found[name].items():
        model.get_parameter(key).copy_(tensor)


def best_checkpoint(run: StoredRun) -> Path:
    """The folder of a run's best checkpoint, or of the newest when there is no best yet.

    Raises `UsageError` when the run has no complete checkpoint, or is imported without weights.
    """
    best = run.summary.get("best_val_step") if run.has_recipe else None
    folder = run.folder / CHECKPOINTS / f"step-{best:08d}" if best is not None else None
    if folder is not None and folder.is_dir():
        if wrong := damage(folder):
            raise UsageError(
                f"{wrong}. It is the run's best checkpoint: put it back, or {_otherwise(run, folder)}"
            )
        return folder
    return _newest_checkpoint(run)


def _newest_checkpoint(run: StoredRun) -> Path:
    if not run.has_recipe:
        raise UsageError(
            f"{run.recipe}/{run.id} is imported: no weights. Only its measurements came, from "
            f"{run.record[IMPORTED]['file']}; `fvlm weights import FILE --recipe RECIPE` makes a run of weights"
        )
    newest, damaged = latest_checkpoint(run.folder / CHECKPOINTS)
    if newest is None:
        raise UsageError(lines([f"{run.folder} has no complete checkpoint yet", *damaged]))
    return newest


def _otherwise(run: StoredRun, damaged: Path) -> str:
    """What else can be done about a damaged checkpoint."""
    newest, _ = latest_checkpoint(run.folder / CHECKPOINTS)
    if newest is None:
        return "train the run again: no other checkpoint is complete"
    return f"remove {damaged}: {newest.name}, the newest one that is complete, is taken then"

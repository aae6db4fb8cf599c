"""A trained model back from its run's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from attrs import frozen
from safetensors.torch import load_file

from fvlm_core.compose import compose, make_chat
from fvlm_core.errors import UsageError
from fvlm_core.interfaces.llm import Chat
from fvlm_core.listed import lines, listed
from fvlm_core.pretrained import check_whole, known_architectures
from fvlm_core.recipes.read import from_resolved
from fvlm_core.recipes.schema import RunRecipe
from fvlm_core.runs.checkpoint import MODEL, damage, latest_checkpoint
from fvlm_core.runs.store import ARCHITECTURES, CHECKPOINTS, IMPORTED, RECIPE, TOKENIZER, Run
from fvlm_core.runs.viewing import VIEWING, read_viewing, viewing_from_recipe
from fvlm_core.viewing import Viewing
from fvlm_core.vlm import VLM

Checkpoint = Literal["best", "last"]
"""Which weights of a run: those of the best evaluation, or the newest."""


@frozen(eq=False)
class Restored:
    """A model ready to use (in evaluation mode), its chat format, its recipe, and the step its weights are from.

    record: of its run.
    """

    model: VLM
    chat: Chat
    config: RunRecipe
    step: int
    record: dict[str, Any]

    @property
    def viewing(self) -> Viewing:
        """How it is shown things: as its record says; of a run from before records did, as its recipe and data say."""
        written = self.record.get(VIEWING)
        if written is None:
            return viewing_from_recipe(self.config.data, self.model.encoder.spec.image_size, self.chat)
        return read_viewing(written, RECIPE)


def nobody(_: str) -> None:
    """For whoever need not be told."""


def restore(
    run: Run, device: str = "cpu", checkpoint: Checkpoint = "best", tell: Callable[[str], None] = nobody
) -> Restored:
    """The model of a run with the weights of its best checkpoint, or of the newest: of that one too when there is no
    best yet.

    tell: called with each checkpoint that was passed over, how it is damaged, and which one is taken instead.
    Raises `UsageError` when the run has no complete checkpoint: it names those that are damaged, and how.
    """
    folder = best_checkpoint(run, tell) if checkpoint == "best" else _newest_checkpoint(run, tell)
    with known_architectures(dict(run.record.get(ARCHITECTURES, {}))):
        config = from_resolved(run.record["resolved"])
        chat = make_chat(config.model, tuple, run.folder / TOKENIZER)
        model = compose(config.model, chat.vocabulary, run.record["seed"], weights=False)
    _load(model, folder / MODEL)
    return Restored(model.to(device).eval(), chat, config, int(folder.name.removeprefix("step-")), run.record)


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


def best_checkpoint(run: Run, tell: Callable[[str], None] = nobody) -> Path:
    """The folder of a run's best checkpoint, or of the newest when there is no best yet. tell: as `restore` has it.

    Raises `UsageError` when the run has no complete checkpoint, or is imported without weights.
    """
    best = run.summary.get("best_val_step") if run.has_recipe else None
    folder = run.folder / CHECKPOINTS / f"step-{best:08d}" if best is not None else None
    if folder is None or not folder.is_dir():
        return _newest_checkpoint(run, tell)
    wrong = damage(folder)
    return folder if wrong is None else _newest_checkpoint(run, tell, wrong)


def _newest_checkpoint(run: Run, tell: Callable[[str], None], *best: str) -> Path:
    """best: how that one is damaged, which was wanted."""
    if not run.has_recipe:
        raise UsageError(
            f"{run.recipe}/{run.id} is imported: no weights. Only its measurements came, from "
            f"{run.record[IMPORTED]['file']}; `fvlm weights import FILE --recipe RECIPE` makes a run of weights"
        )
    newest, damaged = latest_checkpoint(run.folder / CHECKPOINTS)
    wrong = [*dict.fromkeys((*best, *damaged))]
    if newest is None and not wrong:
        raise UsageError(f"{run.folder} has no complete checkpoint yet")
    if newest is None:
        raise UsageError(
            f"{run.folder} has no complete checkpoint: put one of these files back from a copy, or train it again\n"
            + lines(wrong, indent="  ")
        )
    for text in wrong:
        tell(f"damaged checkpoint passed over: {text}; the complete one before it is taken, {newest.name}")
    return newest

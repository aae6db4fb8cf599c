"""What a run continues from: one small class beside the weights and the optimiser's state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from attrs import asdict, define, field
from torch import Tensor, nn

from fvlm_core.data.realised import Realised
from fvlm_core.runs.checkpoint import Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from fvlm_core.training.optimiser import optimiser_tensors, restore_optimiser


@define
class LossWindow:
    """Loss sums since the last training row, in float64 so that saving them half-way loses nothing."""

    fine: float | Tensor = 0.0
    coarse: float | Tensor = 0.0
    tokens: int = 0

    def add(self, fine: Tensor, coarse: Tensor, tokens: int) -> None:
        """Add one step's sums; on the device, without waiting for it."""
        self.fine = self.fine + fine.double()
        self.coarse = self.coarse + coarse.double()
        self.tokens += tokens

    def row(self) -> dict[str, float | None]:
        """The token-weighted means."""
        if not self.tokens:
            return {"train_loss": None, "loss_fine": None, "loss_coarse": None, "loss_ratio": None}
        fine, coarse = float(self.fine) / self.tokens, float(self.coarse) / self.tokens
        return {
            "train_loss": fine,
            "loss_fine": fine,
            "loss_coarse": coarse or None,
            "loss_ratio": coarse / fine if coarse else None,
        }


@define
class Progress:
    """Everything that resumes beside weights and optimiser state.

    step: optimiser steps done, which also says which sample comes next. wall_time: seconds of training over all
    attempts. tokens: supervised tokens. truncated: text tokens cut off. bad: bad samples met, with reasons.
    mixture: what each source gave.
    """

    step: int = 0
    wall_time: float = 0.0
    tokens: int = 0
    frames: int = 0
    truncated: int = 0
    best_val_loss: float | None = None
    best_val_step: int | None = None
    best_val_loss_content: float | None = None
    final_train_loss: float | None = None
    window: LossWindow = field(factory=lambda: LossWindow())
    bad: dict[str, str] = field(factory=dict[str, str])
    mixture: Realised = field(factory=Realised)


def save(
    folder: Path,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    names: Mapping[Tensor, str],
    progress: Progress,
) -> Path:
    """Write a checkpoint of everything under `folder` and return its place."""
    window = progress.window
    progress.window = LossWindow(float(window.fine), float(window.coarse), window.tokens)
    tensors = {name: parameter.detach() for name, parameter in model.named_parameters()}
    return save_checkpoint(folder, Checkpoint(tensors, optimiser_tensors(optimiser, names), asdict(progress)))


def resume(
    folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, names: Mapping[Tensor, str]
) -> tuple[Progress, list[str]]:
    """Put the newest complete checkpoint back; a fresh `Progress` when there is none.

    Also returns what is wrong with newer checkpoints that were passed over.
    """
    latest, damaged = latest_checkpoint(folder)
    if latest is None:
        return Progress(), damaged
    checkpoint = load_checkpoint(latest)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(checkpoint.model[name])
    restore_optimiser(optimiser, checkpoint.optimizer, names)
    state: dict[str, Any] = checkpoint.state
    state["window"] = LossWindow(**state["window"])
    return Progress(**state), damaged

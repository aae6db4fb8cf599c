"""Validation: what the objective says of held-out samples, and where the attention goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from attrs import define, field

from fvlm_core.data.batch import Batch
from fvlm_core.hardware.devices import autocast
from fvlm_core.interfaces.specs import Mode
from fvlm_core.model.gaze import attention_entropy
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.schema import Training
from fvlm_core.runs.per_sample_loss import Scored
from fvlm_core.training.objective import MeasuredBatch, Objective, TokenLoss
from fvlm_core.training.process_group import Ranks

ENTROPY_FRAMES = 256
"""Frames of the validation set that the attention entropy is measured on: whole batches, until there are so many."""


@define
class _Looked:
    """One batch. entropies: sums over its frames, empty where it is not measured."""

    measured: MeasuredBatch
    entropies: dict[str, float] = field(factory=dict[str, float])
    frames: int = 0


@torch.no_grad()
def evaluate(
    model: VLM,
    batches: Sequence[Batch],
    training: Training,
    device: str,
    *,
    objective: Objective | None = None,
    mode: Mode | None = None,
    ranks: Ranks | None = None,
) -> tuple[dict[str, Any], list[Scored]]:
    """The validation row, and every sample's own loss in the set's order.

    The row: the objective's columns (`val_loss` and its parts), and the attention entropy of each pass (nats, mean over
    layers, heads and frames).

    batches: the whole set, on the host; ranks share the work, and the sums are taken in the set's order, so that the
    values depend on neither batch size, padding, nor the number of ranks. objective: None for the loss of the
    supervised tokens. mode: how visual tokens are made; None for the model's own.
    """
    objective, ranks = objective or TokenLoss(model.connector.spec.auxiliary), ranks or Ranks()
    was_training = model.training
    model.eval()
    looked_at = _entropy_batches(batches)
    mine: dict[int, _Looked] = {}
    for index in range(ranks.rank, len(batches), ranks.size):
        batch = batches[index].to(device)
        with autocast(training, device):
            mine[index] = _Looked(objective.measure(model, batch, mode))
            if index < looked_at and len(batch.frames):
                entropies = attention_entropy(model, batch).items()
                mine[index].entropies = {name: nats.sum().item() for name, nats in entropies}
                mine[index].frames = len(batch.frames)
    model.train(was_training)
    found = {index: looked for each in ranks.exchange(mine) for index, looked in each.items()}
    ordered = [found[index] for index in range(len(batches))]
    measured = [looked.measured for looked in ordered]
    row = {**objective.validation(measured), **_entropies(ordered)}
    return row, [sample for each in measured for sample in each.samples]


def _entropy_batches(batches: Sequence[Batch]) -> int:
    frames = 0
    for index, batch in enumerate(batches):
        if frames >= ENTROPY_FRAMES:
            return index
        frames += len(batch.frames)
    return len(batches)


def _entropies(looked: Sequence[_Looked]) -> dict[str, float | None]:
    frames = sum(each.frames for each in looked)
    looks = list(dict.fromkeys(name for each in looked for name in each.entropies))
    entropy = {name: sum(each.entropies.get(name, 0.0) for each in looked) / frames for name in looks}
    return {
        "attention_entropy": entropy[looks[0]] if looks else None,
        **{f"attention_entropy_{name}": entropy[name] for name in looks[1:]},
    }

"""Validation: losses weighted by supervised tokens, for all data and by source, and where the attention goes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from attrs import define, field

from fvlm_core.data.batch import Batch
from fvlm_core.interfaces.specs import Mode
from fvlm_core.recipes.schema import Training
from fvlm_core.runs.scored import Scored
from fvlm_core.training.devices import autocast
from fvlm_core.training.ranks import Ranks
from fvlm_core.vlm import VLM, attention_entropy

ENTROPY_FRAMES = 256
"""Frames of the validation set that the attention entropy is measured on: whole batches, until there are so many."""


@define
class _Sums:
    """One batch. samples: in its order. entropies: sums over its frames, empty where it is not measured."""

    fine: float
    coarse: float
    content: float
    tokens: int
    content_tokens: int
    samples: list[Scored]
    entropies: dict[str, float] = field(factory=dict[str, float])
    frames: int = 0


@torch.no_grad()
def evaluate(
    model: VLM,
    batches: Sequence[Batch],
    training: Training,
    device: str,
    *,
    mode: Mode | None = None,
    ranks: Ranks | None = None,
) -> tuple[dict[str, Any], list[Scored]]:
    """The validation row, and every sample's own loss in the set's order.

    The row: val_loss (nats a supervised token), its fine and coarse parts, the loss on the assistant's own words, the
    loss by source, and the attention entropy of each pass (nats, mean over layers, heads and frames; the coarse one is
    the learned query's).

    batches: the whole set, on the host; ranks share the work, and the sums are taken in the set's order, so that the
    values depend on neither batch size, padding, nor the number of ranks. mode: how visual tokens are made; None for
    the model's own.
    """
    ranks = ranks or Ranks()
    was_training = model.training
    model.eval()
    measured = _entropy_batches(batches)
    mine: dict[int, _Sums] = {}
    for index in range(ranks.rank, len(batches), ranks.size):
        batch = batches[index].to(device)
        with autocast(training, device):
            mine[index] = _sums(model, batch, mode, index < measured)
    model.train(was_training)
    found = {index: sums for each in ranks.exchange(mine) for index, sums in each.items()}
    ordered = [found[index] for index in range(len(batches))]
    return _row(ordered), [sample for sums in ordered for sample in sums.samples]


def _entropy_batches(batches: Sequence[Batch]) -> int:
    frames = 0
    for index, batch in enumerate(batches):
        if frames >= ENTROPY_FRAMES:
            return index
        frames += len(batch.frames)
    return len(batches)


def _sums(model: VLM, batch: Batch, mode: Mode | None, look: bool) -> _Sums:
    losses = model(batch, mode)
    each = zip(batch.sample_ids, losses.per_sample.tolist(), losses.per_sample_tokens.tolist(), strict=True)
    sums = _Sums(
        losses.fine.item(),
        losses.coarse.item() if losses.coarse is not None else 0.0,
        losses.content.item(),
        losses.tokens,
        losses.content_tokens,
        [Scored(*sample) for sample in each],
    )
    if look and len(batch.frames):
        sums.entropies = {name: nats.sum().item() for name, nats in attention_entropy(model, batch).items()}
        sums.frames = len(batch.frames)
    return sums


def _row(sums: list[_Sums]) -> dict[str, Any]:
    fine, coarse, content = (sum(getattr(s, name) for s in sums) for name in ("fine", "coarse", "content"))
    tokens, content_tokens = sum(s.tokens for s in sums), sum(s.content_tokens for s in sums)
    by_source: dict[str, list[Scored]] = {}
    for sample in (sample for s in sums for sample in s.samples):
        by_source.setdefault(sample.id.partition("/")[0], []).append(sample)
    frames = sum(s.frames for s in sums)
    looks = list(dict.fromkeys(name for s in sums for name in s.entropies))
    entropy = {name: sum(s.entropies.get(name, 0.0) for s in sums) / frames for name in looks}
    return {
        "val_loss": fine / tokens,
        "val_loss_fine": fine / tokens,
        "val_loss_coarse": coarse / tokens if coarse else None,
        "val_loss_ratio": coarse / fine if coarse else None,
        "val_loss_content": content / content_tokens if content_tokens else None,
        "val_loss_by_source": {
            source: sum(each.loss for each in own) / max(1, sum(each.tokens for each in own))
            for source, own in sorted(by_source.items())
        },
        "val_tokens": tokens,
        "attention_entropy": entropy.get("coarse"),
        **{f"attention_entropy_{name}": nats for name, nats in entropy.items() if name != "coarse"},
    }

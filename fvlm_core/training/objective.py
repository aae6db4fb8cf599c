"""What a run lowers: of a micro-batch a loss to go backward from, of a step and of a validation set their columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from attrs import frozen
from torch import Tensor

from fvlm_core.data.batch import Batch
from fvlm_core.interfaces.specs import Mode
from fvlm_core.model.vlm import VLM
from fvlm_core.runs.per_sample_loss import Scored


@frozen(eq=False)
class Contribution:
    """What a micro-batch adds to a step. loss: with graph, a sum; it is divided by the `count` of the whole step.

    sums: detached, on the device, in the order of the objective's names. count: what the loss is a mean over, here.
    tokens: supervised tokens.
    """

    loss: Tensor
    sums: tuple[Tensor, ...]
    count: int
    tokens: int


@frozen
class Measured:
    """A validation batch. sums: by name, of whatever the objective needs. samples: in the batch's order."""

    sums: dict[str, float]
    samples: list[Scored]


class Objective(Protocol):
    """names: of a step's sums, the loss first: its mean is what `train_loss` and loss spikes are of."""

    names: tuple[str, ...]

    def contribution(self, model: VLM, batch: Batch) -> Contribution:
        """The loss of a micro-batch."""
        ...

    def columns(self, means: Mapping[str, float]) -> dict[str, float | None]:
        """The columns of a training row from the means of the sums; `means` is empty when nothing was counted."""
        ...

    def measure(self, model: VLM, batch: Batch, mode: Mode | None) -> Measured:
        """A validation batch, without gradients. mode: how visual tokens are made; None for the model's own."""
        ...

    def validation(self, batches: Sequence[Measured]) -> dict[str, Any]:
        """The columns of a validation row, from all batches in the set's order."""
        ...


class TokenLoss:
    """Cross-entropy of the supervised tokens, in nats; a mean over tokens. `fine` is of the tokens that the mode ends
    with, `coarse` of the auxiliary ones."""

    names: tuple[str, ...] = ("fine", "coarse")

    def contribution(self, model: VLM, batch: Batch) -> Contribution:
        """Fine + weight x coarse, summed over tokens."""
        losses = model(batch)
        coarse = losses.coarse if losses.coarse is not None else torch.zeros_like(losses.fine)
        return Contribution(losses.loss, (losses.fine, coarse), losses.tokens, losses.tokens)

    def columns(self, means: Mapping[str, float]) -> dict[str, float | None]:
        """Loss, its parts, and their ratio."""
        fine, coarse = means.get("fine"), means.get("coarse") or None
        return {
            "train_loss": fine,
            "loss_fine": fine,
            "loss_coarse": coarse,
            "loss_ratio": coarse / fine if coarse and fine else None,
        }

    def measure(self, model: VLM, batch: Batch, mode: Mode | None) -> Measured:
        """Sums over tokens, and each sample's own."""
        losses = model(batch, mode)
        each = zip(
            batch.sample_ids, losses.per_sample.tolist(), losses.per_sample_tokens.tolist(), strict=True
        )
        sums = {
            "fine": losses.fine.item(),
            "coarse": losses.coarse.item() if losses.coarse is not None else 0.0,
            "content": losses.content.item(),
            "tokens": losses.tokens,
            "content_tokens": losses.content_tokens,
        }
        return Measured(sums, [Scored(*sample) for sample in each])

    def validation(self, batches: Sequence[Measured]) -> dict[str, Any]:
        """The loss weighted by supervised tokens, its parts, on the assistant's own words, and by source."""
        fine, coarse, content, tokens, content_tokens = (
            sum(batch.sums[name] for batch in batches)
            for name in ("fine", "coarse", "content", "tokens", "content_tokens")
        )
        return {
            "val_loss": fine / tokens,
            "val_loss_fine": fine / tokens,
            "val_loss_coarse": coarse / tokens if coarse else None,
            "val_loss_ratio": coarse / fine if coarse else None,
            "val_loss_content": content / content_tokens if content_tokens else None,
            "val_loss_by_source": by_source(batches),
            "val_tokens": tokens,
        }


def by_source(batches: Sequence[Measured]) -> dict[str, float]:
    """The mean loss of each source, weighted as the samples are."""
    found: dict[str, list[Scored]] = {}
    for sample in (sample for batch in batches for sample in batch.samples):
        found.setdefault(sample.id.partition("/")[0], []).append(sample)
    return {
        source: sum(each.loss for each in own) / max(1, sum(each.tokens for each in own))
        for source, own in sorted(found.items())
    }

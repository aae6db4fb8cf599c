"""What a run lowers: of a micro-batch a loss to go backward from, of a step and of a validation set their columns."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from fvlm_core.data.batch import Batch
from fvlm_core.interfaces.objective import OwnObjective
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
class MeasuredBatch:
    """A validation batch. sums: by name, of whatever the objective needs. samples: in the batch's order."""

    sums: dict[str, float]
    samples: list[Scored]


class Objective(ABC):
    """What a run lowers. It keeps nothing between steps: a run that continues makes it anew.

    The component's target is `build(config, model: VLM) -> Objective`. model: as the run starts where the config's
    `spec()` says `start`, on its device; it is not to be changed. The config class has a method `spec() ->
    ObjectiveSpec`.
    """

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Of a step's sums, the loss first: its mean is what `train_loss` and loss spikes are of."""

    @abstractmethod
    def contribution(self, model: VLM, batch: Batch) -> Contribution:
        """The loss of a micro-batch: a sum, which is divided by the `count` of the whole optimizer step, so that how a
        step is cut into micro-batches and ranks changes nothing.

        Where no token is supervised it is a number all the same, with a graph.
        """

    @abstractmethod
    def columns(self, means: Mapping[str, float]) -> dict[str, float | None]:
        """The columns of a training row from the means of the sums, `train_loss` among them; `means` is empty when
        nothing was counted."""

    @abstractmethod
    def measure(self, model: VLM, batch: Batch, mode: Mode | None) -> MeasuredBatch:
        """A validation batch, without gradients. mode: how visual tokens are made; None for the model's own."""

    @abstractmethod
    def validation(self, batches: Sequence[MeasuredBatch]) -> dict[str, Any]:
        """The columns of a validation row, from all batches in the set's order: `val_loss`, `val_loss_content`,
        `val_loss_by_source` and `val_tokens` among them."""


def build(config: OwnObjective, model: VLM) -> TokenLoss:
    """The core's own, as a component."""
    return TokenLoss(model.connector.spec.auxiliary)


class TokenLoss(Objective):
    """Cross-entropy of the supervised tokens, in nats; a mean over tokens. `fine` is of the tokens that the mode ends
    with, the others of the auxiliary losses that the connector declares (`ConnectorSpec.auxiliary`)."""

    def __init__(self, auxiliary: Sequence[str]) -> None:
        self._auxiliary = tuple(auxiliary)

    @property
    def names(self) -> tuple[str, ...]:
        """The loss of the last tokens, and the auxiliary ones."""
        return ("fine", *self._auxiliary)

    def contribution(self, model: VLM, batch: Batch) -> Contribution:
        """Fine + weight x each auxiliary loss, summed over tokens."""
        losses = model(batch)
        none = torch.zeros_like(losses.fine)
        sums = (losses.fine, *(losses.auxiliary.get(name, none) for name in self._auxiliary))
        return Contribution(losses.loss, sums, losses.tokens, losses.tokens)

    def columns(self, means: Mapping[str, float]) -> dict[str, float | None]:
        """Loss, its parts, and the ratio of the auxiliary ones to the fine one."""
        fine = means.get("fine")
        others = {name: means.get(name) or None for name in self._auxiliary}
        return {
            "train_loss": fine,
            "loss_fine": fine,
            **{f"loss_{name}": loss for name, loss in others.items()},
            "loss_ratio": _ratio(others.values(), fine),
        }

    def measure(self, model: VLM, batch: Batch, mode: Mode | None) -> MeasuredBatch:
        """Sums over tokens, and each sample's own."""
        losses = model(batch, mode)
        each = zip(
            batch.sample_ids, losses.per_sample.tolist(), losses.per_sample_tokens.tolist(), strict=True
        )
        sums = {
            "fine": losses.fine.item(),
            **{name: value.item() for name, value in losses.auxiliary.items()},
            "content": losses.content.item(),
            "tokens": losses.tokens,
            "content_tokens": losses.content_tokens,
        }
        return MeasuredBatch(sums, [Scored(*sample) for sample in each])

    def validation(self, batches: Sequence[MeasuredBatch]) -> dict[str, Any]:
        """The loss weighted by supervised tokens, its parts, on the assistant's own words, and by source."""
        total = lambda name: sum(batch.sums.get(name, 0.0) for batch in batches)
        fine, content, tokens, content_tokens = map(total, ("fine", "content", "tokens", "content_tokens"))
        others = {name: total(name) for name in self._auxiliary}
        return {
            "val_loss": fine / tokens,
            "val_loss_fine": fine / tokens,
            **{f"val_loss_{name}": loss / tokens if loss else None for name, loss in others.items()},
            "val_loss_ratio": _ratio(others.values(), fine),
            "val_loss_content": content / content_tokens if content_tokens else None,
            "val_loss_by_source": by_source(batches),
            "val_tokens": tokens,
        }


def _ratio(others: Iterable[float | None], fine: float | None) -> float | None:
    """All auxiliary losses together as a multiple of the fine one; None where there are none."""
    total = sum(loss or 0.0 for loss in others)
    return total / fine if total and fine else None


def by_source(batches: Sequence[MeasuredBatch]) -> dict[str, float]:
    """The mean loss of each source, weighted as the samples are."""
    found: dict[str, list[Scored]] = {}
    for sample in (sample for batch in batches for sample in batch.samples):
        found.setdefault(sample.id.partition("/")[0], []).append(sample)
    return {
        source: sum(each.loss for each in own) / max(1, sum(each.tokens for each in own))
        for source, own in sorted(found.items())
    }

"""Direct preference optimisation: pairs of answers, of which the better one is to become likelier than the worse.

Rafailov et al. 2023, Direct Preference Optimization (arXiv:2305.18290), equation 7:

    loss = -log sigmoid(beta * [log p(chosen) / r(chosen) - log p(rejected) / r(rejected)])

p is the model that trains, r the reference: the same model as the run started, frozen. beta * log(p / r) of an answer
is its implicit reward; before the first update every reward is 0 and the loss of a pair is log 2 = 0.693.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
import torch.nn.functional as F
from attrs import frozen
from torch import Tensor

from fvlm_core.data.batch import Batch
from fvlm_core.interfaces.objective import Preference
from fvlm_core.interfaces.specs import Mode
from fvlm_core.model.vlm import VLM, Losses
from fvlm_core.runs.per_sample_loss import Scored
from fvlm_core.training.objective import Contribution, MeasuredBatch, Objective, by_source


@frozen(eq=False)
class _Pairs:
    """B pairs. loss, margin: [B], with graph. logs: [B] each, detached: chosen, rejected, and the same of the
    reference. tokens: supervised ones of both answers."""

    loss: Tensor
    margin: Tensor
    logs: tuple[Tensor, Tensor, Tensor, Tensor]
    tokens: int


_NAMES = (
    "loss",
    "accuracy",
    "margin",
    "reward_chosen",
    "reward_rejected",
    "logp_chosen",
    "logp_rejected",
)


def build(config: Preference, model: VLM) -> PreferenceLoss:
    """As a component."""
    return PreferenceLoss(config, model)


class PreferenceLoss(Objective):
    """The objective of preference training; a mean over pairs, however long their answers are.

    start: the model as the run starts, which is copied: once a rank, whole on each, in float32, and never saved.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """The loss, how often and by how much the chosen answer is ahead, rewards, log-probabilities."""
        return _NAMES

    def __init__(self, settings: Preference, start: VLM) -> None:
        self._beta = settings.beta
        self._reference = deepcopy(start).eval().requires_grad_(False)

    def contribution(self, model: VLM, batch: Batch) -> Contribution:
        """The loss of a micro-batch of pairs."""
        pairs = self._pairs(model, batch, None)
        sums = tuple(values.sum() for values in self._values(pairs))
        return Contribution(pairs.loss.sum(), sums, len(batch.counts), pairs.tokens)

    def columns(self, means: Mapping[str, float]) -> dict[str, float | None]:
        """Loss, how often and by how much the chosen answer's reward is the higher one, rewards, log-probabilities."""
        named = {name: means.get(name) for name in self.names}
        return {
            "train_loss": named.pop("loss"),
            "reward_accuracy": named.pop("accuracy"),
            "reward_margin": named.pop("margin"),
            **named,
        }

    def measure(self, model: VLM, batch: Batch, mode: Mode | None) -> MeasuredBatch:
        """The same of a validation batch. A pair counts as one token among its samples, so that it weighs as one."""
        pairs = self._pairs(model, batch, mode)
        sums = {
            name: values.sum().item() for name, values in zip(self.names, self._values(pairs), strict=True)
        }
        samples = [
            Scored(name, loss, 1) for name, loss in zip(batch.sample_ids, pairs.loss.tolist(), strict=True)
        ]
        return MeasuredBatch({**sums, "tokens": pairs.tokens}, samples)

    def validation(self, batches: Sequence[MeasuredBatch]) -> dict[str, Any]:
        """As `columns`, over all held-out pairs."""
        pairs = sum(len(batch.samples) for batch in batches)
        means = {name: sum(batch.sums[name] for batch in batches) / pairs for name in self.names}
        columns = self.columns(means)
        return {
            "val_loss": columns.pop("train_loss"),
            "val_loss_by_source": by_source(batches),
            "val_loss_content": None,
            **{f"val_{name}": value for name, value in columns.items()},
            "val_pairs": pairs,
            "val_tokens": sum(int(batch.sums["tokens"]) for batch in batches),
        }

    def _pairs(self, model: VLM, batch: Batch, mode: Mode | None) -> _Pairs:
        policy = model(batch, mode)
        with torch.no_grad():
            reference = self._reference(batch, mode)
        worse = _rejected(policy)
        chosen, rejected = -policy.per_sample, -worse.per_sample
        chosen_before, rejected_before = -reference.per_sample, -_rejected(reference).per_sample
        margin = self._beta * ((chosen - chosen_before) - (rejected - rejected_before))
        logs = (chosen.detach(), rejected.detach(), chosen_before, rejected_before)
        return _Pairs(-F.logsigmoid(margin), margin, logs, policy.tokens + worse.tokens)

    def _values(self, pairs: _Pairs) -> tuple[Tensor, ...]:
        """[B] each, in the order of `names`, detached."""
        chosen, rejected, chosen_before, rejected_before = pairs.logs
        margin = pairs.margin.detach()
        return (
            pairs.loss.detach(),
            (margin > 0).to(margin.dtype),
            margin,
            self._beta * (chosen - chosen_before),
            self._beta * (rejected - rejected_before),
            chosen,
            rejected,
        )


def _rejected(losses: Losses) -> Losses:
    assert losses.rejected is not None, "the batch holds no pairs"
    return losses.rejected

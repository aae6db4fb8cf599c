"""Distillation: the student's predictions follow the teacher's at every supervised token.

Loss of a token: weight x T^2 x KL(teacher || student) + (1 - weight) x cross-entropy of its label, both softmaxes at
temperature T (Hinton et al. 2015, arXiv:1503.02531, section 2). Logits are made chunk by chunk, as the core makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvlm_core.plugin_api import VLM, Batch, Contribution, TokenLoss, UsageError, open_run, restore
from fvlm_training_objectives.config import Distillation

Reads = Callable[[Batch], tuple[Tensor, Tensor]]
"""Hidden states [P, W] of a batch, and the places [P] in `batch.ids`, flattened, of the tokens that they predict."""


def build(config: Distillation, model: VLM) -> DistillationLoss:
    """With the teacher on the student's device. Raises `UsageError` for one that cannot teach this student."""
    device = next(model.parameters()).device
    reads, head = (_run if config.is_run else _text)(config.folder, model, device)
    return DistillationLoss(config, model.connector.spec.auxiliary, reads, head)


class DistillationLoss(TokenLoss):
    """`train_loss` is what is lowered, `loss_teacher` the divergence in nats a token; validation is of the labels
    alone, so that it compares with runs that had no teacher. Auxiliary losses of the connector stay those of the
    labels."""

    def __init__(
        self, config: Distillation, auxiliary: tuple[str, ...], reads: Reads, head: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__(auxiliary)
        self._settings, self._reads, self._head = config, reads, head

    @property
    def names(self) -> tuple[str, ...]:
        """What is lowered, the divergence, and the connector's auxiliary losses."""
        return ("loss", "teacher", *self._auxiliary)

    def contribution(self, model: VLM, batch: Batch) -> Contribution:
        """A mean over tokens, as without a teacher. A label that the teacher does not predict is scored without it."""
        weight, temperature = self._settings.weight, self._settings.temperature
        with torch.no_grad():
            hidden, places = self._reads(batch)
        rows = torch.full((batch.ids.numel(),), -1, device=hidden.device)
        rows[places] = torch.arange(len(places), device=hidden.device)
        divergences: dict[int, Tensor] = {}

        def each(own: Tensor, labels: Tensor, at: Tensor) -> Tensor:
            logits, row = _precise(model.predict(own)), rows[at]
            taught = (row >= 0).to(logits.dtype)
            with torch.no_grad():
                wanted = (_precise(self._head(hidden[row.clamp(min=0)])) / temperature).log_softmax(-1)
            found = (logits / temperature).log_softmax(-1)
            apart = F.kl_div(found, wanted, reduction="none", log_target=True).sum(-1) * taught
            divergences[labels.data_ptr()] = apart.detach().sum()  # once more in the backward pass, the same
            share = weight * taught
            return share * temperature**2 * apart + (1 - share) * F.cross_entropy(
                logits, labels, reduction="none"
            )

        losses = model(batch, each=each)
        none = torch.zeros_like(losses.fine)
        divergence = sum(divergences.values(), none)
        sums = (losses.fine, divergence, *(losses.auxiliary.get(name, none) for name in self._auxiliary))
        return Contribution(losses.loss, sums, losses.tokens, losses.tokens)

    def columns(self, means: Mapping[str, float]) -> dict[str, float | None]:
        """What is lowered, and the divergence."""
        others = {f"loss_{name}": means.get(name) or None for name in self._auxiliary}
        return {"train_loss": means.get("loss"), "loss_teacher": means.get("teacher"), **others}


def _precise(logits: Tensor) -> Tensor:
    """At least in float32, whatever autocast makes of the head."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


def _run(folder: Path, student: VLM, device: torch.device) -> tuple[Reads, Callable[[Tensor], Tensor]]:
    """A run's best weights; it sees what the student sees."""
    found = restore(open_run(folder), str(device))
    teacher = found.model.requires_grad_(False)
    for what, own, other in (
        ("pictures of", student.encoder.spec.image_size, teacher.encoder.spec.image_size),
        ("a vocabulary of", student.llm.spec.vocabulary, teacher.llm.spec.vocabulary),
        ("other modalities", list(student.modalities), list(teacher.modalities)),
    ):
        if own != other:
            raise UsageError(
                f"teacher = {folder}: it reads {what} {other} and the student {own}; expected the same"
            )
    return teacher.predicting, teacher.predict


def _text(folder: Path, student: VLM, device: torch.device) -> tuple[Reads, Callable[[Tensor], Tensor]]:
    """A language model of transformers, on the text alone."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    model.to(device).eval().requires_grad_(False)
    head: nn.Linear = model.get_output_embeddings()
    if head.out_features != student.llm.spec.vocabulary:
        raise UsageError(
            f"teacher = {folder}: its vocabulary is {head.out_features} and the student's "
            f"{student.llm.spec.vocabulary}; expected the same tokenizer"
        )

    def reads(batch: Batch) -> tuple[Tensor, Tensor]:
        width = batch.ids.shape[1]
        mask = torch.arange(width, device=device) < batch.lengths.to(device)[:, None]
        hidden: Tensor = model.base_model(input_ids=batch.ids, attention_mask=mask.long()).last_hidden_state
        asked = batch.supervised.cpu().clone()
        asked[:, 0] = False  # nothing is read before it
        places = asked.flatten().nonzero()[:, 0].to(device, non_blocking=True)
        return hidden.flatten(0, 1)[places - 1], places

    return reads, head

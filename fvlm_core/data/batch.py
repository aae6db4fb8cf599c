"""What the model sees in one micro-batch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from attrs import Factory, evolve, field, frozen
from torch import Tensor

from fvlm_core.interfaces.specs import ModalitySpec


@frozen(eq=False)
class Items:
    """What B samples give of one modality. data: float32 [I, *item], those of all samples one after the other. counts:
    int64 [B], I = counts.sum()."""

    data: Tensor
    counts: Tensor

    def rows(self, rows: slice) -> Items:
        """Those of some samples."""
        counts = self.counts[rows]
        first = int(self.counts[: rows.start].sum())
        return Items(self.data[first : first + int(counts.sum())], counts)


@frozen(eq=False)
class Batch:
    """B samples. Frames are never padded: those of all samples lie one after the other.

    frames: uint8 RGB [F, 3, H, W], F = counts.sum(). counts: int64 [B], 0 for a sample of text only.
    ids: int64 [B, S], padded right with 0. lengths: int64 [B], real tokens of each row.
    supervised: bool [B, S], whether ids[b, s] is scored as a label. content: bool [B, S], the labels that are the
    assistant's own words (no token of the chat template), for evaluation.
    questions: int64 [B], tokens of each row before its first answer, 0 where that is not known: with `question_first`
    they stand before the visual tokens. signals: by name, the modalities beside frames that encoders of the model read.
    sample_ids: "source/id" of each sample, but for those at the end that only fill the batch. rejected: the same
    samples with their worse answers, in a batch of pairs: counts as here, and no frames or items of its own, for they
    are these.
    """

    frames: Tensor
    counts: Tensor
    ids: Tensor
    lengths: Tensor
    supervised: Tensor
    content: Tensor
    sample_ids: tuple[str, ...] = ()
    rejected: Batch | None = None
    signals: Mapping[str, Items] = field(factory=dict[str, Items])
    questions: Tensor = field(default=Factory(lambda self: torch.zeros_like(self.lengths), takes_self=True))

    def items(self, spec: ModalitySpec) -> Items:
        """Those that an encoder reads; none in a batch that says nothing of its modality."""
        none = torch.zeros((0, *spec.item), device=self.ids.device)
        return self.signals.get(spec.modality) or Items(none, torch.zeros_like(self.counts))

    def to(self, device: str) -> Batch:
        """The same batch with frames, items and ids on another device.

        The small tensors stay on the host: the model plans its index tensors there, so that no step waits for the
        device to say how long something is.
        """
        return evolve(
            self,
            frames=self.frames.to(device, non_blocking=True),
            ids=self.ids.to(device, non_blocking=True),
            rejected=self.rejected.to(device) if self.rejected else None,
            signals={
                name: evolve(items, data=items.data.to(device, non_blocking=True))
                for name, items in self.signals.items()
            },
        )

    def cut(self, pieces: int) -> list[tuple[int, Batch]]:
        """At most `pieces` batches of like numbers of samples, each with the index of its first; padding stays."""
        size = -(-len(self.counts) // pieces)
        ends = torch.cat([torch.zeros(1, dtype=torch.int64), self.counts.cumsum(0)]).tolist()
        worse = [part for _, part in self.rejected.cut(pieces)] if self.rejected else []
        parts: list[tuple[int, Batch]] = []
        for first in range(0, len(self.counts), size):
            rows = slice(first, first + size)
            last = min(first + size, len(self.counts))
            part = evolve(
                self,
                frames=self.frames[ends[first] : ends[last]],
                counts=self.counts[rows],
                ids=self.ids[rows],
                lengths=self.lengths[rows],
                questions=self.questions[rows],
                supervised=self.supervised[rows],
                content=self.content[rows],
                sample_ids=self.sample_ids[rows],
                rejected=worse[len(parts)] if worse else None,
                signals={name: items.rows(rows) for name, items in self.signals.items()},
            )
            parts.append((first, part))
        return parts

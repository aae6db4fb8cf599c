"""Where every token of a batch goes: visual tokens, then text, in rows; and which positions are scored."""

from __future__ import annotations

import torch
from attrs import frozen
from torch import Tensor

from fvlm_core.data.batch import Batch


@frozen(eq=False)
class Layout:
    """The plan of one batch. Positions are flat indices into rows x width; tensors are int64 on the batch's device.

    visual: [F * k] place of each visual token. text: [L] place of each real text token, `source` [L] its index in
    ids.flatten(). The P labels that are scored: `label` [P] their index in ids.flatten(), `predictor` [P] the
    position whose hidden state predicts them, `owner` [P] their sample; `content` bool [P].
    positions, segments: [rows, width] when several samples share a row, else None.
    tokens: P. content_tokens: labels that are content. labels_per_sample: int64 [B], on the host.
    """

    rows: int
    width: int
    visual: Tensor
    text: Tensor
    source: Tensor
    predictor: Tensor
    label: Tensor
    owner: Tensor
    content: Tensor
    positions: Tensor | None
    segments: Tensor | None
    tokens: int
    content_tokens: int
    labels_per_sample: Tensor

    def arrange(self, visual: Tensor, text: Tensor) -> Tensor:
        """Visual tokens [F, k, W] and text embeddings [L, W] in their places: [rows, width, W], zero elsewhere."""
        rows = text.new_zeros(self.rows * self.width, text.shape[-1])
        rows = rows.index_copy(0, self.visual, visual.flatten(0, 1).to(text.dtype)).index_copy(
            0, self.text, text
        )
        return rows.unflatten(0, (self.rows, self.width))


def plan(
    batch: Batch, tokens_per_frame: int, *, pack: bool = False, score_first_token: bool = False
) -> Layout:
    """The layout of a batch: each sample contiguous, its visual tokens then its text.

    Without `pack` a row holds one sample, padded right. With it, samples share rows as long as the longest sample,
    longest first, each in the first row with room; `segments` then keeps them apart.
    score_first_token: whether a supervised first text token is a label, predicted by the last visual token; a
    sample without frames has nothing to predict it from.
    """
    counts, lengths = batch.counts.cpu(), batch.lengths.cpu()
    supervised, content = batch.supervised.cpu(), batch.content.cpu()
    seen = counts * tokens_per_frame
    total = seen + lengths
    width = int(total.max())
    starts = _packed(total.tolist(), width) if pack else torch.arange(len(total)) * width
    rows = int(starts.max()) // width + 1
    visual = torch.arange(int(seen.sum())) + (starts - seen.cumsum(0) + seen).repeat_interleave(seen)
    places = (starts + seen)[:, None] + torch.arange(supervised.shape[1])
    real = torch.arange(supervised.shape[1]) < lengths[:, None]
    scored = supervised & real
    scored[:, 0] &= (seen > 0) & score_first_token
    source = real.flatten().nonzero()[:, 0]
    label = scored.flatten().nonzero()[:, 0]
    is_content = content.flatten()[label]
    positions = segments = None
    if pack:
        within = torch.arange(int(total.sum())) - (total.cumsum(0) - total).repeat_interleave(total)
        at = within + starts.repeat_interleave(total)
        positions = torch.zeros(rows * width, dtype=torch.int64).index_copy(0, at, within).view(rows, width)
        sample = torch.arange(len(total)).repeat_interleave(total)
        segments = torch.full((rows * width,), -1).index_copy(0, at, sample).view(rows, width)
    device = batch.ids.device
    move = lambda tensor: tensor.to(device, non_blocking=True)
    return Layout(
        rows=rows,
        width=width,
        visual=move(visual),
        text=move(places.flatten()[source]),
        source=move(source),
        predictor=move(places.flatten()[label] - 1),
        label=move(label),
        owner=move(label // supervised.shape[1]),
        content=move(is_content),
        positions=None if positions is None else move(positions),
        segments=None if segments is None else move(segments),
        tokens=len(label),
        content_tokens=int(is_content.sum()),
        labels_per_sample=scored.sum(1),
    )


def _packed(lengths: list[int], width: int) -> Tensor:
    """Where each sample starts when several share a row: first fit, longest first."""
    used: list[int] = []
    starts = [0] * len(lengths)
    for sample in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        length = lengths[sample]
        row = next((row for row, filled in enumerate(used) if filled + length <= width), len(used))
        if row == len(used):
            used.append(0)
        starts[sample] = row * width + used[row]
        used[row] += length
    return torch.tensor(starts)

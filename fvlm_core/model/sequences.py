"""Where every token of a batch goes: visual tokens and text, in rows or in one; and which positions are scored."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor

from fvlm_core.data.batch import Batch
from fvlm_core.interfaces.specs import ModalitySpec

PADDING = 256
"""Positions of padding from which a batch is packed into one row."""


@frozen(eq=False)
class Layout:
    """The plan of one batch. Positions are flat indices into rows x width; tensors are int64 on the batch's device.

    visual: [F * k] place of each visual token, F frames as the connector is shown them. signals: of each modality the
    places of its tokens [I * k]. text: [L] place of each real text token, `source` [L] its index in ids.flatten(). The
    P labels that are scored: `label` [P] their index in ids.flatten(), `predictor` [P] the position whose hidden state
    predicts them, `owner` [P] their sample; `content` bool [P]. spans: first position and number of positions of each
    sample. lengths: of the samples when all of them share one row, one after the other, else None. tokens: P.
    content_tokens: labels that are content. labels_per_sample: int64 [B], on the host.
    """

    rows: int
    width: int
    visual: Tensor
    signals: tuple[Tensor, ...]
    text: Tensor
    source: Tensor
    predictor: Tensor
    label: Tensor
    owner: Tensor
    content: Tensor
    spans: tuple[tuple[int, int], ...]
    lengths: tuple[int, ...] | None
    tokens: int
    content_tokens: int
    labels_per_sample: Tensor

    def arrange(self, visual: Tensor, signals: Sequence[Tensor], text: Tensor) -> Tensor:
        """Visual tokens [F, k, W], those of each modality [I, k, W] and text embeddings [L, W] in their places:
        [rows, width, W], zero elsewhere."""
        rows = text.new_zeros(self.rows * self.width, text.shape[-1])
        for places, tokens in zip((self.visual, *self.signals), (visual, *signals), strict=True):
            rows = rows.index_copy(0, places, tokens.flatten(0, 1).to(text.dtype))
        return rows.index_copy(0, self.text, text).unflatten(0, (self.rows, self.width))


def plan(
    batch: Batch,
    tokens_per_frame: int,
    modalities: Sequence[ModalitySpec] = (),
    *,
    pack: bool | None = None,
    score_first_token: bool = False,
    question_first: bool = False,
) -> Layout:
    """The layout of a batch: each sample contiguous, its visual tokens, those of each modality, then its text.

    question_first: whether the text before the first answer (`Batch.questions`) stands before all of that.

    modalities: what else is read, in order.
    pack: False gives every sample a row, padded right to the longest. True puts them all into one row without padding.
    None packs where that saves `PADDING` positions.
    score_first_token: whether a supervised first text token is a label, predicted by the last token before it; a
    sample of text alone has nothing to predict it from.
    """
    counts, lengths = batch.counts.cpu(), batch.lengths.cpu()
    supervised, content = batch.supervised.cpu(), batch.content.cpu()
    shown = [counts * tokens_per_frame]
    shown += [batch.items(spec).counts.cpu() * spec.tokens_per_item for spec in modalities]
    seen = torch.stack(shown).sum(0)
    question = batch.questions.cpu() if question_first else torch.zeros_like(lengths)
    total = seen + lengths
    if pack is None:
        pack = packs(total.tolist())
    rows, width = (1, int(total.sum())) if pack else (len(total), int(total.max()))
    starts = total.cumsum(0) - total if pack else torch.arange(len(total)) * width
    begin = starts + question
    before: list[Tensor] = []
    for tokens in shown:
        shift = (begin - tokens.cumsum(0) + tokens).repeat_interleave(tokens)
        before.append(torch.arange(int(tokens.sum())) + shift)
        begin = begin + tokens
    order = torch.arange(supervised.shape[1])
    places = starts[:, None] + order + seen[:, None] * (order >= question[:, None])
    read = order < lengths[:, None]
    scored = supervised & read
    scored[:, 0] &= (seen > 0) & (question == 0) & score_first_token
    source = read.flatten().nonzero()[:, 0]
    label = scored.flatten().nonzero()[:, 0]
    is_content = content.flatten()[label]
    device = batch.ids.device
    move = lambda tensor: tensor.to(device, non_blocking=True)
    return Layout(
        rows=rows,
        width=width,
        visual=move(before[0]),
        signals=tuple(map(move, before[1:])),
        text=move(places.flatten()[source]),
        source=move(source),
        predictor=move(places.flatten()[label] - 1),
        label=move(label),
        owner=move(label // supervised.shape[1]),
        content=move(is_content),
        spans=tuple(zip(starts.tolist(), total.tolist(), strict=True)),
        lengths=tuple(total.tolist()) if pack else None,
        tokens=len(label),
        content_tokens=int(is_content.sum()),
        labels_per_sample=scored.sum(1),
    )


def packs(lengths: Sequence[int]) -> bool:
    """Whether samples of these lengths share one row unless they are told otherwise."""
    return len(lengths) * max(lengths) - sum(lengths) >= PADDING


def positions(lengths: Sequence[int]) -> int:
    """Positions that the language model reads of samples of these lengths, padding included."""
    return sum(lengths) if packs(lengths) else len(lengths) * max(lengths)

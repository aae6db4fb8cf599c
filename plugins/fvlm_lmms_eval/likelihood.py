"""How likely a model finds answers to a question."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from attrs import frozen
from torch import Tensor

from fvlm_core.plugin_api import VLM, EncodedChat


@frozen
class Likelihood:
    """Of an answer: its log-probability in nats, the sum over its tokens; how many these are; and whether each of them
    is the most likely one. An answer without a token has probability 1."""

    nats: float
    tokens: int
    greedy: bool

    @property
    def loss(self) -> float:
        """Mean loss, in nats a token."""
        return -self.nats / max(1, self.tokens)


@torch.no_grad()
def likelihoods(model: VLM, visual: Tensor, chats: Sequence[EncodedChat]) -> list[Likelihood]:
    """How likely the assistant's own words in each chat are, the end of its turn left out.

    visual: [V, W], the visual tokens of what the chats are about, from `VLM.see`. A model with `question_first` reads
    them after the question, which all chats have in common.
    """
    asked = chats[0].question if model.question_first else 0
    width = max(len(chat.ids) for chat in chats)
    ids = torch.zeros((len(chats), width), dtype=torch.int64)
    wanted = torch.zeros((len(chats), width), dtype=torch.bool)
    for row, chat in enumerate(chats):
        ids[row, : len(chat.ids)] = torch.from_numpy(chat.ids)
        wanted[row, : len(chat.ids)] = torch.from_numpy(chat.content)
    rows, places = wanted.nonzero(as_tuple=True)
    labels = ids[rows, places].to(visual.device)
    before, after = model.llm.embed(ids.to(visual.device)).tensor_split([asked], 1)
    # Padding stands to the right, where nothing sees it.
    read = torch.cat([before, visual.expand(len(chats), *visual.shape), after], 1)
    hidden = model.llm.hidden(read)[rows, len(visual) + places - 1]
    logits = model.predict(hidden)
    said = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    chosen = said.gather(1, labels[:, None])[:, 0].cpu()
    best = (logits.argmax(-1) == labels).cpu()
    return [
        Likelihood(float(chosen[own].sum()), int(own.sum()), bool(best[own].all()))
        for own in (rows == row for row in range(len(chats)))
    ]

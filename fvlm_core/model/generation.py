"""A language model goes on with what it has read: greedily, by sampling, or by a search of beams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from attrs import frozen
from torch import Tensor

from fvlm_core.interfaces.generation import Generation
from fvlm_core.interfaces.llm import LLMBackend

GREEDY = Generation()

Head = Callable[[Tensor], Tensor]


@frozen(eq=False)
class End:
    """Where an answer ends. limit: most tokens. token: the id that ends it. stop: texts that do, in what `decode` makes
    of its tokens."""

    limit: int
    token: int
    stop: tuple[str, ...] = ()
    decode: Callable[[Sequence[int]], str] | None = None

    def stopped(self, said: Sequence[int]) -> bool:
        """Whether a text that ends it has been said."""
        if not self.stop:
            return False
        if self.decode is None:
            raise ValueError("stop texts are found in decoded tokens: expected decode with them")
        text = self.decode(said)
        return any(one in text for one in self.stop)


def continued(
    llm: LLMBackend, head: Head, read: Tensor, end: End, settings: Generation, seed: int
) -> list[int]:
    """The token ids after the embeddings read, [1, S, W], without the one that ends the answer.

    head: logits of hidden states (`VLM.predict`). seed: of sampling, whose generator is its own: torch's global one is
    neither used nor moved.
    """
    if settings.beams > 1 and end.limit > 0:
        return _searched(llm, head, read, end, settings.beams)
    draw = torch.Generator().manual_seed(seed)
    cache = llm.new_cache()
    said: list[int] = []
    while len(said) < end.limit:
        logits = head(llm.hidden(read, cache=cache)[:, -1])
        token = logits.argmax(-1)
        if settings.temperature is not None:
            shares = sampled_from(logits[0], settings.temperature, settings.top_p)
            if (
                shares.isfinite().all()
            ):  # else the weights have diverged: nothing can be drawn, the likeliest is taken
                token = torch.multinomial(shares, 1, generator=draw).to(token.device)
        if int(token) == end.token:
            break
        said.append(int(token))
        if end.stopped(said):
            break
        read = llm.embed(token)[:, None]
    return said


def sampled_from(logits: Tensor, temperature: float, top_p: float | None = None) -> Tensor:
    """Probabilities [vocabulary], float32 on the host, of logits [vocabulary] at a temperature.

    top_p: all but the likeliest tokens get 0, as few of these as together have that probability (Holtzman et al. 2020,
    arXiv:1904.09751, section 3.1). On the host a seed draws the same tokens whatever the device.
    """
    shares = torch.softmax(logits.float().cpu() / temperature, -1)
    if top_p is None:
        return shares
    ordered, places = shares.sort(descending=True, stable=True)
    kept = ordered.cumsum(0) - ordered < top_p  # before which less has been gathered than is wanted
    kept[0] = True
    return torch.zeros_like(shares).index_copy(0, places, ordered * kept)


@frozen
class _Beam:
    """score: the sum of its tokens' log-probabilities, or that over their number once it has ended."""

    score: float
    said: tuple[int, ...]


def _searched(llm: LLMBackend, head: Head, read: Tensor, end: End, beams: int) -> list[int]:
    """The best of a beam search, as transformers' `generate` searches with its defaults (`early_stopping=False`,
    `length_penalty=1`).

    Of the 2 k likeliest continuations of k beams those that have ended leave the search, if they are among the first k;
    the best k others go on. It ends where no running beam, at its length, scores above the worst of k ended ones.
    """
    cache: Any = llm.new_cache()
    hidden = llm.hidden(read, cache=cache)[:, -1]
    running, ended = [_Beam(0.0, ())], list[_Beam]()
    while True:
        likely = torch.log_softmax(head(hidden).float(), -1)  # [beams that run, vocabulary]
        total = likely + torch.tensor([[beam.score] for beam in running], device=likely.device)
        best = total.flatten().topk(min(2 * beams, total.numel()))
        length = len(running[0].said) + 1
        rows: list[int] = []
        following: list[_Beam] = []
        for rank, (score, place) in enumerate(zip(best.values.tolist(), best.indices.tolist(), strict=True)):
            row, token = divmod(place, total.shape[1])
            said = (*running[row].said, token)
            if token == end.token or length == end.limit or end.stopped(said):
                if rank < beams:
                    ended.append(_Beam(score / length, said))
            elif len(following) < beams:
                following.append(_Beam(score, said))
                rows.append(row)
        ended = sorted(ended, key=lambda beam: -beam.score)[:beams]
        full = len(ended) == beams
        if not following or (full and following[0].score / length <= ended[-1].score):
            break
        running = following
        device = hidden.device
        llm.select_rows(cache, torch.tensor(rows, device=device))
        last = torch.tensor([beam.said[-1] for beam in running], device=device)
        hidden = llm.hidden(llm.embed(last)[:, None], cache=cache)[:, -1]
    said = list(ended[0].said)
    return said[:-1] if said[-1] == end.token else said

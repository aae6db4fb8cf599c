"""Causal attention: of rows, of a row that goes on from a cache, and of several samples that share one row."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby

import torch
import torch.nn.functional as F
from attrs import frozen
from torch import Tensor

from fvlm_core.plugin_api import dot_product_attention


def attend_causally(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention [R, heads, S, .] over [R, kv heads, P, .]; the S queries are the last of the P positions."""
    groups = query.shape[1] // key.shape[1]
    length, seen = query.shape[2], key.shape[2]
    if length == 1:
        # One position sees everything: the heads that share a key/value head become its queries, and nothing is
        # repeated or copied however long the cache is.
        grouped = query.unflatten(1, (-1, groups)).squeeze(3)
        return dot_product_attention(grouped, key, value).flatten(1, 2)[:, :, None]
    if seen == length:
        return dot_product_attention(query, key, value, causal=True)
    mask = torch.ones(length, seen, dtype=torch.bool, device=query.device).tril(seen - length)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, enable_gqa=groups > 1)


@frozen(eq=False)
class PackedLengths:
    """Samples that lie one after the other in a single row: no mask of the whole row is ever made.

    lengths: each at least 1. offsets: int64 [samples + 1], where each begins, on the device; None on a CPU, and where a
    GPU is to repeat itself bit for bit: the kernels for lengths that differ do not promise it.
    """

    lengths: tuple[int, ...]
    offsets: Tensor | None

    @classmethod
    def of(cls, lengths: Sequence[int], device: torch.device) -> PackedLengths:
        """Of a row on this device."""
        kept = tuple(lengths)
        if device.type != "cuda" or torch.are_deterministic_algorithms_enabled():
            return cls(kept, None)
        begins = torch.tensor([0, *accumulate(kept)]).pin_memory()
        return cls(kept, begins.to(device, non_blocking=True))

    @property
    def longest(self) -> int:
        """Positions of the longest one."""
        return max(self.lengths)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attention [1, heads, S, .] over [1, kv heads, S, .], causal within each sample.

        With offsets one kernel for lengths that differ; without, one call for each run of samples of the same length.
        """
        if self.offsets is not None:
            return jagged(query, key, value, self.offsets, self.lengths)
        parts: list[Tensor] = []
        begin = 0
        for length, run in groupby(self.lengths):
            count = sum(1 for _ in run)
            end = begin + count * length
            split = lambda states, at=slice(begin, end), shape=(count, length): (
                states[0, :, at].unflatten(1, shape).transpose(0, 1)
            )
            seen = attend_causally(split(query), split(key), split(value))
            parts.append(seen.transpose(0, 1).flatten(1, 2))
            begin = end
        return torch.cat(parts, 1)[None]


def jagged(query: Tensor, key: Tensor, value: Tensor, offsets: Tensor, lengths: Sequence[int]) -> Tensor:
    """As `Lengths.attend`, through torch's nested tensors: flash attention in bf16, memory-efficient in float32.

    They share no key/value heads among queries, so these are repeated. offsets: see `PackedLengths`.
    """
    groups = query.shape[1] // key.shape[1]

    def nested(states: Tensor) -> Tensor:
        flat = states[0].transpose(0, 1).contiguous()
        return torch.nested.nested_tensor_from_jagged(
            flat, offsets, min_seqlen=min(lengths), max_seqlen=max(lengths)
        ).transpose(1, 2)

    key, value = (states.repeat_interleave(groups, 1) for states in (key, value))
    seen = F.scaled_dot_product_attention(nested(query), nested(key), nested(value), is_causal=True)
    return seen.transpose(1, 2).values().transpose(0, 1)[None]

"""Attention, by the faster of two ways: torch's own kernels, or plain products."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from fvlm_core.utils.cpu import has_bf16

_SCORES = 2**19
"""Scores made at once, 1 MiB in bf16, so that they stay in the cache of a core."""
_FEWEST = 2**12
"""Scores of a call from which products win: they are a dozen operators, .3 ms of a step."""
_MOST, _MOST_CAUSAL = 1536**2, 768**2
"""Scores of a head up to which they do. torch's kernel leaves out what a causal mask hides: at 1,032 positions both
take as long."""


def dot_product_attention(query: Tensor, key: Tensor, value: Tensor, *, causal: bool = False) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1), [R, heads, S, W] over [R, kv heads, P, W] to
    [R, heads, S, W], in the dtype of the query or of autocast.

    Heads are a multiple of the kv heads, which neighbouring heads share. causal: query i sees keys up to i; S is P.

    In bf16 on a CPU that has it, torch's kernel reaches a third of the rate of products (forward and backward on one
    core: 16 rows x 6 heads x 257 x 64, 130 ms and 68 here; one query, 24 and 5; 2 x 9 x 136 x 64, causal, 12.6 and
    4.7). So scores are made by products, a few heads at a time, and made again for the backward pass: memory is that
    of torch's kernel. They are rounded to bf16 before the softmax. Anywhere else this is torch's kernel.
    """
    dtype = query.dtype
    if query.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
        dtype = torch.get_autocast_dtype("cpu")
    scores = query.shape[2] * key.shape[2]
    enough = query.shape[0] * query.shape[1] * scores >= _FEWEST
    if enough and scores <= (_MOST_CAUSAL if causal else _MOST) and by_products(query.device, dtype):
        with torch.autocast("cpu", enabled=False):
            return cast(Tensor, _Products.apply(query.to(dtype), key.to(dtype), value.to(dtype), causal))
    shared = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(query, key, value, is_causal=causal, enable_gqa=shared)


def by_products(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this is a CPU with products in this dtype that torch's attention does not keep up with."""
    compiling = torch.compiler.is_compiling()
    return device.type == "cpu" and dtype == torch.bfloat16 and not compiling and has_bf16()


class _Products(torch.autograd.Function):
    """Heads that share keys are one product: queries [R x kv heads, heads / kv heads x S, W]. Keys and values are kept
    as they came, for others keep them too."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, causal: bool) -> Tensor:
        ctx.shape, ctx.causal = query.shape, causal
        rows = len(key) * key.shape[1]
        scaled = (query * query.shape[-1] ** -0.5).reshape(rows, -1, query.shape[-1])
        ctx.save_for_backward(scaled, key, value)
        key, value = key.flatten(0, 1), value.flatten(0, 1)
        seen = value.new_empty(*scaled.shape[:2], value.shape[-1])
        mask = _hidden(query.shape[2], key) if causal else None
        for part in _parts(scaled, key):
            torch.bmm(_shares(scaled[part], key[part], mask), value[part], out=seen[part])
        return seen.view(*query.shape[:3], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scaled, kept_key, kept_value = cast(tuple[Tensor, Tensor, Tensor], ctx.saved_tensors)
        shape = cast(torch.Size, ctx.shape)
        key, value = kept_key.flatten(0, 1), kept_value.flatten(0, 1)
        gradient = gradients[0].reshape(*scaled.shape[:2], -1)
        of_query, of_key, of_value = (torch.empty_like(states) for states in (scaled, key, value))
        mask = _hidden(shape[2], key) if ctx.causal else None
        for part in _parts(scaled, key):
            shares = _shares(scaled[part], key[part], mask)
            torch.bmm(shares.transpose(1, 2), gradient[part], out=of_value[part])
            of_shares = torch.bmm(gradient[part], value[part].transpose(1, 2))
            of_scores = torch.ops.aten._softmax_backward_data(of_shares, shares, -1, shares.dtype)
            torch.bmm(of_scores, key[part], out=of_query[part])
            torch.bmm(of_scores.transpose(1, 2), scaled[part], out=of_key[part])
        of_query *= shape[-1] ** -0.5
        return of_query.view(shape), of_key.view(kept_key.shape), of_value.view(kept_value.shape), None


def _parts(scaled: Tensor, key: Tensor) -> list[slice]:
    """Rows whose scores are made at once."""
    count = max(1, _SCORES // (scaled.shape[1] * key.shape[1]))
    return [slice(begin, begin + count) for begin in range(0, len(scaled), count)]


def _hidden(queries: int, key: Tensor) -> Tensor:
    """What a causal mask adds to scores: -inf above the diagonal."""
    return torch.full((queries, key.shape[1]), -torch.inf, dtype=key.dtype).triu_(1)


def _shares(scaled: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax of the scores of some rows, [rows, heads x S, P]."""
    scores = torch.bmm(scaled, key.transpose(1, 2))
    if mask is not None:
        scores.unflatten(1, (-1, len(mask))).add_(mask)
    return torch.softmax(scores, -1)

"""The loss of a head whose logits are one product: its gradients are made in the forward pass, chunk by chunk.

The gradient of a cross-entropy is known as soon as its logits are: softmax minus one-hot. So a chunk of logits gives
its losses, turns into its gradient where it lies, gives the gradients of hidden states and weight, and is gone: no
logits wait for the backward pass, and none are made twice (Hsu et al. 2024, Liger Kernel, arXiv:2410.10989, section
3.2; Wijmans et al. 2024, Cut Your Losses, arXiv:2411.09009, which also leaves the chunk's logits in the processor).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor

CHUNK_BYTES = 1 << 26
"""Of a chunk's logits, 64 MiB. One core, 1,024 labels of 49,152 x 576: 2.3 s of processor time with 128 to 1,024 labels
in a chunk in float32; in bf16, where each chunk's gradient of the weight is added in float32, 1.6 s with 341 and 1.4
with 1,024."""

_IN_CACHE = 1 << 19
"""Logits that a CPU turns into gradients at once, so that they stay in a core's cache: 2 MiB in float32."""
_AT_ONCE = 1 << 24
"""The same of any other device, 64 MiB: it has many cores to feed, and launches cost."""


def head_losses(hidden: Tensor, weight: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropies of the logits hidden @ weight.T: their sum [], and each [P], at least in float32.

    hidden: [P, W]. weight: [V, W]. labels: int64 [P]. Products are in the dtype of the hidden states, or of autocast;
    gradients of the weight add up in the weight's. The sum is what to go backward from. A gradient of single losses is
    right too, and then all logits are made once more.
    """
    return cast(tuple[Tensor, Tensor], _HeadLosses.apply(hidden, weight, labels, _product_dtype(hidden)))


def _product_dtype(hidden: Tensor) -> torch.dtype:
    device = hidden.device.type
    if device != "meta" and torch.is_autocast_enabled(device) and hidden.dtype != torch.float64:
        return torch.get_autocast_dtype(device)
    return hidden.dtype


class _HeadLosses(torch.autograd.Function):
    """made: gradients of hidden states and weight under a gradient of 1 of the sum, until somebody has taken them."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, labels: Tensor, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(hidden, weight, labels)
        ctx.dtype = dtype
        wanted = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        losses, *ctx.made = _by_chunks(hidden, weight, labels, dtype, wanted)
        return losses.sum(), losses

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *gradients: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        of_sum, of_each = gradients
        if of_sum is None and of_each is None:
            return None, None, None, None
        hidden, weight, labels = cast(tuple[Tensor, Tensor, Tensor], ctx.saved_tensors)
        made, ctx.made = ctx.made, None
        if made is None or of_each is not None:  # a second time, or of single losses
            factor = hidden.new_zeros(len(labels), dtype=torch.promote_types(ctx.dtype, torch.float32))
            for one in gradients:
                factor = factor if one is None else factor + one
            wanted = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
            return (*_by_chunks(hidden, weight, labels, ctx.dtype, wanted, factor)[1:], None, None)
        if of_sum is not None and not (of_sum.device.type == "cpu" and of_sum == 1):
            for gradient in made:
                if gradient is not None:
                    gradient.mul_(of_sum)
        return (*made, None, None)


def _by_chunks(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    dtype: torch.dtype,
    wanted: tuple[bool, bool],
    factor: Tensor | None = None,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Losses [P], and the gradients of hidden states and weight, those that are wanted. dtype: of the products. factor:
    [P] gradients of the losses; None: 1 each."""
    with _in_dtypes_as_said(hidden.device.type):
        states, narrow = hidden.to(dtype), weight.to(dtype)
        losses = hidden.new_empty(len(labels), dtype=torch.promote_types(dtype, torch.float32))
        of_states = torch.empty_like(states) if wanted[0] else None
        of_weight = torch.empty_like(weight) if wanted[1] else None
        size = max(1, CHUNK_BYTES // (len(weight) * dtype.itemsize))
        count = -(-len(labels) // size)
        begin = 0
        for chunk, own in zip(states.chunk(count), labels.chunk(count), strict=True):
            part = slice(begin, begin + len(own))
            logits = chunk @ narrow.T
            losses[part] = _into_gradients(logits, own, None if factor is None else factor[part])
            if of_states is not None:
                torch.mm(logits, narrow, out=of_states[part])
            if of_weight is not None:
                _add_product(of_weight, logits, chunk, first=begin == 0)
            begin += len(own)
        return losses, None if of_states is None else of_states.to(hidden.dtype), of_weight


def _in_dtypes_as_said(device: str) -> AbstractContextManager[object]:
    """Without autocast, which knows no meta device."""
    return nullcontext() if device == "meta" else torch.autocast(device, enabled=False)


def _into_gradients(logits: Tensor, labels: Tensor, factor: Tensor | None) -> Tensor:
    """The losses of a chunk [N]; its logits [N, V] become their gradients, in place."""
    numbers = _IN_CACHE if logits.device.type == "cpu" else _AT_ONCE
    rows = max(1, numbers // logits.shape[1])
    losses: list[Tensor] = []
    for begin in range(0, len(logits), rows):
        part, own = logits[begin : begin + rows], labels[begin : begin + rows, None]
        shares = torch.log_softmax(part, -1, dtype=torch.promote_types(part.dtype, torch.float32))
        losses.append(-shares.gather(1, own)[:, 0])
        shares.exp_().scatter_add_(1, own, shares.new_full((1, 1), -1.0).expand_as(own))
        part.copy_(shares if factor is None else shares.mul_(factor[begin : begin + rows, None]))
    return torch.cat(losses)


def _add_product(total: Tensor, logits: Tensor, states: Tensor, *, first: bool) -> None:
    """Add logits.T @ states to `total`, or put it there first; in the dtype of `total`."""
    if logits.dtype != total.dtype:
        product = logits.T @ states
        _ = total.copy_(product) if first else total.add_(product)
    elif first:
        torch.mm(logits.T, states, out=total)
    else:
        torch.addmm(total, logits.T, states, out=total)

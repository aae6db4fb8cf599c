"""How a model's weights lie on the ranks, and how gradients made apart become one.

Every rank computes with whole weights: components call into each other's blocks, so nothing narrower than the whole
model can be gathered in time. What `fsdp2` shards is what stays between steps: the float32 weights and both moments of
AdamW, 12 bytes a parameter; whole weights and gradients, 8 bytes, are there only during a step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from fvlm_core.training.process_group import Ranks

BUCKET = 1 << 24
"""Numbers that are summed over the ranks in one message: 64 MiB of float32."""

Gradients = dict[str, Tensor]
"""Gradients by parameter name; a parameter that nothing depended on has none."""


class Replicas(Protocol):
    """Where weights are between steps."""

    def gather(self) -> None:
        """Make `model.named_parameters()` the whole weights."""
        ...

    def scatter(self, gradients: Mapping[str, Tensor]) -> None:
        """Back to what stays between steps, with these gradients of whole weights in their place."""
        ...

    def whole(self, tensor: Tensor) -> Tensor:
        """A tensor of the optimizer's state, whole on rank 0; every rank must ask."""
        ...

    def part(self, tensor: Tensor, parameter: nn.Parameter) -> Tensor:
        """The opposite: what of a whole tensor stays on this rank beside a parameter."""
        ...


class Copies:
    """Every rank keeps everything (`ddp`, and a single process)."""

    def __init__(self, model: nn.Module) -> None:
        self._parameters = dict(
            model.named_parameters()
        )  # to look for them is a fiftieth of a small model's step

    def gather(self) -> None:
        """Nothing to do."""

    def scatter(self, gradients: Mapping[str, Tensor]) -> None:
        """Gradients to their parameters."""
        for name, parameter in self._parameters.items():
            parameter.grad = gradients.get(name)

    def whole(self, tensor: Tensor) -> Tensor:
        """As it is."""
        return tensor

    def part(self, tensor: Tensor, parameter: nn.Parameter) -> Tensor:
        """All of it, on the parameter's device and in its memory order."""
        return torch.empty_like(parameter, requires_grad=False).copy_(tensor)


def spread(model: nn.Module, parallel: str, device: str, ranks: Ranks) -> Replicas:
    """Lay a model out on the ranks. parallel: "ddp" or "fsdp2"; one process always has it all."""
    if parallel != "fsdp2" or ranks.size == 1:
        return Copies(model)
    from fvlm_core.training.fully_sharded import FullyShardedWeights  # half a second, for who shards alone

    return FullyShardedWeights(model, device, ranks)


def taken(model: nn.Module, names: Sequence[str]) -> Gradients:
    """Take the gradients of these parameters away from the model; the others' are thrown away."""
    wanted, found = set(names), Gradients()
    # One walk: that over all modules is a fiftieth of a small model's step.
    for name, parameter in model.named_parameters():
        if parameter.grad is not None and name in wanted:
            found[name] = parameter.grad
        parameter.grad = None
    return found


def summed(
    gradients: Gradients, numbers: Sequence[Tensor], model: nn.Module, names: Sequence[str], ranks: Ranks
) -> tuple[Gradients, Tensor]:
    """Gradients and a few numbers of this step, summed over the ranks, the same bits on each of them.

    numbers: scalars on the device. names: every trained parameter, in the same order on every rank. A parameter that
    no rank used keeps no gradient. The numbers come back as float64, followed by the norm of all gradients, on the
    device: a single process does not wait for it.
    """
    present = [1.0 if name in gradients else 0.0 for name in names]
    told = torch.stack([*(n.detach().double() for n in numbers)])
    if ranks.size == 1:
        return gradients, torch.cat([told, _norm(gradients).to(told.device)])
    told = torch.cat([told, torch.tensor(present, dtype=torch.float64, device=told.device)])
    ranks.add(told)
    values: list[float] = told.tolist()
    used = {name for name, count in zip(names, values[len(numbers) :], strict=True) if count}
    parameters: dict[str, Any] = dict(model.named_parameters())
    bucket: list[str] = []
    size = 0
    for name in (name for name in names if name in used):
        if name not in gradients:
            gradients[name] = torch.zeros_like(parameters[name])
        bucket.append(name)
        size += gradients[name].numel()
        if size >= BUCKET:
            _add(gradients, bucket, ranks)
            bucket, size = [], 0
    if bucket:
        _add(gradients, bucket, ranks)
    # In one order everywhere: a norm summed in another order would be another number, and ranks would drift apart.
    ordered = {name: gradients[name] for name in names if name in used}
    return ordered, torch.cat([told[: len(numbers)], _norm(ordered).to(told.device)])


def check_equal(model: nn.Module, ranks: Ranks) -> None:
    """Raise `FvlmError` unless every rank holds the same whole weights, by the sums of their bits."""
    if ranks.size > 1:
        bits = [p.detach().view(torch.int32).sum(dtype=torch.int64) for p in model.parameters()]
        if len({tuple(sums) for sums in ranks.exchange(torch.stack(bits).tolist())}) > 1:
            raise ranks.refusal(
                "the ranks' weights have drifted apart: a component computes different numbers on them"
            )


def _norm(gradients: Gradients) -> Tensor:
    """Of all of them together, float64 [1]."""
    return torch.nn.utils.get_total_norm(list(gradients.values())).double()[None]


def _add(gradients: Gradients, names: list[str], ranks: Ranks) -> None:
    flat = torch.cat([gradients[name].flatten() for name in names])
    ranks.add(flat)
    parts = flat.split([gradients[name].numel() for name in names])
    for name, part in zip(names, parts, strict=True):
        gradients[name].copy_(part.view_as(gradients[name]))

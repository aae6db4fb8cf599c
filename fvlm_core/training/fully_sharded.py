"""Weights of which every rank keeps its rows between steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from fvlm_core.model.lora import unmerged
from fvlm_core.training.process_group import Ranks


class FullyShardedWeights:
    """Every rank keeps its rows of every weight (`fsdp2`), sharded and gathered by torch's `fully_shard`."""

    def __init__(self, model: nn.Module, device: str, ranks: Ranks) -> None:
        mesh = init_device_mesh(device, (ranks.size,))
        self._model: FSDPModule = fully_shard(model, mesh=mesh, reshard_after_forward=False)
        # Gradients are summed by `summed`, for both ways alike: torch's own reduction inside the backward pass would
        # wait for ever for a rank that ran out of memory, or on which a parameter was not used.
        self._model.set_requires_gradient_sync(False)
        self._model.set_reshard_after_backward(False)
        self._ranks = ranks

    def gather(self) -> None:
        """All-gather every weight."""
        with unmerged(self._module):  # the first time, torch looks for every parameter by its name
            self._model.unshard()

    def scatter(self, gradients: Mapping[str, Tensor]) -> None:
        """Drop the other ranks' rows, and those of the gradients."""
        for parameter in self._module.parameters():
            parameter.grad = None
        self._model.reshard()
        for name, parameter in self._module.named_parameters():
            if name in gradients:
                parameter.grad = self.part(gradients[name], parameter)

    def whole(self, tensor: Tensor) -> Tensor:
        """All-gathered, and kept by rank 0 alone, on the host."""
        if not isinstance(tensor, DTensor):
            return tensor
        full = tensor.full_tensor()
        return full.cpu() if self._ranks.first else full.new_empty(0)

    def part(self, tensor: Tensor, parameter: nn.Parameter) -> Tensor:
        """This rank's rows, cut as torch cuts them: in equal chunks, the last ranks going short."""
        kept = cast(DTensor, parameter)
        chunks = tensor.chunk(self._ranks.size)
        mine = chunks[self._ranks.rank] if self._ranks.rank < len(chunks) else tensor[:0]
        return DTensor.from_local(
            mine.to(parameter.device).contiguous(),
            kept.device_mesh,
            kept.placements,
            run_check=False,
            shape=kept.shape,
            stride=kept.stride(),
        )

    @property
    def _module(self) -> nn.Module:
        return cast(nn.Module, self._model)

"""FLOPs of what runs inside a block, modes inside modes and modules left out of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

_READ = {torch.ops.aten.addmm: (1,), torch.ops.aten.bmm: (0, 1), torch.ops.aten.baddbmm: (1, 2)}
"""Which arguments of a matrix product are no weights; the first of any other."""


class Flops(TorchDispatchMode):
    """Counts what `torch.utils.flop_counter.FlopCounterMode` counts, without its walk over modules, which asks for
    gradients of everything that passes and so cannot be nested without them.

    total: so far. read: shapes of what the counted operations have read, weights left out. again: whether forward work
    that a backward pass does again to save memory counts; it alone is done with gradients there.
    """

    def __init__(self, *, again: bool = True) -> None:
        super().__init__()
        self.again = again
        self.total = 0
        self.read: list[torch.Size] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run the operation and count it."""
        out = func(*args, **(kwargs or {}))
        packet = func._overloadpacket
        count = flop_registry.get(packet)
        if count is not None and (self.again or not torch.is_grad_enabled()):
            self.read += [args[place].shape for place in _READ.get(packet, (0,))]
            self.total += int(count(*args, **(kwargs or {}), out_val=out))
        return out

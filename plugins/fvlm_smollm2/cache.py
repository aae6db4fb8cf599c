"""The key/value cache of a causal model that is fed a few positions at a time."""

from __future__ import annotations

import torch
from attrs import define, field
from torch import Tensor

_FIRST_CAPACITY = 32  # positions; doubled when full, so that n positions cost O(n) copies in all


@define(eq=False)
class KeyValueCache:
    """Keys and values of the positions seen so far.

    length: positions seen. Without gradients new positions are written in place into storage that doubles when it is
    full; with gradients (which forbid that) they are appended by copying.
    """

    length: int = 0
    _keys: dict[int, Tensor] = field(factory=dict[int, Tensor])
    _values: dict[int, Tensor] = field(factory=dict[int, Tensor])

    def extend(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Add S positions [R, heads, S, head width] of a layer; returns all of them so far, [R, heads, length + S, .].

        `length` is advanced by the caller when every layer has its positions. R rows or fewer than before.
        """
        return self._extend(self._keys, layer, key), self._extend(self._values, layer, value)

    def select(self, rows: Tensor) -> None:
        """Go on with rows [R] of those there are, in this order; one may be taken several times."""
        for stores in (self._keys, self._values):
            for layer, store in stores.items():
                stores[layer] = store.index_select(0, rows)

    def _extend(self, stores: dict[int, Tensor], layer: int, new: Tensor) -> Tensor:
        rows, end = len(new), self.length + new.shape[2]
        store = stores.get(layer)
        if torch.is_grad_enabled():
            stores[layer] = new if store is None else torch.cat([store[:rows, :, : self.length], new], 2)
            return stores[layer]
        if store is None or end > store.shape[2]:
            capacity = max(_FIRST_CAPACITY, 2 * end)
            grown = new.new_empty(rows, new.shape[1], capacity, new.shape[3])
            if store is not None:
                grown[:, :, : self.length] = store[:rows, :, : self.length]
            store = stores[layer] = grown
        store[:rows, :, self.length : end] = new
        return store[:rows, :, :end]

"""Settings of the optimizers, and what each keeps of a parameter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from math import prod

from attrs import field, frozen
from attrs.validators import and_, deep_iterable, ge, lt

from fvlm_core.plugin_api import OwnOptimizer


@frozen(kw_only=True)
class Muon:
    """momentum: of Muon's own buffer. nesterov: whether the gradient is added to it once more. steps: Newton-Schulz
    iterations that make its direction orthogonal. adamw: names of matrices, as patterns, that AdamW moves all the same:
    an output head is a table of tokens, too. betas: of that AdamW.
    """

    momentum: float = field(default=0.95, validator=and_(ge(0), lt(1)))
    nesterov: bool = True
    steps: int = field(default=5, validator=and_(ge(1), lt(100)))
    adamw: tuple[str, ...] = ("*lm_head*",)
    betas: tuple[float, float] = field(default=(0.9, 0.999), validator=deep_iterable(and_(ge(0), lt(1))))

    def orthogonal(self, name: str, shape: Sequence[int], decays: bool) -> bool:
        """Whether Muon moves a parameter: a hidden layer's matrix."""
        return decays and len(shape) == 2 and not any(fnmatchcase(name, pattern) for pattern in self.adamw)

    def state(self, name: str, shape: Sequence[int], decays: bool) -> Mapping[str, int]:
        """One buffer of a matrix, AdamW's two moments of the rest, float32."""
        if self.orthogonal(name, shape, decays):
            return {"momentum_buffer": 4 * prod(shape)}
        return OwnOptimizer().state(name, shape, decays)


@frozen(kw_only=True)
class SGD:
    """momentum: 0 keeps nothing. nesterov: whether the gradient is added to the momentum once more."""

    momentum: float = field(default=0.9, validator=and_(ge(0), lt(1)))
    nesterov: bool = False

    def __attrs_post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: needs a momentum above 0")

    def state(self, name: str, shape: Sequence[int], decays: bool) -> Mapping[str, int]:
        """The momentum, float32."""
        return {"momentum_buffer": 4 * prod(shape)} if self.momentum else {}

"""Settings of the callbacks."""

from __future__ import annotations

import math
from typing import ClassVar

from attrs import field, frozen
from attrs.validators import and_, ge, gt, lt


@frozen(kw_only=True)
class Patience:
    """patience: evaluations in a row that may be no better. least: nats by which a loss must fall to be better.
    column: of the evaluations' rows, the smaller the better.
    """

    patience: int = field(default=5, validator=ge(1))
    least: float = field(default=0.0, validator=and_(ge(0), lt(math.inf)))
    column: str = "val_loss"


@frozen(kw_only=True)
class Decay:
    """decay: how much of the average a step keeps; near its beginning less, (1 + step) / (10 + step), so that it is no
    average of untrained weights. every: steps between updates.
    """

    copies: ClassVar[tuple[int, int]] = (1, 1)
    decay: float = field(default=0.999, validator=and_(gt(0), lt(1)))
    every: int = field(default=1, validator=ge(1))


@frozen(kw_only=True)
class Last:
    """last: how many evaluations' weights are averaged; each takes the memory of the model on the host."""

    last: int = field(default=5, validator=ge(2))

    @property
    def copies(self) -> tuple[int, int]:
        """In a checkpoint, and on the device, where they are not kept."""
        return self.last, 0

"""The learning rate of a recipe: of the connector by a rule, of the others by a ratio."""

from __future__ import annotations

import math
from typing import Literal

from attrs import field, frozen
from attrs.validators import and_, ge, gt, lt


@frozen(kw_only=True)
class LRRule:
    """A learning rate from the model's size: base x sqrt(at / N), N the total parameters."""

    rule: Literal["inverse-sqrt-params"]
    base: float = field(validator=and_(gt(0), lt(math.inf)))
    at: int = field(validator=ge(1))

    def rate(self, parameters: int) -> float:
        """The learning rate of a model of `parameters` parameters."""
        return self.base * (self.at / parameters) ** 0.5


@frozen(kw_only=True)
class LRRatio:
    """Learning rates of the encoder and the LLM as multiples of the connector's."""

    encoder: float = field(default=0.01, validator=and_(ge(0), lt(math.inf)))
    llm: float = field(default=0.01, validator=and_(ge(0), lt(math.inf)))

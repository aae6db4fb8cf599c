"""Fit models: a scaling law as a pure function, its parameters and what it needs. Imports nothing heavy."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from math import inf, isfinite
from typing import Any, Literal, get_args

from attrs import field, frozen

from fvlm_core.errors import FvlmError

Column = Literal["n", "d", "compute", "lr", "step"]
"""What a law may read of a point. n: parameters of the model. d: training samples seen. compute: training FLOPs.
lr: the connector's learning rate at the point. step: optimiser steps."""

Group = Literal["size", "run"]
"""Labels of a point that a parameter may have one value for."""


@frozen
class Parameter:
    """One parameter of a law.

    guess: a plausible value inside the bounds. min, max: bounds; the optimiser may rest on them, and then says so.
    log: search in its logarithm, for scales such as A and B that vary over decades (min must be at least 0).
    linear: the law is affine in it when the other parameters are fixed; such parameters need no starting values.
    per: one value for each size (or run) of the points instead of one for all of them. A law whose parameters are all
    `per` the same label is fitted separately for each.
    """

    name: str
    guess: float
    min: float = -inf
    max: float = inf
    log: bool = field(default=False, kw_only=True)
    linear: bool = field(default=False, kw_only=True)
    per: Group | None = field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not self.min <= self.guess <= self.max or not isfinite(self.guess):
            raise FvlmError(
                f"parameter {self.name}: guess {self.guess} is not within [{self.min}, {self.max}]"
            )
        if self.log and (self.min < 0 or self.guess == 0):
            raise FvlmError(
                f"parameter {self.name}: log needs min >= 0 and guess > 0, got {self.min}, {self.guess}"
            )


@frozen
class FitModel:
    """A scaling law that `fvlm fit --model NAME` can fit.

    The component's target is `build(config) -> FitModel`; the law is all an author writes:

        def law(n, d, *, E, A, B, alpha, beta):
            \"\"\"L = E + A/N^alpha + B/D^beta\"\"\"
            return E + A / n**alpha + B / d**beta

    law: a pure, elementwise function of numpy arrays returning the predicted loss (nats a token). Its positional
    arguments are the columns it reads (see `Column`), its keyword-only arguments the parameters; arrays broadcast
    against each other, because many parameter sets are evaluated at once. The first line of its docstring is the
    formula that tables and plots show.
    parameters: one `Parameter` for each keyword-only argument of the law, in the order of the tables.
    needs: what data would tell all parameters apart, as a phrase ("points of at least three sizes").
    reduced: the law to fit instead when the points cannot tell this one's parameters apart; those it does not share
    with this law are withheld.
    """

    name: str
    law: Callable[..., Any]
    parameters: tuple[Parameter, ...] = field(converter=tuple)
    needs: str = ""
    reduced: FitModel | None = None

    def __attrs_post_init__(self) -> None:
        arguments = inspect.signature(self.law).parameters.values()
        wanted = [argument.name for argument in arguments if argument.kind is argument.KEYWORD_ONLY]
        declared = [parameter.name for parameter in self.parameters]
        if sorted(wanted) != sorted(declared):
            raise FvlmError(
                f"fit {self.name}: the law takes {', '.join(wanted)}; declared: {', '.join(declared)}"
            )
        unknown = [column for column in self.columns if column not in get_args(Column)]
        if unknown:
            known = ", ".join(get_args(Column))
            raise FvlmError(f"fit {self.name}: the law reads {', '.join(unknown)}; a point has {known}")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the law reads."""
        arguments = inspect.signature(self.law).parameters.values()
        return tuple(argument.name for argument in arguments if argument.kind is not argument.KEYWORD_ONLY)

    @property
    def form(self) -> str:
        """The formula: the first line of the law's docstring."""
        return (inspect.getdoc(self.law) or self.name).splitlines()[0]

    @property
    def split(self) -> Group | None:
        """The label for each value of which the law is fitted separately; None for one fit of all points."""
        first = self.parameters[0].per
        return first if all(parameter.per == first for parameter in self.parameters) else None

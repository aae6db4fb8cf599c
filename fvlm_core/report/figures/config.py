"""Settings of the figures."""

from __future__ import annotations

from typing import Literal

from attrs import frozen


@frozen
class Plain:
    """No settings, and an unknown key is an error."""


@frozen(kw_only=True)
class Loss:
    """against: the column that the loss is drawn against."""

    against: Literal["n", "d", "compute"] = "d"


@frozen(kw_only=True)
class Optima:
    """column: the column whose optimum is drawn."""

    column: Literal["n", "lr"] = "n"

"""A parabola in the logarithm of what was varied, and whether its minimum lies between the values tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

BENT = 1e-12
"""Curvatures below this are none."""


def valley(x: Any, bottom: Any, best: Any, width: Any) -> Any:
    """bottom + width*(ln x - ln best)^2"""
    return bottom + width * np.log(x / best) ** 2


def valley_slopes(x: Any, best: Any, width: Any, names: tuple[str, str, str]) -> dict[str, Any]:
    """Its derivatives by bottom, best and width, under the names a law gives them."""
    away = np.log(x / best)
    bottom, at, bend = names
    return {bottom: np.ones_like(away), at: -2 * width * away / best, bend: away**2}


def bracketed(x: Any, best: float, width: float, what: str) -> list[str]:
    """Reasons why a minimum at `best` must not be believed. x: the values tried. what: their name, in the plural."""
    values = np.unique(x)
    below, above = int((values < best).sum()), int((values > best).sum())
    reasons: list[str] = []
    if len(values) < 3:
        reasons.append(f"{len(values)} {what} were tried: a minimum takes at least three")
    elif width <= BENT:
        reasons.append(f"the loss does not bend upwards over the {what} tried: there is no minimum")
    elif not below or not above:
        side, word = ("below", "smaller") if not below else ("above", "larger")
        reasons.append(
            f"the minimum lies {side} all {what} tried ({values.min():g} to {values.max():g}): "
            f"try {word} ones, so that it is bracketed"
        )
    return reasons


def checks(values: Mapping[str, float], x: Any, names: tuple[str, str], what: str) -> list[str]:
    """`bracketed` for a law's values, under its names of best and width."""
    return bracketed(x, values[names[0]], values[names[1]], what)

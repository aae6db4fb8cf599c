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


def checks(
    values: Mapping[str, float], x: Any, loss: Any, names: tuple[str, str], what: str, column: str
) -> list[str]:
    """Reasons why the minimum of one group must not be believed.

    values: of the law; names: of its best and width in them. x, loss: measured, [n]. what: the values tried, in the
    plural; column: of the table. That a minimum lies beyond all of them is said only where the losses say so, too: the
    parabola through points that follow none may have its own anywhere.
    """
    tried, place = np.unique(x, return_inverse=True)
    level = np.bincount(place, weights=loss) / np.bincount(place)  # of values tried several times, the mean
    if len(tried) < 3:
        return [
            f"{len(tried)} {what} {'was' if len(tried) == 1 else 'were'} tried: a minimum takes at least three"
        ]
    best, width = (values[name] for name in names)
    if width > BENT and tried[0] < best < tried[-1]:
        return []
    ends = f"({tried[0]:g} to {tried[-1]:g})"
    inside = level[1:-1].min() <= min(level[0], level[-1])
    hill = level[1:-1].max() > max(level[0], level[-1])
    if (width <= BENT or hill) and (not inside or level.min() == level.max()):
        return [
            f"the loss does not bend upwards over the {what} tried {ends}: there is no minimum among them"
        ]
    for side, word, end, beyond in (
        ("below", "smaller", 0, best <= tried[0]),
        ("above", "larger", -1, best >= tried[-1]),
    ):
        if not inside and level[end] == level.min() and beyond:
            return [
                f"the minimum lies {side} all {what} tried {ends}: try {word} ones, so that it is bracketed"
            ]
    lowest = int(np.argmin(level))
    near = tried[max(0, lowest - 2) : lowest + 3]
    bent = f"has its minimum outside, at {best:.3g}" if width > BENT else "does not bend upwards"
    where = f'--where "{column} >= {near[0]:g}" --where "{column} <= {near[-1]:g}"'
    return [
        f"the lowest loss was measured at {tried[lowest]:g}, but the parabola through the {what} tried {ends} {bent}: "
        f"the losses do not follow one"
        + (f". Fit those near the lowest ({where})" if len(near) < len(tried) else "")
    ]

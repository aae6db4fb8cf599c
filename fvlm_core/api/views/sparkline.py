"""A line of losses in one row of a terminal."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

BARS = "▁▂▃▄▅▆▇█"
"""Least to greatest."""

CELLS = 32


class Trace:
    """Numbers as they come, kept as at most `2 * CELLS` means, however many there are.

    Each holds as many numbers as any other, but the last; where there are too many, neighbours are joined. Numbers
    that are not finite are left out.
    """

    def __init__(self) -> None:
        self._means: list[float] = []
        self._each = 1
        self._sum = 0.0
        self._count = 0

    def add(self, value: float) -> None:
        """One more."""
        if not math.isfinite(value):
            return
        self._sum += value
        self._count += 1
        if self._count == self._each:
            self._means.append(self._sum / self._count)
            self._sum, self._count = 0.0, 0
        if len(self._means) == 2 * CELLS:
            pairs = zip(self._means[::2], self._means[1::2], strict=True)
            self._means = [(first + second) / 2 for first, second in pairs]
            self._each *= 2

    @property
    def means(self) -> list[float]:
        """In order, the last one of what there is so far."""
        return [*self._means, *([self._sum / self._count] if self._count else [])]


def sparkline(values: Sequence[float], cells: int = CELLS) -> str:
    """A bar a value, from the least to the greatest of those shown; of more than `cells` values, means of neighbours.

    Empty with fewer than two values; all alike are the lowest bar.
    """
    if len(values) < 2:
        return ""
    if len(values) > cells:
        edges = [len(values) * at // cells for at in range(cells + 1)]
        values = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(values), max(values)
    span = high - low
    return "".join(BARS[round((value - low) / span * (len(BARS) - 1)) if span else 0] for value in values)

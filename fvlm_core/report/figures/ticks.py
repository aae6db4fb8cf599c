"""Ticks of logarithmic axes: three to seven of them, however many or few decades there are."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from fvlm_core.scaling.points.points import size_label

FEWEST, MOST = 3, 7

_MANTISSAS: tuple[tuple[float, ...], ...] = ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7))

_AS_SIZE = ("n", "d", "step")


def log_ticks(low: float, high: float, most: int = MOST) -> list[float]:
    """At most so many round numbers between two positive ends."""
    first, last = floor(log10(low)), ceil(log10(high))
    for mantissas in _MANTISSAS:
        found = _within(low, high, [m * 10.0**e for e in range(first, last + 1) for m in mantissas])
        if len(found) >= FEWEST:
            return found[:: -(-len(found) // most)]
    even: Any = MaxNLocator(nbins=min(4, most), steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    return _within(low, high, even.tolist())


def _within(low: float, high: float, ticks: Sequence[float]) -> list[float]:
    return [tick for tick in ticks if low <= tick <= high]


def label(column: str, value: float) -> str:
    """A tick's label: `157.3M` for sizes and data, a power of ten for FLOPs, `3e-4` for rates."""
    if column in _AS_SIZE:
        return power(value) if value >= 1e12 else size_label(value)
    if column == "compute":
        return power(value)
    if column == "lr":
        mantissa, _, exponent = f"{value:.1e}".partition("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    if value != 0 and not 1e-3 <= abs(value) < 1e5:
        return power(value)
    return f"{round(value):d}" if value >= 1000 else f"{value:.4g}"


def power(value: float) -> str:
    """`10^18`, as mathematics."""
    exponent = floor(log10(abs(value)) + 1e-9)
    mantissa = value / 10.0**exponent
    if np.isclose(mantissa, 1):
        return f"$10^{{{exponent}}}$"
    return rf"${mantissa:.3g}{{\times}}10^{{{exponent}}}$"

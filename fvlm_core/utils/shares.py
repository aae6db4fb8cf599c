"""Shares: how sure one is of a probability after so many tries."""

from __future__ import annotations


def share_interval(hits: int, tries: int, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a probability after `hits` of `tries`, which holds it at least as often as `level` says.

    0 tries: (0, 1). Source: Clopper and Pearson (1934), Biometrika 26, 404-413.
    """
    from scipy.special import betaincinv

    if not 0 <= hits <= tries:
        raise ValueError(f"hits: expected 0 to {tries}, got {hits}")
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, tries - hits + 1, tail))
    high = 1.0 if hits == tries else float(betaincinv(hits + 1, tries - hits, 1 - tail))
    return low, high

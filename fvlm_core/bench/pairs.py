"""Two ways of doing one thing, timed in turn: what else the machine does meets both, and their ratio is left."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from attrs import frozen

ROUNDS = 5


@frozen
class Pair:
    """fvlm against the bare work.

    unit: what is counted, seconds. ours, bare: medians. ratio: the median of each round's ratio, ours over bare; low,
    high: the smallest and largest of them. limit: what is promised, at most; None: nothing is.
    """

    name: str
    unit: str
    ours: float
    bare: float
    ratio: float
    low: float
    high: float
    limit: float | None

    @property
    def holds(self) -> bool:
        """Whether the promise was kept."""
        return self.limit is None or self.ratio <= self.limit


def in_pairs(
    name: str,
    unit: str,
    ours: Callable[[], float],
    bare: Callable[[], float],
    limit: float | None,
    rounds: int = ROUNDS,
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> Pair:
    """Time both `rounds` times, A B, B A, A B, ...; each call gives its own seconds."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        progress(name, number, rounds)
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            times[which].append((ours, bare)[which]())
    progress(name, rounds, rounds)
    return paired(name, unit, times[0], times[1], limit)


def paired(name: str, unit: str, ours: Sequence[float], bare: Sequence[float], limit: float | None) -> Pair:
    """A pair from the seconds of each round."""
    ratios = [one / other for one, other in zip(ours, bare, strict=True)]
    middle = statistics.median
    return Pair(name, unit, middle(ours), middle(bare), middle(ratios), min(ratios), max(ratios), limit)


def machine(packages: Sequence[str] = ()) -> dict[str, Any]:
    """What the figures were measured on. packages: distributions whose versions matter."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": sys.version.split()[0],
        **{name: version(name) for name in ("fvlm", *packages)},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")

"""Two ways of doing one thing, timed in turn: what else the machine does meets both, and their ratio is left."""

from __future__ import annotations

import os
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from math import inf
from pathlib import Path
from typing import Any

from attrs import frozen

ROUNDS = 5


@frozen(kw_only=True)
class Pair:
    """fvlm against another way of doing the same.

    unit: what is counted, seconds. ours, bare: medians. ratio: the median of each round's ratio, with the smallest and
    largest, low and high. It is ours over bare, which is promised to be at most `limit`; or, where a speed-up of at
    least `least` is promised, bare over ours. bound: what the ratio would be if time were FLOPs. flops: of ours. peak:
    FLOP/s of a product of large square matrices, in the processes that timed ours.
    """

    name: str
    unit: str
    ours: float
    bare: float
    ratio: float
    low: float
    high: float
    limit: float | None = None
    least: float | None = None
    bound: float | None = None
    flops: float | None = None
    peak: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the promise, if there is one, was kept."""
        return self.ratio <= (self.limit or inf) and self.ratio >= (self.least or 0)


def in_pairs(
    name: str,
    unit: str,
    ours: Callable[[], float],
    bare: Callable[[], float],
    rounds: int = ROUNDS,
    progress: Callable[[str, int, int], None] = lambda *_: None,
    *,
    limit: float | None = None,
    least: float | None = None,
) -> Pair:
    """Time both `rounds` times, A B, B A, A B, ...; each call gives its own seconds. limit, least: see `Pair`."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        progress(name, number, rounds)
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            times[which].append((ours, bare)[which]())
    progress(name, rounds, rounds)
    return paired(name, unit, *times, limit=limit, least=least)


def paired(
    name: str,
    unit: str,
    ours: Sequence[float],
    bare: Sequence[float],
    *,
    limit: float | None = None,
    least: float | None = None,
) -> Pair:
    """A pair from the seconds of each round."""
    first, second = (ours, bare) if least is None else (bare, ours)
    ratios = [one / other for one, other in zip(first, second, strict=True)]
    middle = statistics.median
    return Pair(
        name=name,
        unit=unit,
        ours=middle(ours),
        bare=middle(bare),
        ratio=middle(ratios),
        low=min(ratios),
        high=max(ratios),
        limit=limit,
        least=least,
    )


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
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")

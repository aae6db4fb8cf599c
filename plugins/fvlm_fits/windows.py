"""Which points about a minimum a parabola is fitted to: the widest range whose minimum no narrower one contradicts.

Losses rise more steeply, or less, than a parabola far from their minimum, and a parabola through all of them has its
own elsewhere (Hoffmann et al. 2022, appendix D). The range is chosen as by Lepski (1991), among all ranges of sizes (or
rates) that hold the lowest loss inside; two ranges, one in the other, differ by chance with the variance of the
narrower one's estimate less that of the wider one's (Hausman 1978).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.plugin_api import Window

FEWEST = 4
"""Values in a range at least: three have a parabola of their own, whatever they are."""

CONTRADICTED = 1.5
"""Standard deviations by which a narrower range must differ. On 200 made budgets a scenario (two laws, noise of .2 and
.5 %, 7 to 15 sizes over a factor of 30 to 200) the median error of ln N* was .02 to .06 where the truth is nearly a
parabola (.01 to .02 with all points) and .04 to .08 where it is not (.12 to .24 with all points); with 2, .05 to
.09."""

WIDENING = 2.0
"""How many of the root mean square difference of narrower ranges an interval is widened by: 95 % of intervals held the
truth in 86 to 94 % and 81 to 86 % of those budgets (7 to 57 % with all points where the truth is no parabola)."""

SMOOTH = 4
"""Degree of the polynomial whose residuals are the noise."""

SAME = 0.005
"""Values this close in their logarithm are one: read off a picture, they differ in the last digits."""

VAGUE = 0.1
"""A value whose points weigh less than this part of the others' does not say where the lowest loss is."""

EDGES = 40
"""Values at which ranges may end, at most."""


@frozen
class _Range:
    """A parabola through the values [first, last]: ln of its minimum, and the variance of that in units of the
    noise's."""

    first: int
    last: int
    best: float
    variance: float


def windows(tables: Sequence[pd.DataFrame], column: str) -> list[Window]:
    """The window of each group. column: what was varied. Noise is a part of the loss, the same in all groups. A group
    whose lowest loss is at an end, or that has fewer than `FEWEST` + 1 values, has all its points."""
    groups = [_Group(table, column) for table in tables]
    found = [group.noise() for group in groups]
    freedom = sum(count for _, count in found)
    noise = sum(squares for squares, _ in found) / freedom if freedom else np.nan
    return [group.window(noise) for group in groups]


class _Group:
    """The points of one group, sorted into the values that were tried."""

    def __init__(self, table: pd.DataFrame, column: str) -> None:
        self.x = np.log(table[column].to_numpy(float))
        self.x = self.x - self.x.mean()
        loss = table["loss"].to_numpy(float)
        self.loss = loss / loss.min()
        ordered = np.sort(self.x)
        starts = ordered[np.diff(ordered, prepend=-np.inf) > SAME]
        self.place = np.searchsorted(starts, self.x, side="right") - 1
        self.count = len(starts)
        weight = table["weight"].to_numpy(float) if "weight" in table else np.ones(len(table))
        if "sigma" in table:
            weight = weight / (table["sigma"].to_numpy(float) / np.median(table["sigma"])) ** 2
        self.weight = weight / weight.mean()
        total = np.bincount(self.place, self.weight)
        level = np.bincount(self.place, self.weight * self.loss) / total
        self.lowest = int(np.argmin(np.where(total < VAGUE * np.median(total), np.inf, level)))

    def noise(self) -> tuple[float, int]:
        """The sum of squared residuals of a smooth curve, and its degrees of freedom."""
        degree = min(SMOOTH, self.count - 2)
        freedom = len(self.x) - degree - 1
        if degree < 3 or freedom < 1:
            return 0.0, 0
        root = np.sqrt(self.weight)
        apart = root * (self.loss - np.polyval(np.polyfit(self.x, self.loss, degree, w=root), self.x))
        return float(apart @ apart), freedom

    def window(self, noise: float) -> Window:
        """noise: its variance."""
        everything = Window(np.ones(len(self.x), bool))
        if not np.isfinite(noise) or self.count <= FEWEST or self.lowest in (0, self.count - 1):
            return everything
        tried = self._ranges(self.lowest)
        if not tried:
            return everything
        first, last = (np.array([getattr(one, end) for one in tried]) for end in ("first", "last"))
        best, variance = np.array([one.best for one in tried]), np.array([one.variance for one in tried])
        within = (first[:, None] <= first) & (last <= last[:, None])  # [wider, narrower]
        apart = best - best[:, None]
        by_chance = noise * np.maximum(variance - variance[:, None], 0.0)
        contradicted = within & (np.abs(apart) > CONTRADICTED * np.sqrt(by_chance) + 1e-6)
        stands = np.flatnonzero(~contradicted.any(axis=1))
        chosen = max(stands, key=lambda at: (last[at] - first[at], -variance[at]))
        narrower = within[chosen]
        narrower[chosen] = False
        spread = WIDENING * float(np.sqrt(np.mean(apart[chosen][narrower] ** 2))) if narrower.any() else 0.0
        inside = (self.place >= first[chosen]) & (self.place <= last[chosen])
        return Window(inside, spread)

    def _ranges(self, lowest: int) -> list[_Range]:
        """Those that hold the lowest loss, and the minimum of their own parabola, inside."""
        edges = np.unique(np.linspace(0, self.count - 1, min(self.count, EDGES)).round().astype(int))
        pairs = [
            (int(first), int(last))
            for first in edges[edges < lowest]
            for last in edges[edges > lowest]
            if last - first + 1 >= FEWEST
        ]
        found = (self._parabola(first, last) for first, last in pairs)
        return [one for one in found if one is not None]

    def _parabola(self, first: int, last: int) -> _Range | None:
        inside = (self.place >= first) & (self.place <= last)
        x, root = self.x[inside], np.sqrt(self.weight[inside])
        middle = x.mean()
        design = root[:, None] * np.stack([np.ones_like(x), x - middle, (x - middle) ** 2], axis=1)
        inverse = np.linalg.pinv(design.T @ design)
        _, slope, bend = inverse @ (design.T @ (root * self.loss[inside]))
        if bend <= 0:
            return None
        best = float(middle - slope / (2 * bend))
        if not x.min() < best < x.max():
            return None
        by = np.array([0.0, -1.0, slope / bend]) / (2 * bend)
        return _Range(first, last, best, float(by @ inverse @ by))

"""The annealing sum of the multi-power law, over all steps of all runs at once and for many parameter sets.

The sum has a term for every earlier step at which the rate changed: 3e6 terms for the 437 points of three curves of
24,000 steps. Where the rate is linear between two knots the terms are samples of a smooth function of the step, so
that Gauss-Legendre nodes stand for them: many close to the point, where the terms bend, one far from it. The losses of
the published curves differ from the exact sums' by less than 1e-6 (tested).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.plugin_api import LRCurve
from fvlm_fits.rates import run_rates

NODES = ((0.12, 1), (0.5, 2), (1.5, 3), (8.0, 5), (np.inf, 10))
"""Nodes of a stretch whose summed rate is up to this many times the summed rate between it and the point."""

LONGEST = 128
"""Steps of a stretch at most."""

GRADED = 8
"""Nodes of a stretch that rises from 0 or falls to it, where eta^-gamma has no derivative; dense near 0."""

CELL = 0.05
"""Width of the table's cells in ln(C*eta^-gamma*S)."""

FAR = 60.0
"""C*eta^-gamma*S is held between e^-60 and e^60: the terms have reached their limits."""


@frozen(eq=False)
class Annealing:
    """p nodes, sorted by point. start: [n] the first node of each point. weight: [p] the fall of the rate that a node
    stands for (negative where it rises). log_rate: [p] ln of the rate there. log_sum: [p] ln of the summed rate from
    there to the point.
    """

    start: Any
    weight: Any
    log_rate: Any
    log_sum: Any

    def drop(self, B: Any, C: Any, beta: Any, gamma: Any) -> Any:
        """B*sum (1 - (1 + C*eta^-gamma*S)^-beta) of the falls: [S, n]."""
        out = np.empty((len(np.atleast_2d(C)), len(self.start)))
        for at, reach, power in self._sets(C, beta, gamma):
            lived = _Table(reach, power).read(reach)
            out[at] = np.add.reduceat(self.weight * (1.0 - lived), self.start)
        return B * out

    def slopes(self, B: Any, C: Any, beta: Any, gamma: Any) -> dict[str, Any]:
        """Derivatives of `drop`, each [S, n]."""
        out = np.empty((4, len(np.atleast_2d(C)), len(self.start)))
        for at, reach, power in self._sets(C, beta, gamma):
            table = _Table(reach, power)
            steeper = -self.weight * table.slope(reach)
            rows = (
                self.weight * (1.0 - table.read(reach)),
                steeper,
                self.weight * table.by_power(reach),
                -self.log_rate * steeper,
            )
            out[:, at] = [np.add.reduceat(row, self.start) for row in rows]
        return {"B": out[0], "C": B * out[1] / C, "beta": B * out[2], "gamma": B * out[3]}

    def _sets(self, C: Any, beta: Any, gamma: Any) -> Iterator[tuple[int, Any, Any]]:
        """Each parameter set: its number, ln(C*eta^-gamma*S) at the nodes [p], and beta: a number, or [p]."""
        count = np.diff(self.start, append=len(self.weight))
        with np.errstate(divide="ignore"):
            searched = [np.atleast_2d(one) for one in (np.log(C), beta, gamma)]
        for at, row in enumerate(zip(*searched, strict=True)):
            # Points of one size share their parameters; those of several have their own at each node.
            one = all((value == value[0]).all() for value in row)
            scale, power, bend = (float(value[0]) if one else np.repeat(value, count) for value in row)
            yield at, np.clip(scale - bend * self.log_rate + self.log_sum, -FAR, FAR), power


class _Table:
    """(1 + e^z)^-beta, read off a grid by cubics through values and slopes: exp and log of every node took 5 times as
    long. Off by less than 1e-8. Where beta differs from node to node nothing is tabulated.
    """

    def __init__(self, z: Any, power: Any) -> None:
        self.power = power
        self.varied = np.ndim(power) > 0
        if self.varied:
            return
        self.low = float(z.min())
        cells = int((float(z.max()) - self.low) / CELL) + 2
        grid = self.low + CELL * np.arange(cells + 1)
        self.value, self.steep, self.log, self.log_steep = _exact(grid, power)

    def read(self, z: Any) -> Any:
        """(1 + e^z)^-beta."""
        return _exact(z, self.power)[0] if self.varied else self._cubic(z, self.value, self.steep)

    def slope(self, z: Any) -> Any:
        """Its derivative by z."""
        if self.varied:
            return _exact(z, self.power)[1]
        cell, place = self._where(z)
        fall = (self.value[1:] - self.value[:-1]) / CELL
        first, second = self.steep[:-1], self.steep[1:]
        bend, twist = 2 * (3 * fall - 2 * first - second), 3 * (first + second - 2 * fall)
        return first[cell] + place * (bend[cell] + place * twist[cell])

    def by_power(self, z: Any) -> Any:
        """Minus its derivative by beta."""
        return _exact(z, self.power)[2] if self.varied else self._cubic(z, self.log, self.log_steep)

    def _where(self, z: Any) -> tuple[Any, Any]:
        place = (z - self.low) * (1 / CELL)
        cell = place.astype(np.intp)
        place -= cell
        return cell, place

    def _cubic(self, z: Any, value: Any, steep: Any) -> Any:
        cell, place = self._where(z)
        fall = value[1:] - value[:-1]
        first, second = steep[:-1] * CELL, steep[1:] * CELL
        bend, twist = 3 * fall - 2 * first - second, first + second - 2 * fall
        return value[cell] + place * (first[cell] + place * (bend[cell] + place * twist[cell]))


def _exact(z: Any, power: Any) -> tuple[Any, Any, Any, Any]:
    """(1 + e^z)^-beta, its slope by z; and ln(1 + e^z) times it, with its slope."""
    log_once = np.logaddexp(0.0, z)
    lived = np.exp(-power * log_once)
    share = np.exp(z - log_once)
    return lived, -power * lived * share, lived * log_once, lived * share * (1.0 - power * log_once)


def annealing(table: pd.DataFrame, curves: Mapping[str, LRCurve]) -> Annealing:
    """The nodes of the table's points."""
    found = [_of_run(rows, at, rates, curve) for rows, at, rates, curve in run_rates(table, curves)]
    # A node without weight for every point, so that each has one.
    every = np.arange(len(table))
    nothing = np.zeros(len(table))
    parts = [(every, nothing, nothing, nothing), *(part for run in found for part in run)]
    point, weight, log_rate, log_sum = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(point, kind="stable")
    start = np.searchsorted(point[order], every)
    return Annealing(start, weight[order], log_rate[order], log_sum[order])


def _of_run(rows: Any, at: Any, rates: Any, curve: LRCurve) -> list[tuple[Any, Any, Any, Any]]:
    """Point, weight, ln rate and ln summed rate of the nodes, in groups of an equal number of nodes."""
    summed = np.concatenate([[0.0], np.cumsum(rates)])  # summed[k]: all steps before k
    steps = np.arange(len(summed), dtype=float)
    first, last = _stretches(curve, len(rates))
    # [points, stretches]: the part of a stretch that a point has behind it, in steps, and how it looks from there.
    end = np.minimum(last, at[:, None])
    behind = summed[at + 1][:, None] - np.interp(end + 0.5, steps, summed)
    width = np.interp(end + 0.5, steps, summed) - np.interp(first + 0.5, steps, summed)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = width / behind
    graded = (rates[first] == 0) | (rates[last] == 0)
    nodes = np.array([count for _, count in NODES])[np.searchsorted([most for most, _ in NODES[:-1]], ratio)]
    nodes = np.where(graded, np.maximum(nodes, GRADED), np.where(last - first == 1, 1, nodes))
    nodes = np.where(end > first, nodes, 0)
    slope = (rates[first] - rates[last]) / (last - first)
    smallest = 1e-12 * curve.rates.max()
    parts: list[tuple[Any, Any, Any, Any]] = []
    for count in np.unique(nodes[nodes > 0]):
        point, stretch = np.nonzero(nodes == count)
        place, share = _gauss(int(count), rates[first[stretch]] == 0, rates[last[stretch]] == 0)
        length = (end[point, stretch] - first[stretch])[:, None]
        step = first[stretch][:, None] + 0.5 + length * place
        rate = np.interp(step, steps[:-1], rates)
        behind = summed[at[point] + 1][:, None] - np.interp(step, steps, summed)
        weight = slope[stretch][:, None] * length * share
        parts.append(
            (
                np.repeat(rows[point], count),
                weight.ravel(),
                np.log(np.maximum(rate, smallest)).ravel(),
                np.log(np.maximum(behind, smallest)).ravel(),
            )
        )
    return parts


def _stretches(curve: LRCurve, length: int) -> tuple[Any, Any]:
    """First and last step of each stretch of at most `LONGEST` steps on which the rate changes linearly.

    A warm-up is long and behind most points: its pieces halve in length towards its end.
    """
    steps, rates = curve.knots
    steps = np.rint(steps).astype(int)
    parts = [
        np.linspace(first, last, -(-(last - first) // LONGEST), endpoint=False).astype(int)
        for first, last in pairwise(steps)
    ]
    cuts = np.concatenate([*parts, steps[-1:]])
    levels = np.interp(cuts, steps, rates)
    if curve.warmup:
        halves = curve.warmup - curve.warmup // 2 ** np.arange(8)
        rise = np.unique(np.append(halves, curve.warmup))
        cuts = np.concatenate([rise, cuts])
        levels = np.concatenate([rates[0] * rise / curve.warmup, levels])
    changes = np.flatnonzero((np.diff(levels) != 0) & (np.diff(cuts) > 0) & (cuts[:-1] < length - 1))
    return cuts[changes], np.minimum(cuts[changes + 1], length - 1)


def _gauss(count: int, from_zero: Any, to_zero: Any) -> tuple[Any, Any]:
    """Places [m, count] in [0, 1] and their shares, for m stretches: dense towards an end at which the rate is 0."""
    unit, share = np.polynomial.legendre.leggauss(count)
    unit, share = (unit + 1) / 2, share / 2
    graded, finer = unit**3, 3 * unit**2 * share
    rise, fall = from_zero[:, None], to_zero[:, None]
    place = np.where(rise, graded, np.where(fall, 1 - graded, unit))
    return place, np.where(rise | fall, finer, share)

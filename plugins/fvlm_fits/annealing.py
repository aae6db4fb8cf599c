"""The annealing sum of the multi-power law, over all steps of all runs at once and for many parameter sets.

The sum has a term for every earlier step at which the rate changed: 4e6 terms for the 437 points of three curves of
24,000 steps. Where the rate is linear between two knots the terms are samples of a smooth function of the step, so
that Gauss-Legendre nodes stand for them: many close to the point, where the terms bend, one far from it. The losses of
the published curves differ from the exact sums' by less than 1e-6 (tested).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.interfaces import LRCurve
from fvlm_fits.rates import run_rates

NODES = ((0.12, 1), (0.5, 2), (1.5, 3), (8.0, 5), (np.inf, 10))
"""Nodes of a stretch whose summed rate is up to this many times the summed rate between it and the point."""

LONGEST = 128
"""Steps of a stretch at most."""

GRADED = 8
"""Nodes of a stretch that rises from 0 or falls to it, where eta^-gamma has no derivative; dense near 0."""

BLOCK = 1 << 18
"""Nodes times parameter sets worked on at once: arrays of 2 MB, which stay in the cache."""


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
        for rows, _, lived in self._blocks(C, beta, gamma):
            lived *= -self.weight
            lived += self.weight
            out[rows] = np.add.reduceat(lived, self.start, axis=1)
        return B * out

    def slopes(self, B: Any, C: Any, beta: Any, gamma: Any) -> dict[str, Any]:
        """Derivatives of `drop`, each [S, n]."""
        out = np.empty((4, len(np.atleast_2d(C)), len(self.start)))
        for rows, reach, lived in self._blocks(C, beta, gamma):
            exponent = self._nodes(beta, rows)
            once = 1.0 + reach
            at_node = np.empty((4, *lived.shape))
            at_node[0] = self.weight * (1.0 - lived)
            at_node[2] = self.weight * lived * np.log(once)
            with np.errstate(invalid="ignore"):  # where the reach is infinite nothing depends on C or gamma
                inner = np.where(np.isfinite(reach), self.weight * exponent * lived * (reach / once), 0.0)
            at_node[1] = inner
            at_node[3] = -inner * self.log_rate
            out[:, rows] = np.add.reduceat(at_node, self.start, axis=2)
        return {"B": out[0], "C": B * out[1] / C, "beta": B * out[2], "gamma": B * out[3]}

    def _blocks(self, C: Any, beta: Any, gamma: Any) -> Any:
        """Rows of parameter sets, C*eta^-gamma*S and (1 + that)^-beta at their nodes [block, p]."""
        sets = len(np.atleast_2d(C))
        size = max(1, BLOCK // len(self.weight))
        for first in range(0, sets, size):
            rows = slice(first, first + size)
            reach = np.multiply(-self._nodes(gamma, rows), self.log_rate)
            reach += self.log_sum
            reach += self._nodes(np.log(C), rows)
            np.exp(reach, out=reach)
            lived = np.log(1.0 + reach)
            lived *= -self._nodes(beta, rows)
            np.exp(lived, out=lived)
            yield rows, reach, lived

    def _nodes(self, parameter: Any, rows: slice) -> Any:
        """A parameter [S, 1] or [S, n] at the nodes of some of its sets: [block, 1] or [block, p]."""
        chosen = np.atleast_2d(parameter)[rows]
        if chosen.shape[1] == 1 or (chosen[:, :1] == chosen).all():
            return chosen[:, :1]
        return np.repeat(chosen, np.diff(self.start, append=len(self.weight)), axis=1)


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
        for first, last in zip(steps[:-1], steps[1:], strict=True)
    ]
    cuts = np.concatenate([*parts, steps[-1:]])
    levels = np.interp(cuts, steps, rates)
    if curve.warmup:
        halves = curve.warmup - curve.warmup // 2 ** np.arange(8)
        rise = np.unique([*halves, curve.warmup])
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

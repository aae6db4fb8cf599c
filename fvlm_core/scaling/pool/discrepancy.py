"""What a law leaves of measurements: a smooth departure from it, and noise (Kennedy & O'Hagan 2001, equation 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.scaling.fit.objective import Floats

REACH = 3.0
"""How far a departure from a law reaches, in standard deviations of the pool: farther than the pool is wide, because
what changes within it the law itself must tell. Half of that leaves extrapolation to chance (docs/decisions/0018)."""

CLOSE, DOUBTED = 0.5, 0.3
"""A plan holds this part of the departure for one that reaches half a deviation: what rows near each other miss in
common, and the target beyond them does not share. Without it few dear rows seem to be enough (docs/decisions/0018)."""

SMOOTH = tuple(1 / (1 + 4.0**-power) for power in range(-3, 4))
"""Parts of the scatter that may be a smooth departure: of an eighth of the noise's deviation to eight times it."""

USUAL, DEPARTURE_SPREAD, NOISE_SPREAD = 0.02, 1.0, 3.0
"""A departure from a law and noise before they are known, as parts of the spread of what is measured: ln of either is
normal, each on its own, so that rows of much noise are no reason for a large departure."""

SIZES = tuple(np.geomspace(0.002, 0.5, 60))
"""Scatter that is tried, as a part of the same spread: steps of a tenth, which a hundred rows can tell apart."""

FREEDOM = 4.0
"""Of Student's t, which noise is taken to follow: single failures count little (Lange, Little & Taylor 1989)."""

FLOOR = 1e-6
"""Noise that is always left, as a part of the scatter's variance: covariances stay invertible."""

APART = 1e3
"""Distance of rows with different labels: they share nothing."""


@frozen
class Scatter:
    """size: the standard deviation of a measurement about the law, in the target's unit. smooth: the part of its
    variance that is a smooth departure, shared by rows near each other."""

    size: float
    smooth: float

    @property
    def noise(self) -> float:
        """The variance that a row has of its own."""
        return self.size**2 * (1 - self.smooth + FLOOR)

    def shared(self, alike: Floats) -> Floats:
        """The covariance of departures, from `alike` [n, m]."""
        return self.size**2 * self.smooth * alike

    def covariance(self, alike: Floats, counts: Floats) -> Floats:
        """Of measurements [n, n]. counts: how much each row counts, [n]."""
        return self.shared(alike) + np.diag(self.noise / counts)


def places(table: pd.DataFrame, columns: Sequence[str], labels: Sequence[str], pool: Any) -> Floats:
    """Where rows lie: [n, columns and labels], in standard deviations of the pool's rows (a bool [n]).

    Columns above 0 count by their logarithm. Rows of different labels lie too far apart to share anything.
    """
    out = np.zeros((len(table), len(columns) + len(labels)))
    for at, column in enumerate(columns):
        values = table[column].to_numpy(float)
        values = np.log(values) if (values > 0).all() else values
        spread = values[pool].std() or values.std() or 1.0
        out[:, at] = (values - values.mean()) / spread
    for at, label in enumerate(labels, start=len(columns)):
        out[:, at] = APART * pd.factorize(table[label])[0]
    return out


def alike(here: Floats, there: Floats) -> Floats:
    """How much departures at places [n, k] and [m, k] have in common: 1 at the same place, [n, m]."""
    square = ((here[:, None] - there[None]) ** 2).sum(-1)
    return np.exp(-0.5 * square / REACH**2)


def closely(alike: Floats) -> Floats:
    """The same of what reaches half a deviation only."""
    return alike ** (REACH / CLOSE) ** 2


def doubted(alike: Floats) -> Floats:
    """What departures have in common as a plan counts it, of which a part reaches less far: of the shape of `alike`."""
    return (1 - DOUBTED) * alike + DOUBTED * closely(alike)


def weighed(
    apart: Floats, slopes: Floats, near: Floats, counts: Floats, spread: float
) -> tuple[list[Scatter], Floats]:
    """Scatters that may be, and ln of what the rows make of each: the marginal likelihood and the prior.

    apart: measured less the law, with the prior's mean in place of the parameters, [n]. slopes: of the law by its
    parameters in units of their prior's deviation, [P, n]. near: `alike` [n, n]. spread: of what is measured. The law's
    part of the covariance is slopes' slopes, so that its parameters are integrated out (Laplace).
    """
    n, sizes = len(apart), spread * np.array(SIZES)
    scatters: list[Scatter] = []
    costs: list[Floats] = []
    for smooth in SMOOTH:
        root = np.linalg.cholesky(Scatter(1.0, smooth).covariance(near, counts))
        white = np.linalg.solve(root, np.column_stack([apart, slopes.T]))
        left, law = white[:, 0], white[:, 1:]
        inner = np.eye(law.shape[1]) + (law.T @ law) / sizes[:, None, None] ** 2
        pull = (law.T @ left) / sizes[:, None] ** 2
        told = np.einsum("vp,vp->v", pull, np.linalg.solve(inner, pull[:, :, None])[:, :, 0])
        size = 2 * np.log(np.diag(root)).sum() + 2 * n * np.log(sizes) + np.linalg.slogdet(inner)[1]
        cost = 0.5 * (left @ left / sizes**2 - told + size)
        usual = np.log(sizes / (USUAL * spread))
        cost = cost + 0.5 * ((usual + 0.5 * np.log(smooth)) / DEPARTURE_SPREAD) ** 2
        cost = cost + 0.5 * ((usual + 0.5 * np.log(1 - smooth)) / NOISE_SPREAD) ** 2
        scatters += [Scatter(float(one), smooth) for one in sizes]
        costs.append(cost)
    return scatters, -np.concatenate(costs)


def drawn(scatters: list[Scatter], evidence: Floats, pairs: int) -> list[Scatter]:
    """The likeliest scatter, then so many pairs of equal ones, each as often as its evidence says."""
    order = np.argsort(-evidence, kind="stable")
    shares = np.cumsum(np.exp(evidence[order] - evidence.max()))
    picks = np.searchsorted(shares / shares[-1], (np.arange(pairs) + 0.5) / pairs)
    return [scatters[order[pick]] for pick in (0, *np.repeat(picks, 2))]


def counted(apart: Floats, scatter: Scatter, near: Floats, counts: Floats) -> Floats:
    """How much rows count whose noise is as large as it is: [n]. apart: measured less the law."""
    own = scatter.noise / counts
    noise = own * np.linalg.solve(scatter.covariance(near, counts), apart)
    return (FREEDOM + 1) / (FREEDOM + noise**2 / max(scatter.noise, 0.03 * scatter.size**2))


def expected(close: Floats, counts: Floats) -> Floats:
    """How much larger than usual the noise of rows is expected to be, whose neighbours share its size: [m].

    close: how near each measured row is, 1 at the same place, [m, n]. counts: how much measured rows count, [n]. The
    mean of a variance that is scaled inverse chi-square with as many degrees as Student's t, after the squares of
    these rows' noise; 1 without any.
    """
    squares = (FREEDOM + 1) / counts - FREEDOM
    usual = FREEDOM - 2
    return (1 + close @ squares / FREEDOM) / (1 + close.sum(1) / usual)

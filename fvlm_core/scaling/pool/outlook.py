"""What rows for sale would take from the variance over a target, of a law and its departure together.

V-optimal design (Fedorov 1972, section 2.2): the law is linearised at each draw, so that what a row takes is closed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from attrs import define, field

from fvlm_core.scaling.fit.objective import Floats
from fvlm_core.scaling.pool.discrepancy import alike, closely, doubted, expected
from fvlm_core.scaling.pool.study import Study

DIRECTIONS = 16
"""Of the target's covariance that are followed: more hold less than a thousandth of it."""

STEEP = 1e6
"""Slopes of a law are cut there, in units of its scatter: what changes so fast is unknown, however unknown."""


@define(eq=False)
class Outlook:
    """Covariances of rows for sale with each other and with the target, given what is measured, at each draw.

    slopes: [S, P, m] in deviations of the prior. near: [m, m], what departures have in common (`doubted`). told:
    [S, n, m], what measured and bought rows tell of them (columns of a Cholesky factor). variance: [S, m]. cross:
    [S, m, R] with the target's main directions. total: [S], the variance over the target, summed. at_first: the same
    before any row was bought. departure, noise: variances of the law's departure, [S], and of a row's own, [S, m].
    """

    slopes: Floats
    near: Floats
    departure: Floats
    noise: Floats
    told: Floats
    variance: Floats
    cross: Floats
    total: Floats
    at_first: Floats = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.at_first = self.total.copy()

    def taken(self) -> Floats:
        """What each row would take from the variance over the target: [S, m]."""
        return (self.cross**2).sum(2) / (self.variance + self.noise)

    def buy(self, at: int) -> None:
        """Count a row as measured."""
        column = np.einsum("spm,sp->sm", self.slopes, self.slopes[:, :, at])
        column = column + self.departure[:, None] * self.near[:, at]
        column -= np.einsum("snm,sn->sm", self.told, self.told[:, :, at])
        size = np.sqrt(self.variance[:, at] + self.noise[:, at])[:, None]
        column /= size
        away = self.cross[:, at] / size
        self.cross -= column[:, :, None] * away[:, None]
        self.total = np.maximum(self.total - (away**2).sum(1), 1e-12 * self.at_first)
        self.variance = np.maximum(self.variance - column**2, 0.0)
        self.told = np.concatenate([self.told, column[:, None]], axis=1)


def outlook(study: Study, at: int, for_sale: Any, wanted: Any) -> Outlook:
    """Of one of a law's parts. for_sale, wanted: places among its rows."""
    part, belief, here = study.parts[at], study.beliefs[at], study.bought[at]
    order = np.concatenate([here, for_sale, wanted]).astype(int)
    n, m = len(here), len(for_sale)
    far = alike(part.place[order], part.place[order])
    near = doubted(far)
    sound = np.resize(np.flatnonzero(belief.shares > 0), len(belief.theta))  # as many draws in every part
    slopes = part.at(order).jacobian(belief.theta[sound]) * part.prior.sd[:, None]
    scatters = [belief.scatters[one] for one in sound]
    size = np.array([one.size for one in scatters])
    departure = size**2 * np.array([one.smooth for one in scatters])
    noise = np.array([one.noise for one in scatters])
    steep = STEEP * size[:, None, None]
    slopes = np.clip(slopes, -steep, steep)
    shared = departure[:, None, None]
    known, others = slopes[:, :, :n], slopes[:, :, n:]
    inner = known.transpose(0, 2, 1) @ known + shared * near[:n, :n]
    inner += noise[:, None, None] * np.diag(1 / belief.counts)
    across = known.transpose(0, 2, 1) @ others + shared * near[:n, n:]
    told = np.zeros((len(slopes), 0, len(order)))
    if n:
        told = np.asarray(np.linalg.solve(np.linalg.cholesky(inner), across), float)
    variance = np.maximum((others**2).sum(1) + departure[:, None] - (told**2).sum(1), 0.0)

    def between(left: slice, right: slice) -> Floats:
        found = others[:, :, left].transpose(0, 2, 1) @ others[:, :, right]
        found += shared * near[n:, n:][left, right]
        return found - told[:, :, left].transpose(0, 2, 1) @ told[:, :, right]

    sale, target = slice(0, m), slice(m, None)
    cross = between(sale, target)
    if cross.shape[2] > DIRECTIONS:
        among = between(target, target)
        among /= np.maximum(np.einsum("stt->s", among), 1e-300)[:, None, None]
        cross = cross @ np.linalg.eigh(among.mean(0))[1][:, -DIRECTIONS:]
    total = np.maximum(variance[:, target].sum(1), 1e-300)
    return Outlook(
        others[:, :, sale],
        near[n : n + m, n : n + m],
        departure,
        noise[:, None] * expected(closely(far[n : n + m, :n]), belief.counts),
        told[:, :, sale],
        variance[:, sale],
        cross,
        total,
    )

"""How sure a difference of validation losses is: over the samples, across the seeds, and both together.

A run's loss is a ratio, the sum of its samples' losses over the sum of their tokens. What sample i adds to its error is
e_i = (l_i - L t_i) / T, and everything here is made of these: they add up, so that any contrast of runs (a
difference, an interaction) has the e_i of the same contrast of theirs. With the same samples in all runs, what a sample
has of its own cancels in them: that is the pairing.

Sources: Cochran (1977), Sampling Techniques, 3rd ed., 6.3 and 6.11 (ratio estimators, stratified); Cameron, Gelbach and
Miller (2011), J. Bus. Econ. Stat. 29, 238 (two crossed clusterings); Satterthwaite (1946), Biometrics Bull. 2, 110;
Welch (1947), Biometrika 34, 28; Holm (1979), Scand. J. Stat. 6, 65.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from attrs import frozen
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEVEL = 0.95
"""Of every interval."""


@frozen
class StudentInterval:
    """An estimate with Student's interval. error: standard error. freedom: its degrees of freedom."""

    value: float
    error: float
    freedom: float

    @property
    def half(self) -> float:
        """Half the width at `LEVEL`."""
        return float(stdtrit(self.freedom, 0.5 + LEVEL / 2)) * self.error

    @property
    def low(self) -> float:
        """The lower end."""
        return self.value - self.half

    @property
    def high(self) -> float:
        """The upper end."""
        return self.value + self.half

    @property
    def p(self) -> float:
        """Chance of an estimate at least so far from zero if the truth is zero."""
        if self.error == 0:
            return 1.0 if self.value == 0 else 0.0
        return 2 * float(stdtr(self.freedom, -abs(self.value) / self.error))


@frozen(eq=False)
class Repeats:
    """Repeats of one variant, or of a contrast that was formed seed by seed.

    weight: in the contrast. losses: of each seed, [K]. parts: e_i of each seed, [K, n]; None when not known.
    """

    weight: float
    losses: Floats
    parts: Floats | None


def influence(losses: Floats, tokens: Floats) -> Floats:
    """What each sample adds to the error of a run's loss, [n] of [n] and [n]; the sum is zero."""
    total = tokens.sum()
    return (losses - losses.sum() / total * tokens) / total


def paired(groups: Sequence[Repeats]) -> Repeats:
    """The contrast seed by seed: seed k of every group belongs together."""
    known = [group.parts for group in groups if group.parts is not None]
    parts = (
        sum((g.weight * p for g, p in zip(groups, known, strict=True)), np.zeros(1))
        if len(known) == len(groups)
        else None
    )
    return Repeats(1.0, sum((g.weight * g.losses for g in groups), np.zeros(1)), parts)


def over_samples(groups: Sequence[Repeats], sources: Ints) -> StudentInterval | None:
    """The contrast of these very weights: what other samples, in the same shares of the sources, would have given.

    sources: which source each sample is of, [n]. None when the samples' own losses are not known, or are one.
    """
    variance = _of_samples(groups, sources)
    if variance is None:
        return None
    return StudentInterval(_value(groups), math.sqrt(variance), len(sources) - len(np.unique(sources)))


def over_both(groups: Sequence[Repeats], sources: Ints) -> StudentInterval | None:
    """The contrast of the variants: what other seeds and other samples would have given. None with one seed in a group,
    and where the seeds of one gave the same loss.

    The variance of the mean over seeds and samples, which are crossed (every seed is measured on the same samples): of
    the seeds, plus of the samples, less what is in both. Where few seeds happen to lie close together, Satterthwaite's
    degrees of freedom trust them too much: Student's interval of the seeds alone is taken when it is wider. Without the
    samples' own losses it is that one, too.
    """
    if any(len(group.losses) < 2 or np.ptp(group.losses) == 0 for group in groups):
        return None
    each = [group.weight**2 * float(group.losses.var(ddof=1)) / len(group.losses) for group in groups]
    degrees = [len(group.losses) - 1 for group in groups]
    seeds = _combined(_value(groups), each, degrees)
    samples = _of_samples(groups, sources)
    if samples is None:
        return seeds
    twice = sum(
        g.weight**2 * float(g.parts.var(axis=0, ddof=1).sum()) / len(g.losses)
        for g in groups
        if g.parts is not None
    )
    crossed = _combined(_value(groups), [*each, samples], [*degrees, max(1, len(sources) - 1)], less=twice)
    return max(crossed, seeds, key=lambda interval: interval.half)


def holm(chances: Sequence[float]) -> list[float]:
    """Holm's adjustment: the chance of any false finding among them is at most what each is compared with."""
    adjusted = [1.0] * len(chances)
    largest = 0.0
    for rank, at in enumerate(sorted(range(len(chances)), key=lambda index: chances[index])):
        largest = max(largest, min(1.0, (len(chances) - rank) * chances[at]))
        adjusted[at] = largest
    return adjusted


def _combined(
    value: float, variances: Sequence[float], degrees: Sequence[int], less: float = 0.0
) -> StudentInterval:
    """A sum of independent variances, with Satterthwaite's degrees of freedom. less: what is counted twice in it."""
    variance = max(sum(variances) - less, *variances) if less else sum(variances)
    total = sum(part**2 / own for part, own in zip(variances, degrees, strict=True))
    return StudentInterval(
        value, math.sqrt(variance), max(1.0, variance**2 / total) if total > 0 else math.inf
    )


def _value(groups: Sequence[Repeats]) -> float:
    return float(sum(group.weight * group.losses.mean() for group in groups))


def _of_samples(groups: Sequence[Repeats], sources: Ints) -> float | None:
    """Variance of the contrast over the samples, within sources: a set has its shares of the sources by design."""
    parts = [group.weight * group.parts.mean(axis=0) for group in groups if group.parts is not None]
    if len(parts) < len(groups) or len(sources) < 2:
        return None
    whole: Floats = np.sum(parts, axis=0)
    variance = 0.0
    counts = np.bincount(sources)
    alone = np.isin(sources, np.flatnonzero(counts == 1))  # a source with one sample has no spread of its own
    for own in (*(whole[sources == source] for source in np.flatnonzero(counts > 1)), whole[alone]):
        if len(own) > 1:
            variance += len(own) / (len(own) - 1) * float(((own - own.mean()) ** 2).sum())
        elif len(own) == 1:
            variance += float(own[0] ** 2)
    return variance

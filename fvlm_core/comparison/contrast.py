"""A sum of variants with signs, such as a difference or an interaction, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from attrs import frozen

from fvlm_core.comparison.measured import LOSS, ComparedRun, Variant
from fvlm_core.comparison.statistics import (
    Floats,
    Ints,
    Repeats,
    StudentInterval,
    influence,
    over_both,
    over_samples,
    paired,
)

PAIRED_FROM = 5
"""Common seeds from which on they are paired.

Pairing takes out what a seed has of its own, and halves the degrees of freedom. Of three seeds the interval gets
narrower only if more than 58 % of the training noise is the seed's own, of five if more than 31 %.
"""

Term = tuple[float, Variant]
"""A variant and its sign or weight."""


@frozen
class Reason:
    """Why a difference has no interval, or is none: words, the runs that they are of, and further words."""

    before: str
    of: tuple[str, ...] = ()
    after: str = ""

    def __str__(self) -> str:
        return f"{self.before}{', '.join(self.of)}{self.after}"


@frozen
class Contrast:
    """What became of it.

    value: None when a variant has no loss yet. weights: of these very weights, over the samples. both: of the
    variants, over seeds and samples. seeds: how many of each variant went in. paired: whether seed was set against the
    same seed. unlike: why the runs cannot be compared at all. reasons: why an interval is missing, or what it lacks.
    """

    value: float | None
    weights: StudentInterval | None = None
    both: StudentInterval | None = None
    seeds: int = 0
    paired: bool = False
    unlike: Reason | None = None
    reasons: tuple[Reason, ...] = ()


def contrast(terms: Sequence[Term], metric: str) -> Contrast:
    """The sum of weight times loss over variants, with its intervals. Runs measured on other samples are refused."""
    runs = [run for _, variant in terms for run in variant.runs]
    if any(run.value is None for run in runs):
        missing = _ids([run for run in runs if run.value is None])
        return Contrast(None, reasons=(Reason(f"no {metric} of ", missing),))
    common = _common_seeds(terms)
    kept = [(weight, _of_seeds(variant, common)) for weight, variant in terms]
    seeds = min(len(own) for _, own in kept)
    losses = [np.array([run.value for run in own], dtype=float) for _, own in kept]
    value = float(sum(weight * each.mean() for (weight, _), each in zip(kept, losses, strict=True)))
    unlike = _unlike(runs)
    if unlike:
        return Contrast(value, seeds=seeds, unlike=unlike)
    reasons: list[Reason] = []
    parts, sources, missing = _parts([run for _, own in kept for run in own], metric)
    if missing:
        reasons.append(missing)
    groups = [
        Repeats(weight, each, np.array([parts[id(run)] for run in own]) if parts else None)
        for (weight, own), each in zip(kept, losses, strict=True)
    ]
    if common:
        groups = [paired(groups)]
    both = over_both(groups, sources)
    if both is None:
        alike = tuple(
            variant.name for (_, variant), each in zip(terms, losses, strict=True) if np.ptp(each) == 0
        )
        same = " the same to the last digit, which tells nothing of their noise"
        if all(len(variant.runs) > 1 for _, variant in terms):  # else one seed, which is said of all
            what = Reason("the seeds of ", alike, f" gave{same}") if alike else None
            reasons.append(what or Reason(f"all seeds differ by{same}"))
    elif len(common) and any(len(variant.runs) > len(common) for _, variant in terms):
        reasons.append(Reason(f"of the {len(common)} seeds that all have"))
    return Contrast(value, over_samples(groups, sources), both, seeds, bool(common), None, tuple(reasons))


def _common_seeds(terms: Sequence[Term]) -> list[int]:
    """The seeds that every variant has, when they are enough to be paired; else none."""
    each = [[run.seed for run in variant.runs] for _, variant in terms]
    if any(len(set(seeds)) < len(seeds) for seeds in each):
        return []
    common = set(each[0]).intersection(*each[1:])
    known = sorted(seed for seed in common if seed is not None)
    return known if len(known) >= PAIRED_FROM else []


def _of_seeds(variant: Variant, seeds: Sequence[int]) -> list[ComparedRun]:
    if not seeds:
        return list(variant.runs)
    by_seed = {run.seed: run for run in variant.runs}
    return [by_seed[seed] for seed in seeds]


def _unlike(runs: Sequence[ComparedRun]) -> Reason | None:
    """Why the runs were not measured on the same thing; None when they were, or when nobody can know."""
    recorded = [(run, run.validation) for run in runs if run.validation is not None]
    for (one, before), (other, after) in pairwise(recorded):
        if before != after:
            after = f" and {other.run.id} were validated on other data: their fingerprints differ"
            return Reason("", (one.run.id,), after)
    scored = [(run, run.scores) for run in runs if run.scores is not None]
    for (one, first), (other, second) in pairwise(scored):
        if first.ids == second.ids and np.array_equal(first.tokens, second.tokens):
            continue
        ids, others = set(first.ids), set(second.ids)
        told = ""
        if ids != others:
            told = (
                f"were validated on other samples: {len(ids):,} and {len(others):,}, of which "
                f"{len(ids & others):,} are the same"
            )
        elif dict(zip(first.ids, first.tokens, strict=True)) != dict(
            zip(second.ids, second.tokens, strict=True)
        ):
            told = "score other numbers of tokens of the same samples: another tokenizer or text limit"
        if told:
            return Reason("", (one.run.id,), f" and {other.run.id} {told}")
    return None


def _parts(runs: Sequence[ComparedRun], metric: str) -> tuple[dict[int, Floats], Ints, Reason | None]:
    """What every sample adds to the error of each run, by `id` of the run and in one order of the samples; the source
    of each sample, as a number; and why there is none."""
    nothing: Ints = np.zeros(0, dtype=np.int64)
    if metric != LOSS:
        return {}, nothing, Reason(f"the samples' own {metric} is not kept of ", _ids(runs))
    lacking = [run for run in runs if run.scores is None]
    if lacking:
        return {}, nothing, Reason("the samples' own losses are not kept of ", _ids(lacking))
    parts: dict[int, Floats] = {}
    names: list[str] = []
    for run in runs:
        scores = run.scores
        assert scores is not None
        wrong = np.flatnonzero(~np.isfinite(scores.losses))
        if len(wrong):
            return (
                {},
                nothing,
                Reason("", _ids([run]), f" has no number for the loss of {scores.ids[wrong[0]]}"),
            )
        order = np.argsort(np.array(scores.ids), kind="stable")
        names = names or [scores.ids[at] for at in order]
        parts[id(run)] = influence(scores.losses, scores.tokens)[order]
    _, sources = np.unique([name.partition("/")[0] for name in names], return_inverse=True)
    return parts, sources.astype(np.int64), None


def _ids(runs: Sequence[ComparedRun]) -> tuple[str, ...]:
    return tuple(run.run.id for run in runs)

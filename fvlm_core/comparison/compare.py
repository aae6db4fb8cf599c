"""The comparison of runs with a baseline: what the ablation table is made of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from attrs import evolve, frozen

from fvlm_core.comparison.contrast import PAIRED_FROM, Contrast, Reason, contrast
from fvlm_core.comparison.factorial import Factorial, factorial, find_squares, named_square
from fvlm_core.comparison.measured import LOSS, Variant, variants
from fvlm_core.comparison.multiplier import Multiplier, multiplier
from fvlm_core.comparison.statistics import LEVEL, StudentInterval, holm
from fvlm_core.runs.store import StoredRun
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import listed
from fvlm_registry.nearest import did_you_mean

BASELINE = "baseline"

Found = Literal["better", "worse", "lower", "higher", "inside the noise"]
Verdict = Found | Literal["baseline", "seeds not known", "no interval", "not comparable", "no evaluation"]


@frozen
class Judged:
    """A contrast and what is found of it.

    verdict: of the variants, over seeds and samples. "seeds not known": a variant has one seed, so that the noise of
    training is not known, and only `of_weights` can be said, which is of these very weights. p, p_weights: Holm's
    adjusted chances that `verdict` and `of_weights` rest on.
    """

    of: Contrast
    verdict: Verdict
    of_weights: Found | None = None
    p: float | None = None
    p_weights: float | None = None


@frozen(eq=False)
class VariantRow:
    """One variant. value: the mean of its seeds at their best evaluations; None before the first. spread: the
    standard deviation of the seeds; None for one."""

    variant: Variant
    value: float | None
    spread: float | None
    judged: Judged
    multiplier: Multiplier


@frozen(eq=False)
class Comparison:
    """Variants against a baseline. rows: the baseline first, then the others in the order of the recipe."""

    metric: str
    baseline: Variant
    rows: tuple[VariantRow, ...]
    factorials: tuple[tuple[Factorial, tuple[Judged, Judged, Judged]], ...]
    notes: tuple[str, ...]


def compare(
    runs: Sequence[StoredRun], baseline: str | None = None, metric: str = LOSS, factors: Sequence[str] = ()
) -> Comparison:
    """Compare runs with a baseline at their best evaluations.

    runs: seeds of one variant (`A1-s0`, `A1-s1`) are taken together. baseline: a variant; None for the one called
    "baseline", or else the first. metric: a column of the evaluations; lower is better in one that holds "loss".
    factors: variants of a 2x2, see `named_square`; none given, every 2x2 with the baseline is found by itself. Raises
    `UsageError` for names that are not there, and when no run has the metric.
    """
    if not runs:
        raise UsageError("no run to compare")
    found = variants(runs, metric)
    chosen = _choose(baseline, found)
    if all(run.value is None for variant in found for run in variant.runs):
        raise UsageError(
            f'no run has an evaluation with "{metric}"; another metric can be named with --metric'
        )
    others = [variant for variant in found if variant is not chosen]
    judged = judge([contrast([(1.0, of), (-1.0, chosen)], metric) for of in others], metric)
    multipliers = [
        multiplier(of, chosen) if metric == LOSS and not each.of.unlike else Multiplier()
        for of, each in zip(others, judged, strict=True)
    ]
    own = Judged(Contrast(None), "baseline" if _measured(chosen) else "no evaluation")
    rows = [
        _row(of, each, times)
        for of, each, times in zip(
            [chosen, *others], [own, *judged], [Multiplier(), *multipliers], strict=True
        )
    ]
    squares = [named_square(factors, chosen, others)] if factors else find_squares(chosen, others)
    tables = [factorial(square, metric) for square in squares]
    effects = [judge([effect.of for effect in table.effects], metric) for table in tables]
    factorials = tuple((t, (e[0], e[1], e[2])) for t, e in zip(tables, effects, strict=True))
    comparison = Comparison(metric, chosen, tuple(rows), factorials, ())
    return evolve(comparison, notes=tuple(_notes(comparison)))


def judge(contrasts: Sequence[Contrast], metric: str) -> list[Judged]:
    """What is found of contrasts that are looked at together; chances are adjusted for their number."""
    both = _adjusted([of.both for of in contrasts])
    weights = _adjusted([of.weights for of in contrasts])
    out: list[Judged] = []
    for of, p, p_weights in zip(contrasts, both, weights, strict=True):
        of_weights = _found(of, p_weights, metric)
        if of.value is None:
            verdict: Verdict = "no evaluation"
        elif of.unlike:
            verdict = "not comparable"
        else:
            verdict = _found(of, p, metric) or ("seeds not known" if of.weights else "no interval")
        out.append(Judged(of, verdict, of_weights, p, p_weights))
    return out


def _found(of: Contrast, p: float | None, metric: str) -> Found | None:
    if p is None or of.value is None:
        return None
    if p > 1 - LEVEL:
        return "inside the noise"
    if "loss" in metric:
        return "better" if of.value < 0 else "worse"
    return "lower" if of.value < 0 else "higher"


def _adjusted(intervals: Sequence[StudentInterval | None]) -> list[float | None]:
    known = [at for at, interval in enumerate(intervals) if interval is not None]
    chances = holm([interval.p for interval in intervals if interval is not None])
    out: list[float | None] = [None] * len(intervals)
    for at, p in zip(known, chances, strict=True):
        out[at] = p
    return out


def _choose(name: str | None, found: Sequence[Variant]) -> Variant:
    names = [variant.name for variant in found]
    if name is None:
        return found[names.index(BASELINE)] if BASELINE in names else found[0]
    for variant in found:
        runs = [run.run for run in variant.runs]
        if name == variant.name or any(name in (run.id, f"{run.recipe}/{run.id}") for run in runs):
            return variant
    near = did_you_mean(name, names) or f"; there are {listed(names)}"
    raise UsageError(f'--baseline: no variant is called "{name}"{near}')


def _measured(variant: Variant) -> bool:
    return any(run.value is not None for run in variant.runs)


def _row(variant: Variant, judged: Judged, times: Multiplier) -> VariantRow:
    known = np.array([run.value for run in variant.runs if run.value is not None], dtype=float)
    value = float(known.mean()) if len(known) else None
    spread = float(known.std(ddof=1)) if len(known) > 1 else None
    return VariantRow(variant, value, spread, judged, times)


def _notes(comparison: Comparison) -> list[str]:
    """What a reader must know of these runs; how to read any such table is in docs/howto/comparing.md."""
    rows = comparison.rows
    notes = list(_about_intervals(comparison))
    return [*notes, *_about_contrasts(rows[1:]), *_about_runs(rows), *_about_multipliers(rows)]


def _about_contrasts(rows: Sequence[VariantRow]) -> list[str]:
    """Each fact once, with all runs that it is of; where it names none, with the variants."""
    found: dict[tuple[Reason, bool], list[str]] = {}
    for row in rows:
        for reason in filter(None, (row.judged.of.unlike, *row.judged.of.reasons)):
            fact = (evolve(reason, of=()), bool(reason.of))
            found.setdefault(fact, []).extend(reason.of or [row.variant.name])
    facts = [(fact, named, tuple(dict.fromkeys(of))) for (fact, named), of in found.items()]
    return [str(evolve(fact, of=of)) if named else f"{', '.join(of)}: {fact}" for fact, named, of in facts]


def _about_intervals(comparison: Comparison) -> list[str]:
    rows = comparison.rows[1:]
    contrasts = [row.judged.of for row in rows]
    percent = f"{100 * LEVEL:.0f} %"
    notes: list[str] = []
    if any(of.weights for of in contrasts):
        notes.append(
            f"these weights: {percent} interval of the difference on other samples, paired by sample, within sources; "
            "it does not hold the noise of training"
        )
    if any(of.both for of in contrasts):
        paired = {of.paired for of in contrasts if of.both}
        if paired == {True}:
            how = "paired by seed"
        elif paired == {False}:
            how = f"not paired by seed (fewer than {PAIRED_FROM} in common)"
        else:
            how = f"paired by seed where {PAIRED_FROM} or more coincide"
        and_samples = " and samples" if any(of.both and of.weights for of in contrasts) else ""
        notes.append(
            f"seeds{and_samples}: {percent} interval of the difference over other seeds{and_samples}, {how}"
        )
    family = sum(of.both is not None or of.weights is not None for of in contrasts)
    if family > 1:
        notes.append(
            f"intervals stand alone; verdicts are Holm-adjusted over {family} comparisons, at 5 % together"
        )
    single = [row.variant.name for row in comparison.rows if len(row.variant.runs) == 1]
    if single and rows:
        notes.append(
            f"noise between seeds not known: {', '.join(single)} {'has' if len(single) == 1 else 'have'} one seed; "
            "`seeds = 3` in the recipe repeats its runs"
        )
    if rows and not any(of.weights or of.both for of in contrasts) and not all(of.unlike for of in contrasts):
        seeds = "seeds that are alike" if any(of.seeds > 1 for of in contrasts) else "one seed each"
        notes.append(f"no interval is possible: {seeds}, and no losses of single samples")
    return notes


def _about_runs(rows: Sequence[VariantRow]) -> list[str]:
    notes: list[str] = []
    runs = [run for row in rows for run in row.variant.runs]
    unfinished = [
        f"{run.run.id} (step {run.summary.get('total_steps', 0):,} of {run.run.record.get('steps') or 0:,})"
        for run in runs
        if run.run.state == "interrupted"
    ]
    if unfinished:
        notes.append(f"not complete: {', '.join(unfinished)}")
    drifted = [run.run.id for run in runs if run.summary.get("drift")]
    if drifted:
        notes.append(f"recipe changed while the run was made, as accepted: {', '.join(drifted)}")
    samples = [run.summary.get("total_samples") or 0 for run in runs if run.value is not None]
    if min(samples) < 0.99 * max(samples):
        notes.append(
            f"runs saw {min(samples):,} to {max(samples):,} samples: differences hold that of the data, too"
        )
    sizes = dict.fromkeys(str(run.run.record.get("size", "")) for run in runs)
    if len(sizes) > 1:
        notes.append(f"models of several sizes: {', '.join(sizes)}")
    return notes


def _about_multipliers(rows: Sequence[VariantRow]) -> list[str]:
    known = [row for row in rows if row.multiplier.value is not None]
    if not known:
        return []
    units = ", ".join(dict.fromkeys(row.multiplier.unit for row in known))
    notes = [
        f"multiplier: how many times as many {units} the baseline needs for the loss that both reached, on the curve "
        "of its evaluations; nothing is extrapolated"
    ]
    decaying = [row.variant.name for row in rows if row.variant.schedule != "constant"]
    if decaying:
        notes.append(
            f"* the learning rate of {', '.join(decaying)} is not constant: points inside such a run lie above what a "
            "run of that length reaches, so that its multiplier is no measure of efficiency"
        )
    return notes

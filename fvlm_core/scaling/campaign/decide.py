"""What a campaign buys next: a pure function of what it is for and of what is measured.

The planner is the pool's (`fvlm_core.scaling.pool`): a law, a departure from it and noise, and of the runs for sale
those that take most from the variance of the target for their price. Every decision begins from the points alone, with
the same seed, so that the same points give the same runs, wherever and however often it is made.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fvlm_core.scaling.campaign.belief import Question, believed
from fvlm_core.scaling.campaign.offers import Offer, missing
from fvlm_core.scaling.campaign.record import Finding, Journal, Round, Verdict
from fvlm_core.scaling.pool.purchase import Bought, plan
from fvlm_core.utils.errors import UsageError

PILOT = 0.12
"""Of the budget, what the pilot may take."""

PILOT_RUNS = 10
"""Of the pilot, as the planner chooses it."""

PILOT_SIZES = PILOT_LENGTHS = 3
"""The fewest of the pilot: two show no bend."""

ROUND = 0.2
"""Of the budget, what a round takes: five rounds leave four times to change one's mind."""

ROUND_RUNS = 16
"""The most runs of a round."""

HELPS = 0.95
"""A round is no help when all that is left of the budget would leave more of the half-width than this."""


def pilot(question: Question, left: float) -> Round:
    """The first runs: cheap ones that the planner chooses from what the law's author says its parameters may be, and
    as many of the cheapest ones beside them as make the law identifiable. left: of the budget, FLOPs.

    Raises `UsageError` where the budget does not pay for them, or they reach as far as the target.
    """
    chosen = list(question.pilot) or _pilot(question)
    total = sum(one.flops for one in chosen)
    if total > left:
        swept = " that the sweep leaves" if left < question.budget else ""
        raise UsageError(
            f"the budget{swept}, {left:.3g} FLOPs, is less than the pilot takes, {total:.3g}: {len(chosen)} runs, from "
            f"{chosen[0].run} to {chosen[-1].run}. Give a larger one, or name a cheaper pilot ([campaign.pilot])"
        )
    if lacking := missing(question.law, [(one.n, one.d) for one in chosen]):
        raise UsageError(f"[campaign.pilot]: {lacking}")
    if question.n <= max(one.n for one in chosen) and question.d <= max(one.d for one in chosen):
        raise UsageError(
            f"the target, N = {question.n:.4g} on D = {question.d:.4g}, is no larger than the pilot's runs (up to N = "
            f"{max(one.n for one in chosen):.4g} and D = {max(one.d for one in chosen):.4g}): train it, which answers "
            "the question, or name a larger one"
        )
    return Round(why="pilot", runs=tuple(chosen))


def _pilot(question: Question) -> list[Offer]:
    planned = _plan(question, [], PILOT * question.budget, seed=0)[:PILOT_RUNS]
    chosen = [question.offers[one.row] for one in planned]
    for one in question.offers:
        enough = (
            len({run.n for run in chosen}) >= PILOT_SIZES
            and len({run.d for run in chosen}) >= PILOT_LENGTHS
            and not missing(question.law, [(run.n, run.d) for run in chosen])
        )
        if enough:
            break
        places = {(run.n, run.d) for run in chosen}
        if (one.n, one.d) not in places:
            chosen.append(one)
    return sorted(chosen, key=lambda run: (run.flops, run.run))


def decide(question: Question, journal: Journal) -> Round | Verdict:
    """The next runs, or why there are none. Raises as `pilot`.

    An interval that is narrow enough must be so after another round as well, if there is one to be had: one that is
    narrow by luck seldom is so twice.
    """
    left = question.budget - journal.spent
    finding = journal.finding
    if finding is None:
        return pilot(question, left)
    last_two = [one.finding for one in journal.rounds[-2:] if one.finding is not None]
    narrow = [one.half_width is not None and one.half_width <= question.within for one in last_two]
    if narrow == [True, True]:
        return Verdict(
            outcome="narrow enough", reasons=[_narrow(question, finding), "so it was a round before"]
        )
    found = _next(question, journal, finding, left)
    if isinstance(found, Verdict) and narrow[-1]:
        return Verdict(outcome="narrow enough", reasons=[_narrow(question, finding), *found.reasons])
    return found


def _next(question: Question, journal: Journal, finding: Finding, left: float) -> Round | Verdict:
    """The runs that help most; or why none is bought. left: of the budget, FLOPs."""
    short = _short(question, finding)
    measured = journal.measured
    bought = {run.run for run, _ in measured}
    if not [one for one in question.offers if one.run not in bought and one.flops <= left]:
        outcome = "nothing helps" if len(bought) >= len(question.offers) else "budget spent"
        return Verdict(outcome=outcome, reasons=[*short, _unspent(question, bought, left)])
    planned = _plan(question, measured, left, seed=len(journal.rounds))
    if not planned:
        return Verdict(
            outcome="nothing helps", reasons=[*short, "no run that is left makes the target surer"]
        )
    expected = _expected(finding, planned[-1].left)
    if expected is not None and finding.half_width is not None and expected > HELPS * finding.half_width:
        more = (
            f"the best {len(planned)} of the runs that are left to buy would take {finding.half_width:.2%} to "
            f"{expected:.2%} only: longer runs, other sizes or more seeds may help"
        )
        return Verdict(outcome="nothing helps", reasons=[*short, more])
    rows = sorted((one.row for one in planned[:ROUND_RUNS]), key=lambda row: question.offers[row].flops)
    runs = [question.offers[row] for row in rows]
    spent = np.cumsum([one.flops for one in runs])
    few = max(2, int((spent <= ROUND * question.budget).sum()))
    return Round(why=f"round {len(journal.rounds)}", runs=tuple(runs[:few]))


def _plan(
    question: Question, measured: Sequence[tuple[Offer, float]], budget: float, seed: int
) -> list[Bought]:
    """Rows of the offers in the order in which they are worth their price. seed: of this decision."""
    pool, study = believed(question, measured, seed)
    return plan(pool, [study], budget, np.random.default_rng([seed, 1]))


def _expected(finding: Finding, left: float) -> float | None:
    """The half-width that a plan is expected to leave: what is not known of the law shrinks as its variance does, how
    runs scatter does not. left: of the variance."""
    if finding.half_width is None or finding.law_half_width is None:
        return None
    rest = max(finding.half_width**2 - finding.law_half_width**2, 0.0)
    return float(np.sqrt(rest + finding.law_half_width**2 * left))


def _narrow(question: Question, finding: Finding) -> str:
    return (
        f"half of the target's 95 % interval is {finding.half_width:.2%} of the predicted loss; "
        f"{question.within:.2%} was asked for"
    )


def _short(question: Question, finding: Finding) -> list[str]:
    """What is not reached; nothing where it is."""
    if finding.half_width is not None and finding.half_width <= question.within:
        return []
    if finding.half_width is None:
        reasons = dict.fromkeys(f"no interval: {reason}" for reason in finding.reasons)
        return [*reasons] or ["no interval of the target"]
    said = (
        f"half of the target's 95 % interval is {finding.half_width:.2%} of the predicted loss, more than the "
        f"{question.within:.2%} asked for"
    )
    if finding.scatter is not None and 2 * finding.scatter >= question.within:
        said += (
            f"; runs alone scatter by {finding.scatter:.2%}, so that no law foretells one run within "
            f"{2 * finding.scatter:.2%}"
        )
    return [said]


def _unspent(question: Question, bought: set[str], left: float) -> str:
    for_sale = [one for one in question.offers if one.run not in bought]
    if not for_sale:
        return f"all {len(question.offers)} runs that there are were made: more sizes, samples or seeds would help"
    cheapest = for_sale[0]
    return (
        f"{max(left, 0.0):.3g} FLOPs of {question.budget:.3g} are left, and the cheapest run, {cheapest.run}, takes "
        f"{cheapest.flops:.3g}"
    )

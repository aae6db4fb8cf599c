"""The loop of a campaign: decide, write it down, measure, write it down, fit, write it down, and again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fvlm_core.scaling.campaign.belief import Question
from fvlm_core.scaling.campaign.decide import decide
from fvlm_core.scaling.campaign.estimate import estimate
from fvlm_core.scaling.campaign.record import Journal, Round, Verdict

Measure = Callable[[Round], Mapping[str, float]]
"""Makes the runs of a round that are not made, and gives the losses of all of them, by id."""

Keep = Callable[[Journal], None]
"""Is told of every change, and returns once it is durable."""


def play(question: Question, journal: Journal, measure: Measure, keep: Keep) -> Verdict:
    """Go on from wherever a journal stands until there is a verdict.

    A decision is kept before it is acted upon, and depends on what is measured alone, so that a campaign that was
    killed anywhere and goes on makes the same runs. A round is decided after all of its runs.
    """
    while journal.verdict is None:
        under_way = journal.rounds[-1] if journal.rounds else None
        if under_way is None or under_way.finding is not None:
            decision = decide(question, journal)
            if isinstance(decision, Verdict):
                journal.verdict = decision
            else:
                journal.rounds.append(decision)
        elif under_way.losses is None:
            losses = measure(under_way)
            under_way.losses = {one.run: float(losses[one.run]) for one in under_way.runs}
        else:
            under_way.finding = estimate(question, journal.measured, journal.spent)
        keep(journal)
    return journal.verdict

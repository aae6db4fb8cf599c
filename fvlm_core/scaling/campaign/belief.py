"""What a campaign is for, and what is believed of its law after the runs so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from attrs import frozen

from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.campaign.offers import Offer
from fvlm_core.scaling.pool.study import Pool, Study
from fvlm_core.scaling.predict.advice import check_law, of_sizes_and_data
from fvlm_core.utils.errors import UsageError


@frozen(eq=False)
class Question:
    """What a campaign is for. n, d: of the target. budget: FLOPs. within: the half-width that is asked for, as a part
    of the predicted loss. offers: the runs for sale, cheapest first. pilot: its runs, where the recipe names them."""

    law: FitModel
    n: float
    d: float
    budget: float
    within: float
    offers: tuple[Offer, ...]
    pilot: tuple[Offer, ...] = ()


def check_campaign_law(law: FitModel) -> None:
    """Raise `UsageError` unless the law predicts the loss from N and D with parameters of all sizes."""
    if not of_sizes_and_data(law):
        reads = ", ".join(law.inputs)
        raise UsageError(
            f"{law.name} reads {reads}: campaigns take a law of N and D, such as joint-chinchilla"
        )
    check_law(law)


def believed(question: Question, measured: Sequence[tuple[Offer, float]], seed: int) -> tuple[Pool, Study]:
    """The runs for sale with the target as their last row, and the law, a departure from it and noise as they may be.

    It begins from the points alone: nothing is kept from one round to the next but these and the seed.
    """
    losses = {run.run: loss for run, loss in measured}
    table = pd.DataFrame(
        {
            "size": [*(one.size for one in question.offers), ""],
            "n": [*(one.n for one in question.offers), question.n],
            "d": [*(float(one.d) for one in question.offers), question.d],
            "loss": [*(losses.get(one.run, np.nan) for one in question.offers), np.nan],
        }
    )
    price = [np.inf if one.run in losses else one.flops for one in question.offers]
    pool = Pool(table, np.array([*price, np.inf]), np.arange(len(table)) == len(question.offers))
    study = Study(question.law, pool.parts(question.law), np.random.default_rng([seed, 0]))
    known: Any = np.flatnonzero(table["loss"].notna())
    study.learn(table, known)
    return pool, study

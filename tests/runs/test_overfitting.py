"""A run whose validation loss rises at its end says so, and since when."""

from __future__ import annotations

from typing import Any

import pytest

from fvlm_core.runs.overfitting import overfitting


def rows(*losses: float) -> list[dict[str, Any]]:
    return [{"step": 15 * (at + 1), "val_loss": loss} for at, loss in enumerate(losses)]


def test_it_says_since_when_by_how_much_and_how_often_each_sample_was_seen() -> None:
    assert overfitting(rows(3.0, 2.0, 1.5, 1.6, 1.8), {"shapes": 70.2, "text": 0.4}) == (
        "validation rises since step 45: 1.5000 there, 1.8000 at the end; each sample of shapes was seen 70.2 times"
    )
    assert overfitting(rows(3.0, 1.5, 1.6, 1.8), {"shapes": 0.9}) == (
        "validation rises since step 30: 1.5000 there, 1.8000 at the end"
    )


@pytest.mark.parametrize(
    "losses",
    [(3.0, 2.0, 1.0), (3.0, 2.0, 2.4), (3.0, 2.0, 2.005, 2.01), (1.0, 2.0), (), (2.0, 2.0, 2.0)],
    ids=["falls", "one evaluation", "less than 1 %", "too few", "none", "flat"],
)
def test_it_says_nothing_where_that_is_not_sure(losses: tuple[float, ...]) -> None:
    assert overfitting(rows(*losses), {"shapes": 70.0}) is None

"""A fit is known by its points: any number or label that differs gives another fingerprint, and nothing else does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from fvlm_core.scaling.points.points import tidy

TABLE = pd.DataFrame(
    {
        "n": [1e6, 1e6, 4e6, 4e6],
        "d": [1e3, 2e3, 1e3, 2e3],
        "loss": [3.0, 2.5, 2.75, 2.25],
        "run": ["a", "a", "b", "b"],
        "schedule": "cosine",
        "lr": [1e-3, 5e-4, 1e-3, 5e-4],
    }
)


def fingerprint(table: pd.DataFrame) -> str:
    return tidy(table, "made").fingerprint()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("n", 1e6 + 1),
        ("d", 1e3 + 1),
        ("loss", np.nextafter(3.0, 4)),
        ("lr", np.nan),
        ("run", "c"),
        ("schedule", "wsd"),
    ],
)
def test_whatever_differs_gives_another_fingerprint(column: str, value: Any) -> None:
    other = TABLE.copy()
    other.loc[0, column] = value
    assert fingerprint(other) != fingerprint(TABLE)


def test_the_order_of_rows_and_columns_does_not() -> None:
    assert fingerprint(TABLE.iloc[[2, 0, 3, 1], ::-1]) == fingerprint(TABLE)
    assert fingerprint(pd.concat([TABLE, TABLE])) == fingerprint(TABLE)

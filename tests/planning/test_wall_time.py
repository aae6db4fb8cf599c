"""When the last of several runs ends: closed forms of list scheduling."""

from __future__ import annotations

from math import ceil

import pytest

from fvlm_core.planning.wall_time import wall_seconds


@pytest.mark.parametrize("slots", [1, 2, 3, 8, 20])
def test_equal_runs_end_after_as_many_rounds_as_slots_make_of_them(slots: int) -> None:
    assert wall_seconds({str(n): 7.0 for n in range(10)}, {}, slots) == (
        7.0 * ceil(10 / slots),
        min(slots, 10),
    )


def test_a_chain_takes_its_sum_whatever_the_slots() -> None:
    chain = {"b": ("a",), "c": ("b",)}
    assert wall_seconds({"a": 3.0, "b": 4.0, "c": 5.0}, chain, 3) == (12.0, 1)


def test_runs_start_in_the_recipe_s_order_as_slots_get_free() -> None:
    """Graham (1966), Bounds for certain multiprocessing anomalies, table 1: nine jobs on three machines end at 12."""
    seconds = dict(zip("123456789", (3.0, 2.0, 2.0, 2.0, 4.0, 4.0, 4.0, 4.0, 9.0), strict=True))
    after = {"5": ("4",), "6": ("4",), "7": ("4",), "8": ("4",), "9": ("1",)}
    assert wall_seconds(seconds, after, 3) == (12.0, 3)
    assert wall_seconds(seconds, after, 4)[0] == 15.0  # the anomaly: one machine more, and it takes longer


def test_what_is_not_among_the_runs_is_done() -> None:
    assert wall_seconds({"b": 4.0}, {"b": ("a",)}, 1) == (4.0, 1)

"""Benchmarks in pairs: what is compared is the same work, and the figures are said with what they were made on."""

from __future__ import annotations

import json

import pytest
from tiny import run_cli

from fvlm_core.bench.pairs import in_pairs, paired


def test_each_round_times_both_and_the_ratio_is_the_median_of_the_rounds() -> None:
    asked: list[str] = []
    times = {"ours": iter([2.0, 3.0, 8.0]), "bare": iter([2.0, 2.0, 2.0])}

    def clock(name: str) -> float:
        asked.append(name)
        return next(times[name])

    pair = in_pairs("x", "s", lambda: clock("ours"), lambda: clock("bare"), rounds=3, limit=1.6)
    assert asked == ["ours", "bare", "bare", "ours", "ours", "bare"]
    assert (pair.ours, pair.bare, pair.ratio, pair.low, pair.high) == (3.0, 2.0, 1.5, 1.0, 4.0)
    assert pair.holds
    other = paired("x", "s", [2.0, 3.0, 8.0], [4.0, 6.0, 8.0], least=2.1)
    assert (other.ours, other.bare, other.ratio, other.low, other.high) == (3.0, 6.0, 2.0, 1.0, 2.0)
    assert not other.holds
    assert paired("x", "s", [2.0], [1.0]).holds  # nothing is promised


def test_how_soon_fvlm_answers_is_told_with_the_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_cli(["bench", "start", "--rounds", "1", "--json"], monkeypatch, capsys)
    found = json.loads(out)
    assert code == 0
    assert [one["limit"] for one in found["measured"]] == [6.0, 8.0, 20.0]
    assert all(one["ours"] > one["bare"] > 0 for one in found["measured"])
    assert found["machine"]["cores"] >= 1

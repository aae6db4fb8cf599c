"""A step's gradients are let go before the next step makes its own: a run holds one set of them, not two."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from tiny import RECIPE, train

from fvlm_core.training import loop, objective
from fvlm_core.training.gradient import Accumulation
from fvlm_core.utils.errors import FvlmError


def test_no_gradient_of_a_step_lives_in_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    kept: list[weakref.ref[Any]] = []
    alive: list[int] = []
    accumulate, taken = Accumulation.accumulate, loop.taken

    def begins(*given: Any) -> Any:
        alive.append(sum(one() is not None for one in kept))
        return accumulate(*given)

    def took(*given: Any) -> Any:
        found = taken(*given)
        kept[:] = [weakref.ref(one) for one in found.values()]
        return found

    monkeypatch.setattr(Accumulation, "accumulate", begins)
    monkeypatch.setattr(loop, "taken", took)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    train(tmp_path / "tiny.toml", tmp_path / "runs", "training.steps=3")
    assert kept
    assert alive == [0, 0, 0]


def test_an_objective_whose_sums_are_not_those_it_names_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    contribution = objective.TokenLoss.contribution

    def short(self: Any, model: Any, batch: Any) -> Any:
        found = contribution(self, model, batch)
        return evolve(found, sums=(*found.sums, found.sums[0]))

    monkeypatch.setattr(objective.TokenLoss, "contribution", short)
    (tmp_path / "tiny.toml").write_text(RECIPE)
    with pytest.raises(
        FvlmError, match=r"training\.objective: expected \d sums of a micro-batch \(.*\), got \d"
    ):
        train(tmp_path / "tiny.toml", tmp_path / "runs", "training.steps=3")

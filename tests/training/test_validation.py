"""Validation: means over supervised tokens, in evaluation mode, of samples that do not move when others come."""

from __future__ import annotations

import math

import pytest
import torch
from attrs import evolve
from small import batch, model, only

from fvlm_core.data.frozen_validation import ChosenSamples
from fvlm_core.data.loader import chosen_validation
from fvlm_core.plugin_api import Sample
from fvlm_core.recipes.schema import Training
from fvlm_core.runs.per_sample_loss import Scored
from fvlm_core.training.evaluate import evaluate
from fvlm_core.training.objective import MeasuredBatch, TokenLoss

PLAIN = Training(steps=1, precision="float32")


def test_losses_of_a_set_are_weighted_by_its_tokens() -> None:
    """Two batches of 2 and 8 tokens: by hand, and other than the means of means (2, 7/4, 5/8)."""
    measured = [
        MeasuredBatch(
            {"fine": 6.0, "coarse": 1.0, "content": 3.0, "tokens": 2, "content_tokens": 1},
            [Scored("a/1", 6.0, 2)],
        ),
        MeasuredBatch(
            {"fine": 4.0, "coarse": 4.0, "content": 4.0, "tokens": 8, "content_tokens": 4},
            [Scored("a/2", 1.0, 4), Scored("b/1", 3.0, 4)],
        ),
    ]
    row = TokenLoss(("coarse",)).validation(measured)
    assert row["val_loss"] == row["val_loss_fine"] == pytest.approx(10 / 10)
    assert row["val_loss_coarse"] == pytest.approx(5 / 10)
    assert row["val_loss_content"] == pytest.approx(7 / 5)
    assert row["val_loss_by_source"] == {"a": pytest.approx(7 / 6), "b": pytest.approx(3 / 4)}
    assert row["val_tokens"] == 10


def test_an_evaluation_is_the_loss_of_the_logits_and_leaves_training_on() -> None:
    vlm = model(coarse_share=0.9, mode_choice="sample")
    clips = evolve(batch([2, 1, 3], [7, 5, 6]), sample_ids=("x/0", "x/1", "x/2"))
    nats, tokens = 0.0, 0
    for number in range(3):
        one = only(clips, number)
        with torch.no_grad():
            text = vlm.eval().logits(one)[0][int(one.counts) :]
        wanted = one.supervised[0, 1:]
        found = torch.nn.functional.cross_entropy(text[:-1], one.ids[0, 1:], reduction="none")
        nats, tokens = nats + float(found[wanted].sum()), tokens + int(wanted.sum())
    vlm.train()
    for _ in range(2):
        row, scored = evaluate(vlm, [clips], PLAIN, "cpu")
        assert row["val_loss"] == pytest.approx(nats / tokens, rel=1e-5)
        assert [sample.id for sample in scored] == ["x/0", "x/1", "x/2"]
        assert vlm.training


def test_the_entropy_of_attention_that_looks_nowhere_is_that_of_ten_equal_shares() -> None:
    vlm = model(depth="shallow", query_init_std=0.001)
    two = evolve(batch([3, 1], [5, 4]), sample_ids=("x/0", "x/1"))
    one = evolve(batch([4], [6]), sample_ids=("x/2",))
    row, _ = evaluate(vlm, [two, one], PLAIN, "cpu")
    assert row["attention_entropy"] == pytest.approx(math.log(10), abs=1e-3)


def test_a_chosen_sample_stays_when_others_come() -> None:
    def source(names: list[str]) -> ChosenSamples:
        return ChosenSamples("x", [Sample(name, "x", ()) for name in names])

    def chosen(names: list[str]) -> set[str]:
        return {names[index] for index in chosen_validation(source(names), 10)}

    few, more = [f"old {number}" for number in range(40)], [f"new {number}" for number in range(20)]
    before, after = chosen(few), chosen([*more, *few])
    assert chosen(few[::-1]) == before
    assert len(before) == len(after) == 10
    assert after & set(few) <= before
    assert before != set(few[:10])
    assert after & set(few)

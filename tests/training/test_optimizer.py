"""The optimizer is torch's AdamW, a rate for each group; its schedule and its state are what they are called."""

from __future__ import annotations

from math import cos, pi
from typing import Any

import pytest
import torch
from torch import nn

from fvlm_core.recipes.learning_rate import LRRatio
from fvlm_core.recipes.schema import Training
from fvlm_core.training.length import Length, Spent, peak_rates, schedules
from fvlm_core.training.optimizer import make_optimizer, optimizer_tensors, restore_optimizer
from fvlm_core.training.parallel import Copies
from fvlm_core.training.schedule import RateSchedule, own
from fvlm_core.utils.errors import FvlmError

SHAPES = {
    "connector": {"connector.map.weight": (3, 2), "connector.map.bias": (3,), "connector.q_static": (1, 4)},
    "encoder": {
        "encoder.norm.weight": (5,),
        "encoder.conv.weight": (2, 1, 2, 2),
        "encoder.cls_token": (1, 1, 2),
    },
    "llm": {"llm.embed_tokens.weight": (4, 2), "llm.mlp.weight": (2, 2)},
}
DECAYED = {"connector.map.weight", "encoder.conv.weight", "llm.mlp.weight"}
RATES = {"connector": 0.1, "encoder": 0.01, "llm": 0.03}
SETTINGS: dict[str, Any] = {"betas": (0.6, 0.7), "weight_decay": 0.5}


def parameters() -> dict[str, dict[str, nn.Parameter]]:
    torch.manual_seed(0)
    return {
        group: {name: nn.Parameter(torch.randn(shape)) for name, shape in shapes.items()}
        for group, shapes in SHAPES.items()
    }


def flat(groups: dict[str, dict[str, nn.Parameter]]) -> dict[str, nn.Parameter]:
    return {name: parameter for group in groups.values() for name, parameter in group.items()}


def gradients(of: dict[str, nn.Parameter], step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    for parameter in of.values():
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def ours(groups: dict[str, dict[str, nn.Parameter]], **rates: float) -> torch.optim.AdamW:
    made = make_optimizer(groups, {**RATES, **rates}, **SETTINGS, decayed=DECAYED)
    for group in made.param_groups:
        group["lr"] = group["peak"]
    return made


def test_a_step_is_that_of_torchs_adamw_which_decays_matrices_and_kernels_alone() -> None:
    mine, theirs = parameters(), parameters()
    optimizer = ours(mine)
    reference = torch.optim.AdamW(
        [
            {
                "params": [parameter],
                "lr": RATES[name.partition(".")[0]],
                "weight_decay": 0.5 if name in DECAYED else 0.0,
            }
            for name, parameter in flat(theirs).items()
        ],
        betas=(0.6, 0.7),
    )
    for step in range(3):
        gradients(flat(mine), step)
        gradients(flat(theirs), step)
        optimizer.step()
        reference.step()
    for name, parameter in flat(mine).items():
        torch.testing.assert_close(parameter, flat(theirs)[name], rtol=1e-5, atol=1e-6, msg=name)


def test_a_group_of_rate_zero_stays_as_it_is() -> None:
    groups, before = parameters(), parameters()
    optimizer = ours(groups, llm=0.0)
    gradients(flat(groups), 0)
    optimizer.step()
    same = {name for name, p in flat(groups).items() if torch.equal(p, flat(before)[name])}
    assert same == set(SHAPES["llm"])


def test_a_state_that_was_saved_goes_on_as_if_it_had_not_been() -> None:
    whole, cut = parameters(), parameters()
    straight, first = ours(whole), ours(cut)
    for step in range(2):
        for groups, optimizer in ((whole, straight), (cut, first)):
            gradients(flat(groups), step)
            optimizer.step()
    saved = {name: tensor.clone() for name, tensor in optimizer_tensors(first, lambda tensor: tensor).items()}
    assert {f"{kind}.{name}" for name in flat(cut) for kind in ("step", "exp_avg", "exp_avg_sq")} == set(
        saved
    )
    again = ours(cut)
    restore_optimizer(again, saved, Copies(nn.Module()).part)
    for groups, optimizer in ((whole, straight), (cut, again)):
        gradients(flat(groups), 2)
        optimizer.step()
    assert all(torch.equal(p, flat(cut)[name]) for name, p in flat(whole).items())


def test_schedules_are_their_closed_forms() -> None:
    """By hand: a warm-up of 4 of 12 updates; then half a cosine, or the peak."""
    cosine = RateSchedule(own("cosine", {"llm": 0.1}), "llm", 12, 4)
    assert [cosine.factor(k) for k in range(4)] == [0, 0.25, 0.5, 0.75]
    fall = [0.1 + 0.9 * (1 + cos(pi * k / 8)) / 2 for k in range(9)]
    assert [cosine.factor(k) for k in range(4, 13)] == pytest.approx(fall)
    assert (cosine.factor(4), cosine.factor(12), cosine.factor(99)) == pytest.approx((1, 0.1, 0.1))
    constant = RateSchedule(own("constant", {"llm": 0.1}), "llm", 12, 4)
    assert [constant.factor(k) for k in (0, 2, 4, 11, 12)] == [0, 0.5, 1, 1, 1]


def test_a_converging_schedule_brings_every_group_to_one_rate() -> None:
    training = Training(
        steps=10, schedule="converging", lr_target=2e-4, lr=1e-3, lr_ratio=LRRatio(encoder=0.01, llm=0.5)
    )
    rates = peak_rates(training, 1)
    assert rates == pytest.approx({"connector": 1e-3, "encoder": 1e-5, "llm": 5e-4})
    found = schedules(training, Length.of(training, Spent(1.0)), rates)
    assert {name: rates[name] * each.factor(10) for name, each in found.items()} == pytest.approx(
        {"connector": 2e-4, "encoder": 2e-4, "llm": 2e-4}
    )


@pytest.mark.parametrize("factor", [float("nan"), float("inf"), -0.1])
def test_a_schedule_that_gives_no_factor_is_named_with_the_step(factor: float) -> None:
    schedule = RateSchedule(lambda step, steps, group: 1.0 if step < 5 else factor, "llm", 12, 4)
    assert schedule.factor(8) == 1.0
    with pytest.raises(
        FvlmError, match=r"training\.schedule: expected a finite factor.* 5 updates after the warm-up"
    ):
        schedule.factor(9)

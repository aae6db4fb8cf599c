"""Muon, SGD: their steps are those of independent implementations, and what they keep is what they say."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fvlm_training_optimizers.config import SGD, Muon
from torch import Tensor, nn

from fvlm_core.model.build import build_part
from fvlm_core.recipes.schema import Chosen
from fvlm_core.training.optimizer import optimizer_tensors, rate_groups, restore_optimizer
from fvlm_core.training.parallel import Copies

SHAPES = {
    "connector": {"connector.map.weight": (3, 5), "connector.map.bias": (3,)},
    "encoder": {"encoder.conv.weight": (2, 1, 2, 2), "encoder.tall.weight": (6, 2)},
    "llm": {"llm.embed_tokens.weight": (4, 2), "llm.lm_head.weight": (4, 2), "llm.mlp.weight": (2, 2)},
}
DECAYED = {
    "connector.map.weight", "encoder.conv.weight", "encoder.tall.weight", "llm.lm_head.weight", "llm.mlp.weight"
}  # fmt: skip
RATES = {"connector": 0.1, "encoder": 0.01, "llm": 0.03}
MATRICES = {"connector.map.weight", "encoder.tall.weight", "llm.mlp.weight"}
"""Those that Muon moves: no kernel, no embedding, no output head."""


def parameters() -> dict[str, dict[str, nn.Parameter]]:
    torch.manual_seed(0)
    return {
        group: {name: nn.Parameter(torch.randn(shape)) for name, shape in shapes.items()}
        for group, shapes in SHAPES.items()
    }


def flat(groups: dict[str, dict[str, nn.Parameter]]) -> dict[str, nn.Parameter]:
    return {name: parameter for group in groups.values() for name, parameter in group.items()}


def made(name: str, config: Any, groups: dict[str, dict[str, nn.Parameter]]) -> torch.optim.Optimizer:
    chosen = Chosen(name, f"optimizers:{name}", config)
    optimizer = build_part("optimizer", chosen, rate_groups(groups, RATES, 0.5, DECAYED))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"]
    return optimizer


def gradient(name: str, parameter: Tensor, step: int) -> Tensor:
    generator = torch.Generator().manual_seed(1000 * step + sum(name.encode()))
    return torch.randn(parameter.shape, generator=generator)


def stepped(optimizer: torch.optim.Optimizer, groups: dict[str, dict[str, nn.Parameter]], step: int) -> None:
    for name, parameter in flat(groups).items():
        parameter.grad = gradient(name, parameter, step)
    optimizer.step()


def orthogonal(matrix: Tensor, steps: int) -> Tensor:
    """Jordan et al. 2024: the quintic Newton-Schulz iteration of Muon, in its coefficients and bfloat16, by hand."""
    x = matrix.bfloat16()
    turned = x.shape[0] > x.shape[1]
    x = x.T if turned else x
    x = x / x.norm().clamp(min=1e-7)
    for _ in range(steps):
        square = x @ x.T
        # Rounded where torch rounds: in bfloat16 another order is another number in the third digit.
        x = torch.addmm(x, torch.addmm(square, square, square, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    return (x.T if turned else x).float()


def adamw(weight: Tensor, gradients: list[Tensor], rate: float, decay: float) -> Tensor:
    """Loshchilov and Hutter (2019), algorithm 2, with betas 0.9 and 0.999."""
    first, second = torch.zeros_like(weight), torch.zeros_like(weight)
    for k, g in enumerate(gradients, 1):
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
        step = first / (1 - 0.9**k) / ((second / (1 - 0.999**k)).sqrt() + 1e-8)
        weight = weight - rate * decay * weight - rate * step
    return weight


@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_is_orthogonalised_momentum_for_hidden_matrices_and_adamw_for_the_rest(nesterov: bool) -> None:
    groups, before = parameters(), flat(parameters())
    optimizer = made("muon", Muon(nesterov=nesterov), groups)
    for step in range(3):
        stepped(optimizer, groups, step)
    for name, parameter in flat(groups).items():
        weight, rate = before[name].detach(), RATES[name.partition(".")[0]]
        gradients = [gradient(name, weight, step) for step in range(3)]
        if name in MATRICES:
            momentum = torch.zeros_like(weight)
            for g in gradients:  # torch keeps the momentum as a mean: 0.95 of it, 0.05 of the gradient
                momentum = 0.95 * momentum + 0.05 * g
                direction = 0.95 * momentum + 0.05 * g if nesterov else momentum
                size = 0.2 * max(weight.shape) ** 0.5
                weight = weight * (1 - rate * 0.5) - rate * size * orthogonal(direction, 5)
            torch.testing.assert_close(parameter.detach(), weight, rtol=1e-6, atol=1e-6, msg=name)
        else:
            wanted = adamw(weight, gradients, rate, 0.5 if name in DECAYED else 0.0)
            torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-6, atol=1e-6, msg=name)


def test_muon_moves_matrices_as_torchs_own_does_alone() -> None:
    groups, other = parameters(), flat(parameters())
    optimizer = made("muon", Muon(), groups)
    theirs = [
        torch.optim.Muon(
            [other[name]], lr=RATES[name.partition(".")[0]], weight_decay=0.5, adjust_lr_fn="match_rms_adamw"
        )
        for name in sorted(MATRICES)
    ]
    for step in range(3):
        stepped(optimizer, groups, step)
        for name, reference in zip(sorted(MATRICES), theirs, strict=True):
            other[name].grad = gradient(name, other[name], step)
            reference.step()
    for name in MATRICES:
        torch.testing.assert_close(flat(groups)[name], other[name], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.9, False), (0.9, True), (0.0, False)])
def test_sgd_is_its_closed_form(momentum: float, nesterov: bool) -> None:
    groups, before = parameters(), flat(parameters())
    optimizer = made("sgd", SGD(momentum=momentum, nesterov=nesterov), groups)
    for step in range(3):
        stepped(optimizer, groups, step)
    for name, parameter in flat(groups).items():
        weight, rate = before[name].detach(), RATES[name.partition(".")[0]]
        velocity = torch.zeros_like(weight)
        for step in range(3):  # Sutskever et al. (2013), as torch has it: the first velocity is the gradient
            g = gradient(name, weight, step) + (0.5 if name in DECAYED else 0.0) * weight
            velocity = momentum * velocity + g
            weight = weight - rate * (g + momentum * velocity if nesterov else velocity)
        torch.testing.assert_close(parameter.detach(), weight, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize(("name", "config"), [("muon", Muon()), ("sgd", SGD()), ("sgd", SGD(momentum=0.0))])
def test_what_is_kept_is_what_is_said_and_goes_on_where_it_was_saved(name: str, config: Any) -> None:
    whole, cut = parameters(), parameters()
    straight, first = made(name, config, whole), made(name, config, cut)
    for step in range(2):
        stepped(straight, whole, step)
        stepped(first, cut, step)
    saved = {key: tensor.clone() for key, tensor in optimizer_tensors(first, lambda tensor: tensor).items()}
    said = {
        f"{kind}.{full}": size
        for full, parameter in flat(cut).items()
        for kind, size in config.state(full, parameter.shape, full in DECAYED).items()
    }
    assert said == {key: tensor.nbytes for key, tensor in saved.items() if tensor.ndim}
    again = made(name, config, cut)
    restore_optimizer(again, saved, Copies(nn.Module()).part)
    stepped(straight, whole, 2)
    stepped(again, cut, 2)
    assert all(torch.equal(parameter, flat(cut)[full]) for full, parameter in flat(whole).items())

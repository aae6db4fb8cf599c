"""The optimizer over three groups of parameters, and its state as named tensors."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from fvlm_core.interfaces.optimizer import OwnOptimizer
from fvlm_core.model.build import build_part
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.schema import Training

Named = Mapping[str, nn.Parameter]
RateGroup = dict[str, Any]

GROUPS = ("connector", "encoder", "llm")


def freeze(model: VLM, components: Iterable[str]) -> None:
    """Have these components not train."""
    groups = model.parameter_groups()
    for component in components:
        for parameter in groups[component].values():
            parameter.requires_grad_(False)


def chosen_optimizer(
    training: Training, model: VLM, rates: Mapping[str, float], factors: Mapping[str, float] | None = None
) -> torch.optim.Optimizer:
    """The optimizer of a run. rates: the peak rate of each group. factors: see `rate_groups`."""
    groups = rate_groups(model.parameter_groups(), rates, training.weight_decay, model.decayed(), factors)
    if training.optimizer is None:
        return adamw(groups, training.betas)
    return build_part("optimizer", training.optimizer, groups)


def make_optimizer(
    groups: Mapping[str, Named],
    rates: Mapping[str, float],
    betas: tuple[float, float],
    weight_decay: float,
    decayed: Container[str],
    factors: Mapping[str, float] | None = None,
) -> torch.optim.AdamW:
    """AdamW over `rate_groups`."""
    return adamw(rate_groups(groups, rates, weight_decay, decayed, factors), betas)


def adamw(groups: Sequence[RateGroup], betas: tuple[float, float]) -> torch.optim.AdamW:
    """torch's AdamW, fused."""
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True)


def build(config: OwnOptimizer, groups: Sequence[RateGroup]) -> torch.optim.AdamW:
    """The core's own, as a component, with torch's betas; recipes that name it have theirs."""
    return adamw(groups, (0.9, 0.999))


def rate_groups(
    groups: Mapping[str, Named],
    rates: Mapping[str, float],
    weight_decay: float,
    decayed: Container[str],
    factors: Mapping[str, float] | None = None,
) -> list[RateGroup]:
    """Groups as torch's optimizers take them, a learning rate for each of connector, encoder and LLM; those of rate 0
    are left out.

    decayed: full names of the parameters that weight decay acts on (`VLM.decayed`). factors: on the rate of single
    parameters (`mup.rate_factors`); the decay of a step stays as it would be without, as in Yang et al.'s `MuAdamW`.
    Each torch group carries "component", "peak" and "factor", which the loop's schedule and the columns of rates read,
    and "names", the parameters' full names in their order; see `fvlm_core.interfaces.optimizer`.
    """
    factors = factors or {}
    torch_groups: list[RateGroup] = []
    for component in GROUPS:
        trained = [(name, p) for name, p in groups[component].items() if p.requires_grad]
        if not trained or rates[component] == 0:
            continue
        by_factor = sorted({factors.get(name, 1.0) for name, _ in trained}, reverse=True)
        for decays, factor in product((True, False), by_factor):
            chosen = [
                (name, p)
                for name, p in trained
                if (name in decayed) is decays and factors.get(name, 1.0) == factor
            ]
            if chosen:
                torch_groups.append(
                    {
                        "params": [p for _, p in chosen],
                        "names": [name for name, _ in chosen],
                        "component": component,
                        "peak": rates[component] * factor,
                        "factor": factor,
                        "decays": decays,
                        "weight_decay": weight_decay / factor if decays else 0.0,
                    }
                )
    return torch_groups


def named(optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    """Every parameter that is trained, by its full name, in the optimizer's order."""
    return {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    }


def checkpoint_bytes(training: Training, model: VLM, optimizer: torch.optim.Optimizer) -> int:
    """What a checkpoint takes on disk: float32 weights, and what the optimizer and callbacks keep of those that
    train."""
    keeps, decayed, trained = training.optimizer_settings, model.decayed(), named(optimizer)
    states = [keeps.state(name, parameter.shape, name in decayed) for name, parameter in trained.items()]
    whole, moved = (sum(p.numel() for p in each) for each in (model.parameters(), trained.values()))
    return 4 * (whole + training.copies[0] * moved) + sum(sum(state.values()) for state in states)


def current_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The learning rate in force for each group, factors left out, 0 for one that does not train: the columns
    `lr_...`."""
    rates = {f"lr_{component}": 0.0 for component in GROUPS}
    rates.update(
        {f"lr_{group['component']}": group["lr"] / group["factor"] for group in optimizer.param_groups}
    )
    return rates


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, whole: Callable[[Tensor], Tensor]
) -> dict[str, Tensor]:
    """The state as {"exp_avg.<parameter>": tensor}: readable in any safetensors viewer, bound to no order.

    whole: makes a tensor whole that lies on several ranks.
    """
    return {
        f"{key}.{name}": whole(value).contiguous()
        for name, parameter in named(optimizer).items()
        for key, value in optimizer.state[parameter].items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
    part: Callable[[Tensor, nn.Parameter], Tensor],
) -> None:
    """Put back what `optimizer_tensors` took out. part: what of a tensor stays on this rank.

    Moments of parameters that train no more, by an accepted change of the recipe, are left out.
    """
    trained = named(optimizer)
    for key, tensor in tensors.items():
        kind, _, name = key.partition(".")
        parameter = trained.get(name)
        if parameter is None:
            continue
        alike = tensor.shape == parameter.shape
        kept = part(tensor, parameter) if alike and kind != "step" else tensor.to(parameter.device)
        optimizer.state[parameter][kind] = kept

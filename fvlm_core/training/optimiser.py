"""AdamW over three groups of parameters, and its state as named tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

Named = Mapping[str, nn.Parameter]

GROUPS = ("connector", "encoder", "llm")


def make_optimiser(
    groups: Mapping[str, Named], rates: Mapping[str, float], betas: tuple[float, float], weight_decay: float
) -> torch.optim.AdamW:
    """AdamW with a learning rate for each of connector, encoder and LLM; groups of rate 0 are left out.

    Weight decay acts on matrices and kernels alone: decaying norms, biases and learned queries pulls them towards
    values that mean nothing. Each torch group carries "component" and "peak", which the loop's schedule reads.
    """
    torch_groups: list[dict[str, object]] = []
    for component in GROUPS:
        trained = [(name, p) for name, p in groups[component].items() if p.requires_grad]
        if not trained or rates[component] == 0:
            continue
        for decays in (True, False):
            chosen = [p for name, p in trained if _decays(name, p) is decays]
            if chosen:
                torch_groups.append(
                    {
                        "params": chosen,
                        "component": component,
                        "peak": rates[component],
                        "weight_decay": weight_decay if decays else 0.0,
                    }
                )
    return torch.optim.AdamW(torch_groups, lr=0.0, betas=betas, fused=True)


def _decays(name: str, parameter: nn.Parameter) -> bool:
    return parameter.ndim >= 2 and not any(part in name for part in ("embed", "q_static", "q_init", "token"))


def optimiser_tensors(optimiser: torch.optim.Optimizer, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
    """The state as {"exp_avg.<parameter>": tensor}: readable in any safetensors viewer, bound to no order."""
    return {
        f"{key}.{names[parameter]}": value
        for parameter, state in optimiser.state.items()
        for key, value in state.items()
    }


def restore_optimiser(
    optimiser: torch.optim.Optimizer, tensors: Mapping[str, Tensor], names: Mapping[Tensor, str]
) -> None:
    """Put back what `optimiser_tensors` took out."""
    by_name = {name: parameter for parameter, name in names.items()}
    for key, tensor in tensors.items():
        kind, _, name = key.partition(".")
        parameter = by_name[name]
        optimiser.state[parameter][kind] = tensor if kind == "step" else tensor.to(parameter.device)

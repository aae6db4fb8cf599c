"""torch's optimizers over the groups of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fvlm_training_optimizers.config import SGD, Muon

Group = dict[str, Any]


def sgd(config: SGD, groups: Sequence[Group]) -> torch.optim.Optimizer:
    """Weight decay is added to the gradient, as torch does (L2), and so is scaled by the rate of each step."""
    made = torch.optim.SGD(groups, lr=0.0, momentum=config.momentum, nesterov=config.nesterov, fused=True)
    if config.momentum:
        # From nothing: where a first step is left out, torch's fused one keeps what happens to be in memory.
        for group in made.param_groups:
            for parameter in group["params"]:
                made.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return made


def muon(config: Muon, groups: Sequence[Group]) -> torch.optim.Optimizer:
    """Muon and AdamW side by side."""
    return MuonAndAdamW(config, groups)


class MuonAndAdamW(torch.optim.Optimizer):
    """torch's Muon for hidden matrices and its AdamW for the rest, as one optimizer: one state, one list of groups.

    A matrix moves by 0.2 sqrt(max(rows, columns)) times the rate along its orthogonal direction, the size of AdamW's
    own steps, so that both take the rates of one recipe (Liu et al. 2025, arXiv:2502.16982, equation 4).
    """

    def __init__(self, config: Muon, groups: Sequence[Group]) -> None:
        matrices = [_part(config, group, True) for group in groups]
        rest = [_part(config, group, False) for group in groups]
        self._parts: list[torch.optim.Optimizer] = []
        if matrices := [group for group in matrices if group["params"]]:
            made = torch.optim.Muon(
                matrices,
                lr=0.0,
                momentum=config.momentum,
                nesterov=config.nesterov,
                ns_steps=config.steps,
                adjust_lr_fn="match_rms_adamw",
            )
            self._parts.append(made)
        if rest := [group for group in rest if group["params"]]:
            self._parts.append(torch.optim.AdamW(rest, lr=0.0, betas=config.betas, fused=True))
        super().__init__([group for part in self._parts for group in part.param_groups], {})
        self.state: defaultdict[Tensor, Any] = defaultdict(dict)
        self.param_groups = [group for part in self._parts for group in part.param_groups]
        for part in self._parts:
            part.state = self.state

    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A step of both."""
        for part in self._parts:
            part.step()


def _part(config: Muon, group: Group, orthogonal: bool) -> Group:
    """What of a group Muon moves, or AdamW."""
    pairs = [
        (name, parameter)
        for name, parameter in zip(group["names"], group["params"], strict=True)
        if config.orthogonal(name, parameter.shape, group["decays"]) is orthogonal
    ]
    return {**group, "names": [name for name, _ in pairs], "params": [parameter for _, parameter in pairs]}

"""Averages of the weights along a run, each a model of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fvlm_core.plugin_api import Callback, CallbackRun
from fvlm_training_callbacks.config import Decay, Last


class MovingAverage(Callback):
    """average <- d average + (1 - d) weights, d = min(decay, (1 + step) / (10 + step)), of what trains."""

    def __init__(self, config: Decay, run: CallbackRun) -> None:
        self._settings = config
        self._trained = {name: p for name, p in run.model.named_parameters() if p.requires_grad}
        self._average: dict[str, Tensor] = {}

    def stepped(self, step: int, row: Mapping[str, Any] | None) -> None:
        """One update, on the weights' own device."""
        if not self._average:
            self._average = {name: parameter.detach().clone() for name, parameter in self._trained.items()}
        if step % self._settings.every == 0:
            kept = min(self._settings.decay, (1 + step) / (10 + step))
            average = get_ema_multi_avg_fn(kept)
            average(list(self._average.values()), [p.detach() for p in self._trained.values()], step)

    def weights(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The average, from the first step on."""
        return {"ema": self._average} if self._average else {}

    def state(self) -> Mapping[str, Tensor]:
        """The average."""
        return self._average

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """The average, beside the weights, in their order and in their memory order; what has come to train since
        begins as it is."""
        if state:
            self._average = {
                name: torch.empty_like(p, requires_grad=False).copy_(
                    state[name] if name in state else p.detach()
                )
                for name, p in self._trained.items()
            }


class MeanOfLast(Callback):
    """The mean of the weights at the last evaluations (Izmailov et al. 2018, arXiv:1803.05407), of what trains."""

    def __init__(self, config: Last, run: CallbackRun) -> None:
        self._last = config.last
        self._trained = {name: p for name, p in run.model.named_parameters() if p.requires_grad}
        self._kept: list[dict[str, Tensor]] = []

    def evaluated(self, step: int, row: Mapping[str, Any]) -> None:
        """Keeps these weights, on the host; the mean with them is evaluated next time."""
        now = {name: parameter.detach().to("cpu", copy=True) for name, parameter in self._trained.items()}
        self._kept = [*self._kept, now][-self._last :]

    def weights(self) -> Mapping[str, Mapping[str, Tensor]]:
        """The mean of what is kept and, as the newest, of the present weights, which a checkpoint of an evaluation has
        among the kept ones already."""
        now = {name: parameter.detach().cpu() for name, parameter in self._trained.items()}
        last = self._kept[-1] if self._kept else {}
        there = bool(last) and all(torch.equal(last[name], tensor) for name, tensor in now.items())
        every = [*self._kept[: -1 if there else None], now][-self._last :]
        mean = {name: torch.stack([each[name] for each in every]).mean(0) for name in now}
        return {"mean_of_last": mean}

    def state(self) -> Mapping[str, Tensor]:
        """All that is kept, by its place."""
        return {f"{at}/{name}": tensor for at, each in enumerate(self._kept) for name, tensor in each.items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """In the order they were kept in."""
        found: dict[int, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            at, _, name = key.partition("/")
            found.setdefault(int(at), {})[name] = tensor
        whole = [found[at] for at in sorted(found)]
        self._kept = [each for each in whole if self._trained.keys() <= each.keys()]

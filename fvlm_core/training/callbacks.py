"""Who watches a run: displays, and callbacks, which may also stop it and keep weights of their own."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from attrs import define, field, frozen
from torch import Tensor

from fvlm_core.model.build import build_part
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.read import Run
from fvlm_core.recipes.schema import Training
from fvlm_core.utils.errors import FvlmError


class Observer(Protocol):
    """Watches a run: what a progress display implements."""

    def skipped(self, run: Run) -> None:
        """A run was complete already."""
        ...

    def started(self, run: Run, step: int, steps: int) -> None:
        """Training begins at `step`."""
        ...

    def stepped(self, step: int, row: dict[str, Any] | None) -> None:
        """A step is done; row is its metrics when it was logged."""
        ...

    def evaluated(self, row: dict[str, Any]) -> None:
        """An evaluation is done."""
        ...

    def warned(self, text: str) -> None:
        """Something the user should know."""
        ...


@frozen(eq=False)
class CallbackRun:
    """The run that a callback watches."""

    id: str
    folder: Path
    """The run's own; a callback may write into a folder of its own there."""
    steps: int
    model: VLM
    """With whole weights after each step; to be read, never changed."""


class Callback:
    """Sees each step and each evaluation of a run, and may stop it.

    The component's target is `build(config, run: CallbackRun) -> Callback`; one that keeps copies of what trains says
    how many in its config class, `copies = (in a checkpoint, on the device)`, for the plan. Every rank has one of its
    own, and acts on what the first rank's say. A run waits for its callbacks: their time is measured, and said when it
    is a twentieth of the run's. Methods that are not overridden do nothing.

    What it keeps between steps it gives as `state` and takes back with `restore`, so that a run that was interrupted
    goes on as if it had not been, to the bit.
    """

    def stepped(self, step: int, row: Mapping[str, Any] | None) -> str | None:
        """Step `step` has changed the weights. row: of the metrics, None where no row was due (`training.log_every`).

        A text that is returned stops the run, and is recorded as the reason: it is evaluated and saved, and complete.
        """

    def evaluated(self, step: int, row: Mapping[str, Any]) -> str | None:
        """An evaluation after step `step`, with `val_loss` among the row's columns. A text stops the run."""

    def weights(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Models of its own, as parameters by their full names, by name: each is evaluated beside the run's, and makes
        the column `val_loss_NAME`."""
        return {}

    def state(self) -> Mapping[str, Tensor]:
        """What it keeps, as tensors by name; they are copied into each checkpoint."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave, on the host."""
        if state:
            raise FvlmError(
                f"{type(self).__name__}.restore takes nothing back, and its state held {', '.join(state)}"
            )


SLOW = 0.05
"""Share of the training time that callbacks may take before that is said."""


@define(eq=False)
class Callbacks:
    """Those of a run, by the names that its recipe has for them."""

    each: dict[str, Callback]
    warned: Callable[[str], None]
    seconds: dict[str, float] = field(factory=dict[str, float])
    begun: float = field(factory=time.monotonic)
    _said: bool = False

    @classmethod
    def of(cls, training: Training, watched: CallbackRun, warned: Callable[[str], None]) -> Callbacks:
        """Those of a recipe. A second one of the same name is numbered."""
        each: dict[str, Callback] = {}
        for chosen in training.callbacks or ():
            same = sum(name.partition(" ")[0] == chosen.word for name in each)
            name = f"{chosen.word} {same + 1}" if same else chosen.word
            each[name] = build_part("callback", chosen, watched)
        return cls(each, warned)

    def stepped(self, step: int, row: Mapping[str, Any] | None) -> str:
        """Tell all of them; why the run is to stop, or nothing."""
        return self._asked(lambda one: one.stepped(step, row))

    def evaluated(self, step: int, row: Mapping[str, Any]) -> str:
        """As `stepped`."""
        return self._asked(lambda one: one.evaluated(step, row))

    def weights(self) -> Iterator[tuple[str, Mapping[str, Tensor]]]:
        """Every model of theirs; of a second callback of the same name with its number."""
        for name, one in self.each.items():
            number = name.partition(" ")[2]
            for key, weights in one.weights().items():
                yield f"{key}_{number}" if number else key, weights

    def state(self) -> dict[str, Tensor]:
        """Of all: "NAME/tensor"."""
        return {
            f"{name}/{key}": tensor.detach().to("cpu", copy=True).contiguous()
            for name, one in self.each.items()
            for key, tensor in one.state().items()
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """To each its own."""
        for name, one in self.each.items():
            prefix = f"{name}/"
            one.restore({key.removeprefix(prefix): t for key, t in state.items() if key.startswith(prefix)})

    def _asked(self, tell: Callable[[Callback], str | None]) -> str:
        reasons: list[str] = []
        for name, one in self.each.items():
            start = time.monotonic()
            if reason := tell(one):
                reasons.append(f"{name}: {reason}")
            self.seconds[name] = self.seconds.get(name, 0.0) + time.monotonic() - start
        whole = time.monotonic() - self.begun
        if not self._said and whole > 60 and (taken := sum(self.seconds.values())) > SLOW * whole:
            self._said = True
            slowest = max(self.seconds, key=lambda name: self.seconds[name])
            self.warned(f"callbacks take {taken / whole:.0%} of the training time, most of it {slowest}")
        return "; ".join(reasons)


@contextmanager
def exchanged(model: VLM, weights: Mapping[str, Tensor]) -> Generator[None]:
    """The model with other weights, by their full names; nothing is copied."""
    parameters = dict(model.named_parameters())
    swapped = [(parameters[name], tensor) for name, tensor in weights.items()]
    before = [parameter.data for parameter, _ in swapped]
    with torch.no_grad():
        for parameter, tensor in swapped:
            parameter.data = tensor.to(parameter.device)
    try:
        yield
    finally:
        for (parameter, _), data in zip(swapped, before, strict=True):
            parameter.data = data

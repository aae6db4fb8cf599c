"""What a callback promises; see `Callback`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any
from weakref import finalize

import torch
from torch import Tensor

from fvlm_core.testing.finding import Promise, expect, promises
from fvlm_core.testing.partners import tiny_vlm
from fvlm_core.testing.subject import ComponentUnderTest
from fvlm_core.training.callbacks import Callback, CallbackRun

PROMISES: list[Promise] = []
STEPS = 12


class Watched:
    """A callback under test at a run of a tiny model, whose losses rise and fall."""

    def __init__(self, subject: ComponentUnderTest) -> None:
        self.component = subject.component
        self.config = subject.config
        self.target = subject.load()

    @cached_property
    def folder(self) -> Path:
        """Of the run; it goes with this."""
        made = Path(mkdtemp(prefix="fvlm-check-"))
        finalize(self, rmtree, made, ignore_errors=True)
        return made

    def begin(self) -> tuple[Any, Any]:
        """A new one, and the model that it watches."""
        model = tiny_vlm()
        return self.target(self.config, CallbackRun("check", self.folder, STEPS, model)), model

    def go(self, callback: Any, model: Any, steps: range) -> list[Any]:
        """Steps of a run: what the callback returns to each, and to an evaluation after every third."""
        said: list[Any] = []
        for step in steps:
            generator = torch.Generator().manual_seed(step)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator))
            loss = 3.0 + (-1) ** step * 0.1 * step
            row = {"event_type": "train", "step": step, "train_loss": loss, "grad_norm": 1.0}
            said.append(callback.stepped(step, row if step % 2 else None))
            if step % 3 == 0:
                said.append(callback.evaluated(step, {**row, "event_type": "eval", "val_loss": loss}))
        return said


def prepare(subject: ComponentUnderTest) -> Watched:
    """The callback under test."""
    return Watched(subject)


@promises(PROMISES, "build(config, run) makes a callback", Callback, "The component's target is")
def _build(watched: Watched) -> None:
    made, _ = watched.begin()
    expect(isinstance(made, Callback), f"{watched.component.target} makes a {type(made).__name__}")


@promises(PROMISES, "it says why, or nothing", Callback.stepped, "A text that is returned stops the run")
def _says(watched: Watched) -> None:
    callback, model = watched.begin()
    for found in watched.go(callback, model, range(1, STEPS + 1)):
        expect(found is None or isinstance(found, str), f"it returns {found!r}; expected a text or None")


@promises(PROMISES, "it changes no weight", CallbackRun, "never changed")
def _reads(watched: Watched) -> None:
    callback, model = watched.begin()
    _, other = watched.begin()
    watched.go(callback, model, range(1, STEPS + 1))
    watched.go(Callback(), other, range(1, STEPS + 1))
    theirs = dict(other.named_parameters())
    found = [name for name, p in model.named_parameters() if not torch.equal(p, theirs[name])]
    expect(not found, f"after {STEPS} steps it has changed {', '.join(found[:3])}")


@promises(PROMISES, "it changes no row", Callback.stepped, "row: of the metrics")
def _rows(watched: Watched) -> None:
    callback, _ = watched.begin()
    row: dict[str, Any] = {
        "event_type": "train",
        "step": 1,
        "train_loss": 2.0,
        "mixture": {"a": {"samples": 1}},
    }
    callback.stepped(1, row)
    callback.evaluated(1, row | {"val_loss": 2.0})
    wanted = {"event_type": "train", "step": 1, "train_loss": 2.0, "mixture": {"a": {"samples": 1}}}
    expect(row == wanted, f"it changes the row that it is shown: {row}")


@promises(PROMISES, "its state is tensors", Callback.state, "What it keeps, as tensors by name")
def _state(watched: Watched) -> None:
    callback, model = watched.begin()
    watched.go(callback, model, range(1, 8))
    found = [name for name, value in callback.state().items() if not isinstance(value, Tensor)]
    expect(not found, f"{', '.join(found)} of its state is no tensor")


@promises(PROMISES, "its models are models", Callback.weights, "Models of its own, as parameters")
def _weights(watched: Watched) -> None:
    callback, model = watched.begin()
    watched.go(callback, model, range(1, STEPS + 1))
    own = dict(model.named_parameters())
    for name, weights in callback.weights().items():
        expect(name.isidentifier(), f'a model is called "{name}"; expected letters, digits and _')
        for full, tensor in weights.items():
            expect(full in own, f'{name} holds "{full}", which the model has not')
            expect(tensor.shape == own[full].shape, f"{name}: {full} is of shape {list(tensor.shape)}")


@promises(PROMISES, "it goes on where it was saved", Callback, "goes on as if it had not been")
def _resumes(watched: Watched) -> None:
    whole, model = watched.begin()
    said = watched.go(whole, model, range(1, STEPS + 1))
    first, cut = watched.begin()
    before = watched.go(first, cut, range(1, 8))
    state = {name: tensor.detach().clone() for name, tensor in sorted(first.state().items())}
    again, after = watched.begin()
    after.load_state_dict(cut.state_dict())
    again.restore(state)
    before += watched.go(again, after, range(8, STEPS + 1))
    expect(before == said, "interrupted after 7 steps it says something else to those after")
    differing = _differing(whole.state(), again.state())
    expect(not differing, f"interrupted after 7 steps its {differing} is another one at the end")


def _differing(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> str:
    if one.keys() != other.keys():
        return "list of tensors"
    return next((name for name in one if not torch.equal(one[name].cpu(), other[name].cpu())), "")

"""What the checks of encoders, connectors and language models share: seeded builds, compared weights, gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

from fvlm_core.testing.finding import expect

Module = TypeVar("Module", bound=nn.Module)

CLOSE = 1e-4
"""Largest difference, relative to the largest value, of what must be equal up to the order of sums."""


def seeded(build: Callable[[], Module], seed: int) -> Module:
    """A module with fresh weights of a seed, ready for use: no dropout."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().eval()


def check_seeds(build: Callable[[], nn.Module]) -> None:
    """The same seed gives the same weights, another seed others. Raises `Broken`."""
    one, same, other = (seeded(build, seed).state_dict() for seed in (1, 1, 2))
    expect(list(one) == list(same), "two builds have different weights")
    apart = [name for name in one if not torch.equal(one[name], same[name])]
    expect(not apart, f"{_some(apart)} differ between two builds with one seed")
    drawn = [name for name in one if not torch.equal(one[name], other[name])]
    expect(drawn or not one, "two seeds give the same weights: they do not come from torch's generator")


def check_meta(build: Callable[[], nn.Module]) -> None:
    """The architecture can be made without memory. Raises `Broken`."""
    with torch.device("meta"):
        made = build()
    real = [name for name, parameter in made.named_parameters() if parameter.device.type != "meta"]
    expect(not real, f"{_some(real)} are made with memory of their own on the meta device")


def check_gradients(module: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Every weight that the loss depends on gets a gradient that is a number. Raises `Broken`."""
    module.zero_grad()
    with torch.enable_grad():
        total = loss()
        expect(total.requires_grad, "what it makes has no gradient at all")
        total.backward()
    trained = {name: p for name, p in module.named_parameters() if p.requires_grad}
    without = [name for name, p in trained.items() if p.grad is None and _matters(p, loss, total)]
    expect(not without, f"no gradient reaches {_some(without)}")
    wrong = [name for name, p in trained.items() if p.grad is not None and not p.grad.isfinite().all()]
    expect(not wrong, f"the gradient of {_some(wrong)} is no number")
    module.zero_grad()


@torch.no_grad()
def _matters(parameter: nn.Parameter, loss: Callable[[], Tensor], before: Tensor) -> bool:
    """Whether the loss changes with a parameter."""
    kept = parameter.clone()
    parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(9)))
    changed = not torch.equal(loss(), before)
    parameter.copy_(kept)
    return changed


def check_apart(own: Tensor, frames: Tensor, others: slice, what: str) -> None:
    """What was made of some frames does not depend on others, told by gradients: dropout may differ. Raises `Broken`.

    own: made in training mode. frames: those it was made from, requiring a gradient; `others`: which must not matter.
    """
    if not own.requires_grad:
        return
    weight = torch.randn(own.shape, generator=torch.Generator().manual_seed(10))
    [found] = torch.autograd.grad((own * weight).sum(), frames, allow_unused=True, materialize_grads=True)
    expect(not found[others].any(), f"{what}, in training (normalised over the batch?)")


def check_close(got: Tensor, wanted: Tensor, what: str) -> None:
    """Two tensors agree up to rounding. Raises `Broken`."""
    expect(got.shape == wanted.shape, f"{what}: {shape(got)} and {shape(wanted)}")
    apart = float((got - wanted).abs().max()) if got.numel() else 0.0
    size = float(wanted.abs().max()) if wanted.numel() else 0.0
    expect(apart <= CLOSE * size + 1e-7, f"{what}: they differ by {apart:.2g} of {size:.2g}")


def check_shape(got: object, wanted: tuple[int, ...], what: str, names: str) -> Tensor:
    """A floating tensor of this shape. names: the contract's letters. Raises `Broken`."""
    expect(isinstance(got, Tensor), f"{what} is {type(got).__name__}, expected a tensor {names}")
    assert isinstance(got, Tensor)
    expect(tuple(got.shape) == wanted, f"{what} is {shape(got)}, expected {names} = {list(wanted)}")
    expect(got.is_floating_point(), f"{what} is {got.dtype}, expected floating point")
    expect(bool(got.isfinite().all()), f"{what} holds values that are no numbers")
    return got


def check_probabilities(got: object, wanted: tuple[int, ...], what: str, names: str) -> None:
    """Attention probabilities: non-negative and summing to 1. Raises `Broken`."""
    found = check_shape(got, wanted, what, names)
    sums = found.sum(-1)
    expect(bool((found >= 0).all()), f"{what}: a probability is negative")
    expect(
        torch.allclose(sums, torch.ones_like(sums), atol=1e-3),
        f"{what}: they sum to {float(sums.flatten()[0]):.3g}, expected 1",
    )


def shape(tensor: Tensor) -> str:
    """[2, 3, 4]"""
    return str(list(tensor.shape))


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more

"""What an optimizer promises; see `OptimizerSettings`."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from fvlm_core.interfaces.optimizer import OptimizerSettings
from fvlm_core.testing.finding import Promise, expect, promises, skip
from fvlm_core.testing.subject import ComponentUnderTest
from fvlm_core.training.optimizer import named, optimizer_tensors, rate_groups, restore_optimizer
from fvlm_core.training.parallel import Copies

PROMISES: list[Promise] = []
SHAPES = {
    "connector": {"connector.map.weight": (6, 4), "connector.map.bias": (6,)},
    "encoder": {"encoder.patch.weight": (4, 3, 2, 2), "encoder.layer.weight": (4, 8)},
    "llm": {"llm.words.weight": (10, 4), "llm.norm.weight": (4,), "llm.layer.weight": (4, 4)},
}
DECAYED = {"connector.map.weight", "encoder.patch.weight", "encoder.layer.weight", "llm.layer.weight"}
RATES = {"connector": 0.1, "encoder": 0.01, "llm": 0.03}
KEYS = ("names", "component", "peak", "decays", "weight_decay")


class Stepper:
    """The optimizer under test."""

    def __init__(self, subject: ComponentUnderTest) -> None:
        self.component = subject.component
        self.config = subject.config
        self.target = subject.load()

    def build(self, rate: float = 1.0) -> Any:
        """Another one, over weights that are always the same. rate: share of the peaks that is in force."""
        generator = torch.Generator().manual_seed(0)
        groups = {
            part: {
                name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()
            }
            for part, shapes in SHAPES.items()
        }
        made = self.target(self.config, rate_groups(groups, RATES, 0.1, DECAYED))
        for group in made.param_groups:
            group["lr"] = rate * group["peak"]
        return made

    @cached_property
    def made(self) -> Any:
        """One that has made no step."""
        return self.build()


def prepare(subject: ComponentUnderTest) -> Stepper:
    """The optimizer under test."""
    return Stepper(subject)


def step(optimizer: Any, number: int, without: str = "") -> None:
    """A step with the gradients of that number, as the core makes one."""
    for name, parameter in named(optimizer).items():
        generator = torch.Generator().manual_seed(1000 * number + sum(name.encode()))
        parameter.grad = None if name == without else torch.randn(parameter.shape, generator=generator)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def weights(optimizer: Any) -> dict[str, Tensor]:
    """Copies of all parameters, by name."""
    return {name: parameter.detach().clone() for name, parameter in named(optimizer).items()}


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> list[str]:
    """Names of those that are not the same bits."""
    return [name for name in before if not torch.equal(before[name], after[name])]


@promises(
    PROMISES, "build(config, groups) makes an optimizer", OptimizerSettings, "The component's target is"
)
def _build(stepper: Stepper) -> None:
    made = stepper.made
    expect(callable(getattr(made, "step", None)), f"{stepper.component.target} makes a {type(made).__name__}")
    lacking = [key for key in KEYS for group in made.param_groups if key not in group]
    expect(not lacking, f"a group lacks {', '.join(dict.fromkeys(lacking))}")
    wanted = {name for shapes in SHAPES.values() for name in shapes}
    found = set(named(made))
    expect(found == wanted, f"its groups hold {', '.join(sorted(found)) or 'nothing'}, not every parameter")


@promises(PROMISES, "a step moves every weight", OptimizerSettings, "A step takes the rate of each")
def _steps(stepper: Stepper) -> None:
    made = stepper.build()
    before = weights(made)
    step(made, 0)
    after = weights(made)
    still = set(before) - set(moved(before, after))
    expect(not still, f"a step with gradients leaves {', '.join(sorted(still))} as they are")
    bad = [name for name, tensor in after.items() if not tensor.isfinite().all()]
    expect(not bad, f"a step makes {', '.join(bad)} not finite")


@promises(
    PROMISES, "a rate of 0 moves nothing", OptimizerSettings, "which the core sets before it; a rate of 0"
)
def _rate(stepper: Stepper) -> None:
    made = stepper.build(rate=0.0)
    before = weights(made)
    step(made, 0)
    found = moved(before, weights(made))
    expect(not found, f"with group['lr'] = 0 a step changes {', '.join(found)}")


@promises(PROMISES, "no gradient, no step", OptimizerSettings, "A parameter without a gradient stays")
def _without(stepper: Stepper) -> None:
    for name in ("connector.map.weight", "llm.norm.weight"):
        made = stepper.build()
        step(made, 0)
        before = weights(made)
        step(made, 1, without=name)
        expect(name not in moved(before, weights(made)), f"{name} has no gradient and is changed")


@promises(
    PROMISES, "it keeps what it says", OptimizerSettings.state, "The tensors that are kept between steps"
)
def _keeps(stepper: Stepper) -> None:
    made = stepper.build()
    step(made, 0)
    for name, parameter in named(made).items():
        said = dict(stepper.config.state(name, tuple(parameter.shape), name in DECAYED))
        kept = {key: value.nbytes for key, value in made.state[parameter].items() if value.numel() > 1}
        expect(kept == said, f"{name}: it keeps {kept or 'nothing'}; config.state says {said or 'nothing'}")


@promises(
    PROMISES,
    "it goes on where it was saved",
    OptimizerSettings,
    "A checkpoint holds the tensors of the state",
)
def _resumes(stepper: Stepper) -> None:
    straight, first = stepper.build(), stepper.build()
    for number in range(3):
        step(straight, number)
        step(first, number)
    for name, parameter in named(first).items():
        found = {key for key, value in first.state[parameter].items() if not isinstance(value, Tensor)}
        expect(not found, f"{name}: its state holds {', '.join(sorted(found))}, which are no tensors")
    kept = {name: tensor.clone() for name, tensor in optimizer_tensors(first, lambda tensor: tensor).items()}
    again = stepper.build()
    for name, parameter in named(again).items():
        parameter.data.copy_(named(first)[name])
    restore_optimizer(again, kept, Copies(nn.Module()).part)
    for number in range(3, 6):
        step(straight, number)
        step(again, number)
    found = moved(weights(straight), weights(again))
    expect(not found, f"three steps after a resume {', '.join(found)} are other than without")


@promises(PROMISES, "every number is moved by itself", OptimizerSettings, '"sharded" in the component')
def _apart(stepper: Stepper) -> None:
    if "sharded" not in stepper.component.provides:
        skip('it does not say "sharded"')

    def made(rows: slice) -> Any:
        whole = torch.Generator().manual_seed(0)
        weight = nn.Parameter(torch.randn(6, 4, generator=whole)[rows].clone())
        groups = {**{part: {} for part in RATES}, "llm": {"llm.a.weight": weight}}
        optimizer = stepper.target(stepper.config, rate_groups(groups, RATES, 0.1, {"llm.a.weight"}))
        optimizer.param_groups[0]["lr"] = 0.03
        for number in range(3):
            weight.grad = torch.randn(6, 4, generator=torch.Generator().manual_seed(number))[rows].clone()
            optimizer.step()
        return weight.detach()

    parts = torch.cat([made(slice(0, 2)), made(slice(2, 6))])
    apart = (parts - made(slice(0, 6))).abs().max().item()
    expect(apart < 1e-6, f"a matrix cut in two moves otherwise than whole, by up to {apart:.2g}")

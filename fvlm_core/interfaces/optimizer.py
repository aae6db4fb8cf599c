"""What an optimizer promises, and says of itself before torch is imported."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Protocol

from attrs import frozen


class OptimizerSettings(Protocol):
    """The config class of an optimizer, and what is built of it.

    The component's target is `build(config, groups) -> torch.optim.Optimizer`. groups: dicts as torch takes them;
    beside "params" each has "names" (the parameters' full names, in their order), "component" ("connector", "encoder",
    "llm"), "peak" (its peak learning rate), "factor" (by which that differs from its component's), "decays" (whether
    they are matrices and kernels, which weight decay may act on: no norms, biases, embeddings) and "weight_decay" (0
    where they do not). What is built has `param_groups` with all of these keys, a `state` by parameter, `step()` and
    `zero_grad()`, as torch's own optimizers have.

    A step takes the rate of each group from group["lr"], which the core sets before it; a rate of 0 moves nothing.
    A parameter without a gradient stays as it is. Gradients are those of the mean loss over the whole optimizer step,
    clipped; a step whose numbers are not finite is not made.

    A checkpoint holds the tensors of the state by name and nothing else: a step after a resume is the one there would
    have been. "sharded" in the component's `provides` says that every number of a parameter is moved by itself, as
    AdamW and SGD do, so that `parallel = "fsdp2"` may cut it over ranks.
    """

    def state(self, name: str, shape: Sequence[int], decays: bool) -> Mapping[str, int]:
        """The tensors that are kept between steps for a parameter of this full name and shape, and the bytes of each.

        Single numbers, as a count of steps, need not be said. From it come the plan's memory and disk.
        """
        ...


@frozen(kw_only=True)
class OwnOptimizer:
    """Settings of the core's own optimizer, AdamW: those that every recipe has, `training.betas` and `weight_decay`."""

    def state(self, name: str, shape: Sequence[int], decays: bool) -> Mapping[str, int]:
        """Two moments, float32."""
        return {"exp_avg": 4 * prod(shape), "exp_avg_sq": 4 * prod(shape)}

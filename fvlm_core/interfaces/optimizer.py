"""What an optimizer says of itself before torch is imported.

The component's target is `build(config, groups) -> torch.optim.Optimizer`. groups: dicts as torch takes them; beside
"params" each has "names" (the parameters' full names, in their order), "component" ("connector", "encoder", "llm"),
"peak" (its peak learning rate), "decays" (whether they are matrices and kernels, which weight decay may act on: no
norms, biases, embeddings) and "weight_decay" (0 where not). What is built has `param_groups` with these keys, a
`state` by parameter, `step()` and `zero_grad()`, as torch's own optimizers have, and takes the rate of each step from
group["lr"], which the core sets.

The config class has a method `state(name, shape, decays) -> Mapping[str, int]`: what is kept for such a parameter
between steps, the name of each tensor and its bytes on one device; single numbers, as a count of steps, need not be
said. From it come the plan's memory and disk. A checkpoint holds the tensors of the state by name and nothing else: a
step after a resume is the step there would have been.

Gradients are those of the mean loss over the whole optimizer step, clipped. A step whose numbers are not finite is not
made. "sharded" in the component's `provides` says that every number of a parameter is moved by itself (as AdamW and
SGD do), so that `parallel = "fsdp2"` may cut it over ranks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Protocol

from attrs import frozen


class OptimizerSettings(Protocol):
    """What the config class of an optimizer has beside its settings."""

    def state(self, name: str, shape: Sequence[int], decays: bool) -> Mapping[str, int]:
        """Bytes of each tensor that is kept for a parameter, by the tensor's name."""
        ...


@frozen(kw_only=True)
class OwnOptimizer:
    """Settings of the core's own optimizer, AdamW: those that every recipe has, `training.betas` and `weight_decay`."""

    def state(self, name: str, shape: Sequence[int], decays: bool) -> Mapping[str, int]:
        """Two moments, float32."""
        return {"exp_avg": 4 * prod(shape), "exp_avg_sq": 4 * prod(shape)}

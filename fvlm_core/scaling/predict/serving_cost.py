"""What requests to models cost: of those that exist, and by rule of any size between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from attrs import frozen

from fvlm_core.interfaces.fit import Serving


@frozen(eq=False)
class Served:
    """A model that exists. label: its name. flops: of a request with so many frames,
    and visual tokens a frame. tokens: the number of these that it makes; None where any may be chosen."""

    label: str
    n: float
    flops: Callable[[int, int], float]
    tokens: int | None = None


@frozen(eq=False)
class ServingCost:
    """The models there are, and where their cost is from, in words. rule: FLOPs at N with so many frames and
    tokens a frame, linear in N, where any size between these may be made."""

    models: tuple[Served, ...]
    source: str
    rule: Callable[[float, int, int], float] | None = None


def cost_by_rule(
    sizes: Sequence[tuple[str, float]], text: float, encoder: float, serving: Serving
) -> ServingCost:
    """2 FLOPs for each parameter and token of the language model, and the encoder's of each frame; any size between the
    smallest and the largest may be chosen. sizes: labels and N of those that exist."""

    def flops(n: float, frames: int, tokens: int) -> float:
        return frames * encoder + 2.0 * n * (frames * tokens + text)

    models = tuple(Served(label, n, partial(flops, n)) for label, n in sizes)
    picture = "frame" if serving.frames else "picture"
    seen = f"{encoder:.3g} FLOPs of the encoder a {picture}" if encoder else "the encoder not counted"
    return ServingCost(
        models,
        f"2 FLOPs a parameter and token ({text:g} of text beside the visual ones), {seen}",
        flops,
    )

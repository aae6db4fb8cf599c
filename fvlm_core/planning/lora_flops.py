"""What components with LoRA's factors cost, counted on the modules themselves.

Which layers have factors, and from which one on a gradient flows, only the modules know; but forward and backward FLOPs
are linear in rows, and attention's in pairs. So each is run on the meta device with one or two rows, once a recipe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from fvlm_core.interfaces.encoder import Depth, PatchFeatures
from fvlm_core.model.lora import trained_alone
from fvlm_core.model.vlm import VLM
from fvlm_core.planning.flop_counter import Flops
from fvlm_core.planning.flops import AdaptedEncoder, AdaptedLLM, Cost

_NOTHING = (0.0, 0.0)


def adapted_encoder(vlm: VLM) -> AdaptedEncoder | None:
    """Of the encoder of a model on the meta device, as its connector asks it; None where it has no factors."""
    encoder, connector = vlm.encoder, vlm.connector
    if not trained_alone(encoder):
        return None

    def looked(*queries: Tensor, depth: Depth = "deep") -> Cost:
        def run() -> list[Tensor]:
            side = encoder.spec.image_size
            features = encoder.encode(
                torch.empty(1, 3, side, side, device="meta"),
                tokens=connector.encoder_tokens,
                layers=connector.encoder_layers,
            )
            seen = _outputs(features)
            return [*(encoder.attend(query, features, depth=depth) for query in queries), *seen]

        return _counted(run)

    patches = looked()
    looks: dict[tuple[str, bool], Cost] = {}
    keys = _NOTHING
    possible: dict[Depth, bool] = {"deep": connector.encoder_layers, "shallow": connector.encoder_tokens}
    for depth, can in possible.items():
        for live in (False, True) if can else ():
            query = torch.empty(1, encoder.spec.width, device="meta", requires_grad=live)
            one, two = looked(query, depth=depth), looked(query, query, depth=depth)
            looks[depth, live] = _minus(two, one)
            if depth == "shallow":  # projected once for all looks
                keys = _minus(_minus(one, looks[depth, live]), patches)
    return AdaptedEncoder(patches, looks, keys)


def adapted_llm(vlm: VLM) -> AdaptedLLM | None:
    """Of the language model of a model on the meta device; None where it has no factors."""
    llm = vlm.llm
    if not trained_alone(llm):
        return None

    def read(length: int, live: bool) -> Cost:
        rows = torch.empty(1, length, llm.spec.width, device="meta", requires_grad=live)
        return _counted(lambda: [llm.hidden(rows)])

    positions: dict[bool, Cost] = {}
    pairs: dict[bool, Cost] = {}
    for live in (False, True):
        two, three = read(2, live), read(3, live)  # of n positions n a + n² b
        pair = [(2 * c - 3 * b) / 6 for b, c in zip(two, three, strict=True)]
        positions[live] = two[0] / 2 - 2 * pair[0], two[1] / 2 - 2 * pair[1]
        pairs[live] = pair[0], pair[1]
    hidden = torch.empty(1, llm.spec.width, device="meta", requires_grad=True)
    return AdaptedLLM(positions, pairs, _counted(lambda: [llm.logits(hidden)]))


def _outputs(features: PatchFeatures) -> list[Tensor]:
    kept = [each for layer in features.layers for each in (layer.key, layer.value)]
    return kept if features.tokens is None else [*kept, features.tokens]


def _counted(run: Callable[[], Sequence[Tensor]]) -> Cost:
    """Forward and backward FLOPs; what the backward pass makes again to save memory is left out."""
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        with Flops() as forward:
            learnt = [tensor for tensor in run() if tensor.requires_grad]
        with Flops(again=False) as backward:
            if learnt:
                torch.autograd.backward(learnt, [torch.empty_like(tensor) for tensor in learnt])
    return float(forward.total), float(backward.total)


def _minus(more: Cost, less: Cost) -> Cost:
    return more[0] - less[0], more[1] - less[1]

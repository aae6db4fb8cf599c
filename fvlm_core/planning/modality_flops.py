"""What encoders of other modalities than frames cost: counted by torch on the meta device, item by item."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from fvlm_core.interfaces.specs import LLMSpec
from fvlm_core.model.build import build_part
from fvlm_core.planning.flops import LedgerRow
from fvlm_core.recipes.schema import Model


def item_flops(model: Model, llm: LLMSpec, *, trains: bool) -> list[LedgerRow]:
    """An item of each modality through its encoder and back, in the recipe's order; booked as the connector's.

    trains: whether its weights get gradients; items get none.
    """
    found: list[LedgerRow] = []
    for chosen in model.modalities or ():
        with torch.device("meta"):
            encoder = build_part("modality", chosen, llm).requires_grad_(trains)
            item = torch.empty(1, *encoder.spec.item)
            with FlopCounterMode(display=False) as counter:
                tokens = encoder.encode(item)
                forward = counter.get_total_flops()
                if trains:
                    tokens.sum().backward()
        backward = counter.get_total_flops() - forward
        found.append(LedgerRow("connector", encoder.spec.modality, float(forward), float(backward)))
    return found

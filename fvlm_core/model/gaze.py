"""Where a model's queries look, and how spread that is."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fvlm_core.data.batch import Batch
from fvlm_core.model.vlm import VLM


def attention_maps(vlm: VLM, batch: Batch) -> dict[str, NDArray[np.float32]]:
    """Attention on the patches, [F, rows, columns] for each pass of the connector, mean over layers and heads.

    The rest of each frame's attention, up to 1, is on the tokens before the patches (CLS).
    """
    spec = vlm.encoder.spec
    return {
        name: torch.stack(layers)
        .mean((0, 2))[:, spec.prefix_tokens :]
        .unflatten(1, spec.patch_grid)
        .float()
        .cpu()
        .numpy()
        for name, layers in vlm.looks(batch).items()
    }


def attention_entropy(vlm: VLM, batch: Batch) -> dict[str, Tensor]:
    """How spread each pass's attention is, in nats: for every frame, [F], the mean over layers and heads of
    -sum p ln max(p, 1e-10) over all tokens, CLS included. Uniform attention gives ln N (5.549 at 224 px).

    Keys: the connector's passes, in its order.
    """
    if not len(batch.frames):
        return {}
    return {
        name: torch.stack([_entropy(layer) for layer in layers]).mean(0)
        for name, layers in vlm.looks(batch).items()
    }


def _entropy(weights: Tensor) -> Tensor:
    """Attention probabilities [F, heads, N] to nats [F], mean over heads."""
    return torch.sum(-weights * torch.log(weights.clamp(min=1e-10)), dim=-1).mean(dim=-1)

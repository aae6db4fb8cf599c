"""Validation: losses weighted by supervised tokens, and where the attention goes."""

from __future__ import annotations

from typing import Any

import torch

from fvlm_core.data.loader import ValidationSet
from fvlm_core.vlm import VLM, attention_entropy

ENTROPY_FRAMES = 256
"""Frames of the validation set that the attention entropy is measured on."""


@torch.no_grad()
def evaluate(model: VLM, validation: ValidationSet, device: str, autocast: Any) -> dict[str, float | None]:
    """The validation row: val_loss (nats a supervised token), its fine and coarse parts, the loss on the
    assistant's own words, and the attention entropy of each pass (nats, mean over layers, heads and frames; the coarse
    one is the learned query's).

    Token-weighted over the whole set, so the value depends on neither batch size nor padding.
    """
    model.eval()
    fine = coarse = content = 0.0
    tokens = content_tokens = frames = 0
    entropies: dict[str, float] = {}
    for cpu_batch in validation.batches:
        batch = cpu_batch.to(device)
        with autocast:
            losses = model(batch)
            spread = attention_entropy(model, batch) if frames < ENTROPY_FRAMES else {}
        fine += losses.fine.item()
        coarse += losses.coarse.item() if losses.coarse is not None else 0.0
        content += losses.content.item()
        tokens += losses.tokens
        content_tokens += losses.content_tokens
        if spread:
            frames += len(batch.frames)
        for look, nats in spread.items():
            entropies[look] = entropies.get(look, 0.0) + nats.sum().item()
    model.train()
    row: dict[str, float | None] = {
        "val_loss": fine / tokens,
        "val_loss_fine": fine / tokens,
        "val_loss_coarse": coarse / tokens if coarse else None,
        "val_loss_ratio": coarse / fine if coarse else None,
        "val_loss_content": content / content_tokens if content_tokens else None,
        "val_tokens": tokens,
        "attention_entropy": entropies["coarse"] / frames if "coarse" in entropies else None,
    }
    row.update(
        {f"attention_entropy_{look}": sum_ / frames for look, sum_ in entropies.items() if look != "coarse"}
    )
    return row

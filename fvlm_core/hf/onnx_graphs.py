"""The graphs of an ONNX folder, as modules over the model of the folder that needs no fvlm: tensors in, tensors out.

- `encode`: a frame, uint8 RGB [F, 3, H, W], to keys and values of all layers, each [layers, F, heads, N, head width]
  (foveated), or to visual tokens [F, n, W] (pooled).
- `look` (foveated): queries [F, n, query_dim] and those keys and values to visual tokens [F, n, W] and where they
  looked [F, n, rows, columns].
- `embed`: token ids [B, S] to embeddings [B, S, W].
- `step`: embeddings [B, S, W] and the cache, past keys and values [layers, B, kv heads, P, head width], P from 0, to
  logits of the last position [B, vocabulary], the longer cache and, foveated, the queries [B, S, query_dim] that the
  states ask.

A clip whose frames are watched one by one (`autoregressive`) is encode, look and step in turn; both passes in parallel
(`coarse_fine`) are look with `q_static`, step over all frames, and look again.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvlm_core.hf.standalone.modeling_fvlm import FvlmForConditionalGeneration


class Encode(nn.Module):
    """Frames to keys and values, or to visual tokens."""

    def __init__(self, model: FvlmForConditionalGeneration) -> None:
        super().__init__()
        self.model, self.encoder, self.connector = model, model.vlm.encoder, model.vlm.connector
        self.foveated = model.config.connector["type"] == "foveated"

    def forward(self, frames: Tensor) -> Any:
        """See the module."""
        tokens, kept = self.encoder(self.model.normalise(frames))
        if not self.foveated:
            return self.connector(tokens)
        if not self.connector.deep:  # one attention over the final tokens, by the last layer's projections
            block = self.encoder.dino.encoder.layer[-1]
            normed = block.norm1(tokens)
            states = (block.attention.k_proj(normed), block.attention.v_proj(normed))
            kept = [tuple(one.unflatten(-1, (self.encoder.heads, -1)).transpose(1, 2) for one in states)]
        keys, values = zip(*kept, strict=True)
        return torch.stack(keys), torch.stack(values)


class Look(nn.Module):
    """Queries and kept keys and values to visual tokens, and where they looked."""

    def __init__(self, model: FvlmForConditionalGeneration) -> None:
        super().__init__()
        self.model, self.encoder, self.connector = model, model.vlm.encoder, model.vlm.connector

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """See the module."""
        z: list[Tensor] = []
        gaze: list[Tensor] = []
        for query in self.connector.query_input_proj(queries).unbind(1):
            if self.connector.deep:
                answer, share = self.encoder.look(
                    query, list(zip(keys.unbind(0), values.unbind(0), strict=True))
                )
            else:
                answer, share = self.encoder.attend(query, keys[0], values[0])
                answer = self.encoder.dino.layernorm(answer)
            z.append(answer)
            gaze.append(self.model.on_patches(share))
        tokens = self.connector.dino_to_llm(self.connector.output_proj(torch.stack(z, 1)))
        return tokens * self.connector.scale, torch.stack(gaze, 1)


class Embed(nn.Module):
    """Token ids to embeddings."""

    def __init__(self, model: FvlmForConditionalGeneration) -> None:
        super().__init__()
        self.table = model.vlm.llm.model.embed_tokens

    def forward(self, ids: Tensor) -> Tensor:
        """See the module."""
        return self.table(ids)


class Step(nn.Module):
    """A few positions further, with the cache of those before them."""

    def __init__(self, model: FvlmForConditionalGeneration) -> None:
        super().__init__()
        self.llm, self.connector = model.vlm.llm, model.vlm.connector
        self.foveated = model.config.connector["type"] == "foveated"
        self.eps = model.config.text_config.rms_norm_eps

    def forward(self, embeddings: Tensor, keys: Tensor, values: Tensor) -> Any:
        """See the module."""
        length, past = embeddings.shape[1], keys.shape[3]
        places = torch.arange(length, device=embeddings.device) + past
        rotary = self.llm.model.rotary_emb
        angles = places.float()[:, None] * rotary.inv_freq[None]
        angles = torch.cat([angles, angles], -1)
        rotation = angles.cos() * rotary.attention_scaling, angles.sin() * rotary.attention_scaling
        seen = torch.arange(past + length, device=embeddings.device)[None] <= places[:, None]  # [S, P + S]
        mask = torch.zeros(1, dtype=embeddings.dtype).masked_fill(~seen, -1e9)
        kept: list[tuple[Tensor, Tensor]] = []
        states = embeddings
        for number, block in enumerate(self.llm.model.layers):
            attention, normed = block.self_attn, self._norm(states, block.input_layernorm)
            split = lambda flat, head=attention.head_dim: flat.unflatten(-1, (-1, head)).transpose(1, 2)
            query, key = (
                self._turn(split(one(normed)), rotation) for one in (attention.q_proj, attention.k_proj)
            )
            key = torch.cat([keys[number], key], 2)
            value = torch.cat([values[number], split(attention.v_proj(normed))], 2)
            kept.append((key, value))
            # The heads that share keys and values stand in an axis of their own, so that none is repeated.
            grouped = query.unflatten(1, (key.shape[1], -1))
            scores = grouped @ key[:, :, None].transpose(-1, -2) * attention.head_dim**-0.5 + mask
            read = (scores.softmax(-1) @ value[:, :, None]).flatten(1, 2)
            states = states + attention.o_proj(read.transpose(1, 2).flatten(2))
            states = states + block.mlp(self._norm(states, block.post_attention_layernorm))
        states = self._norm(states, self.llm.model.norm)
        logits = F.linear(states[:, -1], self.llm.lm_head.weight) * self.llm.logit_scale
        stacked = [torch.stack(parts) for parts in zip(*kept, strict=True)]
        return (
            (logits, *stacked, self.connector.llm_to_query(states)) if self.foveated else (logits, *stacked)
        )

    def _norm(self, states: Tensor, norm: Any) -> Tensor:
        return states * torch.rsqrt(states.square().mean(-1, keepdim=True) + self.eps) * norm.weight

    def _turn(self, states: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
        first, second = states.chunk(2, -1)
        return states * rotation[0] + torch.cat([-second, first], -1) * rotation[1]

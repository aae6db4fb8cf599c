"""SmolLM2 and other Llama-architecture models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from attrs import evolve
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fvlm_core.plugin_api import SEEDED, LLMBackend, UsageError, read_weights
from fvlm_smollm2.attention import PackedLengths, attend_causally
from fvlm_smollm2.blocks import Layer, Llama
from fvlm_smollm2.cache import KeyValueCache
from fvlm_smollm2.config import SmolLM2
from fvlm_smollm2.rotary import check_rotary, rotary_table, rotate

_EMBEDDING_STD = 0.14  # the size of SmolLM2's embeddings, and so of the visual tokens beside them


def build(config: SmolLM2, vocabulary: int) -> LlamaBackend:
    """The model with fresh weights; see `LLMBackend`."""
    return LlamaBackend(config, vocabulary)


class LlamaBackend(LLMBackend):
    """A Llama-architecture model. Weight names are transformers': `model.*`, and `lm_head.weight` if it is untied.

    Weights are float32, also when training runs under bf16 autocast: at a learning rate of 1e-5, 92 % of bf16 weights
    would never move.
    """

    def __init__(self, config: SmolLM2, vocabulary: int) -> None:
        super().__init__()
        self.config = config
        self.spec = evolve(config.spec(), vocabulary=vocabulary)
        self._sizes: dict[str, Any] = {**config.sizes(), "vocab_size": vocabulary}
        check_rotary(self._sizes)
        self.model = Llama(self._sizes)
        self.lm_head = None if self.spec.tied else nn.Linear(self.spec.width, vocabulary, bias=False)
        self._rotations: tuple[Tensor, Tensor] | None = None
        if config.weights == SEEDED:
            self._draw()

    def load_weights(self) -> None:
        """The pretrained weights as float32, from the Hugging Face cache or a folder. Raises as `read_weights`, and
        `UsageError` for a head that config.json calls tied and that is not."""
        if self.config.weights == SEEDED:
            return
        from transformers import LlamaForCausalLM

        state = read_weights(self.config.weights, LlamaForCausalLM)
        if self.lm_head is None:
            head = state.pop("lm_head.weight")
            if not torch.equal(head, state["model.embed_tokens.weight"]):
                raise UsageError(
                    f"weights: {self.config.weights}: tie_word_embeddings: config.json says true, and the weights hold "
                    "an lm_head.weight that differs from the embedding; expected false there, or one weight"
                )
        self.load_state_dict(state, assign=True)  # no second copy of the weights

    def our_name(self, name: str) -> str:
        """A stored copy of the tied head is the embedding again; other names are transformers' own."""
        return (
            "llm.model.embed_tokens.weight" if name == "llm.lm_head.weight" and self.lm_head is None else name
        )

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [...] to embeddings [..., W]."""
        return F.embedding(ids, self.model.embed_tokens.weight)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., W] to logits [..., vocabulary]."""
        if self.lm_head is None:
            return F.linear(hidden, self.model.embed_tokens.weight)
        return self.lm_head(hidden)

    def head_weight(self) -> Tensor | None:
        """The embedding's where the head is tied; None of a head with low-rank factors beside it."""
        if self.lm_head is None:
            return self.model.embed_tokens.weight
        return self.lm_head.weight if type(self.lm_head) is nn.Linear else None

    def new_cache(self) -> KeyValueCache:
        """An empty cache for `hidden`."""
        return KeyValueCache()

    def select_rows(self, cache: KeyValueCache, rows: Tensor) -> None:
        """Let a cache go on with these of its rows; see `LLMBackend.select_rows`."""
        cache.select(rows)

    def hidden(
        self,
        embeddings: Tensor,
        *,
        lengths: Sequence[int] | None = None,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Hidden states after the final norm, [R, S, W] to [R, S, W]; see `LLMBackend.hidden`."""
        length = embeddings.shape[1]
        past = cache.length if cache else 0
        samples = PackedLengths.of(lengths, embeddings.device) if lengths is not None else None
        rotation = self._rotation(embeddings, samples, past)
        recompute = self.config.checkpoint_activations and torch.is_grad_enabled() and cache is None
        states = embeddings
        for index, block in enumerate(self.model.blocks):
            if recompute:
                states = checkpoint(
                    self._layer, index, block, states, rotation, samples, None, use_reentrant=False
                )
            else:
                states = self._layer(index, block, states, rotation, samples, cache)
        if cache is not None:
            cache.length += length
        return self.model.norm(states)

    def _layer(
        self,
        index: int,
        block: Layer,
        states: Tensor,
        rotation: tuple[Tensor, Tensor],
        samples: PackedLengths | None,
        cache: KeyValueCache | None,
    ) -> Tensor:
        """One decoder layer, [R, S, W] to [R, S, W]. rotation: cosines and sines. samples: those that share the row."""
        query, key, value = self._before(block, states, rotation)
        if cache is not None:
            key, value = cache.extend(index, key, value)
        attend = attend_causally if samples is None else samples.attend
        return self._after(block, states, attend(query, key, value))

    def _before(
        self, block: Layer, states: Tensor, rotation: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What a layer attends with: query, key and value, [R, heads, S, .]."""
        attention = block.self_attn
        normed = block.input_layernorm(states)
        split = (-1, attention.head_width)
        query = rotate(attention.q_proj(normed).unflatten(-1, split), rotation).transpose(1, 2)
        key = rotate(attention.k_proj(normed).unflatten(-1, split), rotation).transpose(1, 2)
        return query, key, attention.v_proj(normed).unflatten(-1, split).transpose(1, 2)

    def _after(self, block: Layer, states: Tensor, seen: Tensor) -> Tensor:
        """What a layer makes of what was seen, [R, heads, S, .]."""
        states = states + block.self_attn.o_proj(seen.transpose(1, 2).flatten(2))
        return states + block.mlp(block.post_attention_layernorm(states))

    def compile_layers(self) -> None:
        """See `LLMBackend.compile_layers`. Attention stays as it is: the lengths of samples that share a row change."""
        self._before, self._after = torch.compile(self._before), torch.compile(self._after)

    def _rotation(self, like: Tensor, samples: PackedLengths | None, past: int) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the positions, broadcastable to [R, S, heads, head width]."""
        end = samples.longest if samples else past + like.shape[1]
        table = self._rotations
        if (
            table is None
            or len(table[0]) < end
            or table[0].device != like.device
            or table[0].dtype != like.dtype
        ):
            if end > self.spec.positions:
                raise UsageError(
                    f"a sequence of {end:,} positions: the language model was made for {self.spec.positions:,}; "
                    "expected fewer frames, fewer tokens a frame, or less text"
                )
            capacity = min(self.spec.positions, 1 << max(6, (end - 1).bit_length()))
            table = self._rotations = rotary_table(self._sizes, capacity, like)
        if samples is None:
            return table[0][past:end], table[1][past:end]
        cosines, sines = (torch.cat([part[:length] for length in samples.lengths]) for part in table)
        return cosines, sines

    @torch.no_grad()
    def _draw(self) -> None:
        """Fresh weights for training from scratch: every linear map with std 1/sqrt(fan-in)."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
        nn.init.normal_(self.model.embed_tokens.weight, std=_EMBEDDING_STD)

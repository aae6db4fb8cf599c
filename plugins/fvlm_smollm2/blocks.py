"""The layers of a Llama (Touvron et al. 2023) with the names and the order of transformers' `LlamaModel`.

Its classes compute the same, but importing them brings torchvision and scipy along and takes 1.4 s, and their parts are
called otherwise from release to release.
"""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor, nn

from fvlm_core.plugin_api import activation_function
from fvlm_smollm2.rotary import head_width


class Llama(nn.Module):
    """What a Llama is made of: `embed_tokens`, `layers` and `norm`.

    sizes: as `SmolLM2.sizes` gives them. Weights are drawn as transformers draws them, with the same numbers of the
    generator, so that a seed means the same in what is drawn after them.
    """

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(sizes["vocab_size"], sizes["hidden_size"])
        self.layers = nn.ModuleList(Layer(sizes) for _ in range(sizes["num_hidden_layers"]))
        self.norm = _norm(sizes)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        for name, parameter in self.named_parameters():
            if name.endswith(".bias"):
                nn.init.zeros_(parameter)

    @property
    def blocks(self) -> list[Layer]:
        """The layers, first one first."""
        return cast("list[Layer]", list(self.layers))


class Layer(nn.Module):
    """One layer's parts; the backend says how they follow each other."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        self.self_attn = Attention(sizes)
        self.mlp = GatedMLP(sizes)
        self.input_layernorm = _norm(sizes)
        self.post_attention_layernorm = _norm(sizes)


class Attention(nn.Module):
    """The projections of self-attention with grouped keys and values (Ainslie et al. 2023)."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        width, heads, bias = (
            sizes["hidden_size"],
            sizes["num_attention_heads"],
            sizes.get("attention_bias", False),
        )
        kv_heads = sizes.get("num_key_value_heads") or heads
        self.head_width = head_width(sizes)
        self.q_proj = nn.Linear(width, heads * self.head_width, bias=bias)
        self.k_proj = nn.Linear(width, kv_heads * self.head_width, bias=bias)
        self.v_proj = nn.Linear(width, kv_heads * self.head_width, bias=bias)
        self.o_proj = nn.Linear(heads * self.head_width, width, bias=bias)


class GatedMLP(nn.Module):
    """A gated MLP (Shazeer 2020)."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        width, inner, bias = sizes["hidden_size"], sizes["intermediate_size"], sizes.get("mlp_bias", False)
        self.act_fn = activation_function(sizes.get("hidden_act", "silu"))
        self.gate_proj = nn.Linear(width, inner, bias=bias)
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)

    def forward(self, states: Tensor) -> Tensor:
        """[..., W] to [..., W]."""
        return self.down_proj(self.act_fn(self.gate_proj(states)) * self.up_proj(states))


def _norm(sizes: dict[str, Any]) -> nn.RMSNorm:
    """A root-mean-square norm of the residual stream (Zhang and Sennrich 2019)."""
    return nn.RMSNorm(sizes["hidden_size"], eps=sizes.get("rms_norm_eps", 1e-6))

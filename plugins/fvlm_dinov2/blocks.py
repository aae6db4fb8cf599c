"""The layers of DINOv2 (Oquab et al. 2023) with the names and the order of transformers' `Dinov2Model`.

Its classes compute the same, but importing them brings torchvision and scipy along and takes 1.4 s, and their parts are
called otherwise from release to release.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvlm_core.plugin_api import activation_function
from fvlm_dinov2.config import inner_width


class Dinov2(nn.Module):
    """What a DINOv2 is made of: `embeddings`, the layers in `encoder.layer`, and `layernorm`.

    sizes: as `DINOv2.sizes` gives them. Weights are drawn as transformers draws them (every matrix twice), with the
    same numbers of the generator, so that a seed means the same in what is drawn after them.
    """

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        self.embeddings = Embeddings(sizes)
        self.encoder = nn.Module()
        self.encoder.layer = nn.ModuleList(Layer(sizes) for _ in range(sizes["num_hidden_layers"]))
        self.layernorm = _norm(sizes)
        for module in (*self.encoder.modules(), *self.embeddings.modules()):
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.normal_(module.weight, std=0.02)
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.trunc_normal_(self.embeddings.position_embeddings, std=0.02)
        nn.init.trunc_normal_(self.embeddings.cls_token, std=0.02)

    @property
    def layers(self) -> list[Layer]:
        """The layers, first one first."""
        return cast("list[Layer]", list(cast(nn.ModuleList, self.encoder.layer)))


class Embeddings(nn.Module):
    """Frames to the tokens that the first layer reads, the class token first."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        width, patch = sizes["hidden_size"], sizes["patch_size"]
        self.side = sizes["image_size"] // patch
        """Patches along a side of the frames that the position table was made for."""
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        masks = sizes.get("use_mask_token", True)
        self.mask_token = nn.Parameter(torch.zeros(1, width)) if masks else None
        self.patch_embeddings = nn.Module()
        self.patch_embeddings.projection = nn.Conv2d(3, width, kernel_size=patch, stride=patch)
        self.position_embeddings = nn.Parameter(torch.empty(1, self.side**2 + 1, width))
        nn.init.normal_(self.position_embeddings)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [F, 3, H, W] to tokens [F, 1 + patches, D]."""
        projection = cast(nn.Conv2d, self.patch_embeddings.projection)
        patches: Tensor = projection(frames.to(projection.weight.dtype))
        rows, columns = patches.shape[-2:]
        tokens = torch.cat(
            (self.cls_token.expand(len(frames), -1, -1), patches.flatten(2).transpose(1, 2)), 1
        )
        return tokens + self._positions(rows, columns)

    def _positions(self, rows: int, columns: int) -> Tensor:
        """The position table for so many patches: bicubic, without antialias, where it was made for others."""
        table = self.position_embeddings
        if rows == columns == self.side:
            return table
        square = table[:, 1:].unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)
        resized = F.interpolate(square.float(), (rows, columns), mode="bicubic", align_corners=False)
        return torch.cat((table[:, :1], resized.to(table.dtype).flatten(2).transpose(1, 2)), 1)


class Layer(nn.Module):
    """One layer's parts; the encoder says how they follow each other."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        self.norm1 = _norm(sizes)
        self.attention = Attention(sizes)
        self.layer_scale1 = LayerScale(sizes["hidden_size"])
        self.norm2 = _norm(sizes)
        self.mlp = GatedMLP(sizes) if sizes.get("use_swiglu_ffn") else MLP(sizes)
        self.layer_scale2 = LayerScale(sizes["hidden_size"])


class Attention(nn.Module):
    """The projections of self-attention."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        width, bias = sizes["hidden_size"], sizes.get("qkv_bias", True)
        self.q_proj = nn.Linear(width, width, bias=bias)
        self.k_proj = nn.Linear(width, width, bias=bias)
        self.v_proj = nn.Linear(width, width, bias=bias)
        self.o_proj = nn.Linear(width, width)


class LayerScale(nn.Module):
    """A learned factor for each channel (Touvron et al. 2021)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lambda1 = nn.Parameter(torch.ones(width))

    def forward(self, states: Tensor) -> Tensor:
        """[..., D] to [..., D]."""
        return states * self.lambda1


class MLP(nn.Module):
    """Two linear maps and an activation."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        self.activation_fn = activation_function(sizes.get("hidden_act", "gelu"))
        self.fc1 = nn.Linear(sizes["hidden_size"], inner_width(sizes))
        self.fc2 = nn.Linear(inner_width(sizes), sizes["hidden_size"])

    def forward(self, states: Tensor) -> Tensor:
        """[..., D] to [..., D]."""
        return self.fc2(self.activation_fn(self.fc1(states)))


class GatedMLP(nn.Module):
    """SwiGLU (Shazeer 2020), of the giant size."""

    def __init__(self, sizes: dict[str, Any]) -> None:
        super().__init__()
        width, inner = sizes["hidden_size"], inner_width(sizes)
        self.gate_proj = nn.Linear(width, inner)
        self.up_proj = nn.Linear(width, inner)
        self.down_proj = nn.Linear(inner, width)

    def forward(self, states: Tensor) -> Tensor:
        """[..., D] to [..., D]."""
        return self.down_proj(F.silu(self.gate_proj(states)) * self.up_proj(states))


def _norm(sizes: dict[str, Any]) -> nn.LayerNorm:
    """A layer norm of the residual stream."""
    return nn.LayerNorm(sizes["hidden_size"], eps=sizes.get("layer_norm_eps", 1e-6))

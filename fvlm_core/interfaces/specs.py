"""What a component is, known without building it: sizes and needs, in plain numbers. Imports nothing heavy."""

from __future__ import annotations

from typing import Literal

from attrs import field, frozen

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Mode = Literal["coarse_only", "coarse_fine", "autoregressive"]
"""How visual tokens are made: one pass, two parallel passes (training), or frame by frame (true inference)."""


@frozen(kw_only=True)
class EncoderSpec:
    """A vision encoder's sizes.

    width: channels D of every token. image_size: side in pixels of the square frames it takes.
    patch_grid: (rows, columns) of patches. depth: layers L. heads: attention heads of a layer.
    prefix_tokens: tokens before the patches (1 for a lone CLS). mean, std: per-channel normalisation of RGB in [0, 1].
    """

    width: int
    image_size: int
    patch_grid: tuple[int, int]
    depth: int
    heads: int
    prefix_tokens: int = 1
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def patches(self) -> int:
        """Patches of a frame."""
        return self.patch_grid[0] * self.patch_grid[1]

    @property
    def tokens(self) -> int:
        """Tokens N of a frame: the prefix and the patches."""
        return self.prefix_tokens + self.patches


@frozen(kw_only=True)
class LLMSpec:
    """A causal language model's sizes.

    width: channels W of embeddings and hidden states. mlp: inner width of the gated MLP. heads, kv_heads: attention
    heads and key/value heads. vocabulary: rows of the embedding, or None while it waits for a tokenizer made from
    the data. positions: longest sequence. size: the label of tables and plots ("135M"), empty to use the count of
    parameters.
    """

    width: int
    mlp: int
    depth: int
    heads: int
    kv_heads: int
    vocabulary: int | None
    positions: int
    tied: bool = True
    size: str = ""


@frozen(kw_only=True)
class ConnectorSpec:
    """What a connector makes of a frame.

    tokens_per_frame: visual tokens k the LLM reads for each frame. mode: the mode it trains in.
    """

    tokens_per_frame: int
    mode: Mode = field(default="coarse_fine")

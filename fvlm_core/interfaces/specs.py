"""What a component is, known without building it: sizes and needs, in plain numbers. Imports nothing heavy."""

from __future__ import annotations

import warnings

from attrs import Factory, field, frozen
from attrs.validators import ge, matches_re, optional

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Mode = str
"""A way in which a connector makes visual tokens, by the name that the connector gives it (`ConnectorSpec.modes`)."""

_UNDECLARED_MODES = ("coarse_only", "coarse_fine", "autoregressive")
_UNDECLARED_AUXILIARY = ("coarse",)
"""Of a connector that declares none: what all of them had before a connector could declare its own."""

_TAKEN = frozenset({"fine", "ratio", "content", "by_source", "spikes", "tokens", "content_tokens"})
"""Names that no auxiliary loss can have: those of other columns and sums."""


@frozen(kw_only=True)
class EncoderSpec:
    """A vision encoder's sizes.

    width: channels D of every token. image_size: side in pixels of the square frames it takes.
    patch_grid: (rows, columns) of patches. depth: layers L. heads: attention heads of a layer.
    prefix_tokens: tokens before the patches (1 for a lone CLS). mean, std: per-channel normalisation of RGB in [0, 1].

    For the FLOP ledger, which takes the encoder for a ViT: mlp: inner width of a layer's MLP (None: 4 x width).
    gated: whether it is gated (SwiGLU). recompute: whether activations are made again in the backward pass.
    """

    width: int
    image_size: int
    patch_grid: tuple[int, int]
    depth: int
    heads: int
    prefix_tokens: int = 1
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    mlp: int | None = None
    gated: bool = False
    recompute: bool = False

    @property
    def patches(self) -> int:
        """Patches of a frame."""
        return self.patch_grid[0] * self.patch_grid[1]

    @property
    def tokens(self) -> int:
        """Tokens N of a frame: the prefix and the patches."""
        return self.prefix_tokens + self.patches


@frozen(kw_only=True)
class ModalitySpec:
    """What an encoder of another modality than frames takes and makes."""

    modality: str = field(validator=matches_re(r"[a-z][a-z0-9_]*"))
    """Which of a sample's signals it reads: `Signal.modality`, as "audio"."""

    item: tuple[int, ...]
    """Shape of an item, the piece that is encoded by itself: (1600,) for a tenth of a second of sound at 16 kHz."""

    tokens_per_item: int = field(validator=ge(1))
    """Tokens k that the language model reads for each item."""


@frozen(kw_only=True)
class LLMSpec:
    """A causal language model's sizes.

    width: channels W of embeddings and hidden states. mlp: inner width of the gated MLP. heads, kv_heads: attention
    heads and key/value heads. head_width: channels of a head (None: width / heads). vocabulary: rows of the
    embedding, or None while it waits for a tokenizer made from the data. positions: longest sequence. size: the label
    of tables and plots ("135M"), empty to use the count of parameters. recompute: whether activations are made again
    in the backward pass.
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
    head_width: int | None = None
    recompute: bool = False


def _undeclared_modes(spec: ConnectorSpec) -> tuple[Mode, ...]:
    return _UNDECLARED_MODES if spec.mode in _UNDECLARED_MODES else (spec.mode,)


@frozen(kw_only=True)
class ConnectorSpec:
    """What a connector makes of a frame."""

    tokens_per_frame: int
    """Visual tokens k that the LLM reads for each frame."""

    mode: Mode = field(default="coarse_fine")
    """The mode it trains in, and is evaluated in unless somebody asks for another."""

    work: object = field(default=None, eq=False, repr=False)
    """Not read, with a `DeprecationWarning`: what a connector costs is counted off a run of `Connector.connect`."""

    modes: tuple[Mode, ...] = field(default=Factory(_undeclared_modes, takes_self=True))
    """Every mode that it can be asked for (`fvlm eval --mode`), its own among them, in the order in which they are
    shown. The core passes the name to `Connector.connect` and knows nothing else of it."""

    last_frames: int | None = field(default=None, validator=optional(ge(1)))
    """How many frames of a sample it is shown, the last ones; the encoder sees no other. None: all of them."""

    auxiliary: tuple[str, ...] = field(default=_UNDECLARED_AUXILIARY)
    """Names of the further text losses that `VisualTokens.auxiliary` may hold. One called X has the columns `loss_X`
    and `val_loss_X`, empty where a batch comes without it."""

    def shown(self, frames: int) -> int:
        """How many of a sample's frames it is shown."""
        return frames if self.last_frames is None else min(frames, self.last_frames)

    def __attrs_post_init__(self) -> None:
        if self.work is not None:
            text = (
                "ConnectorSpec(work=...) is not read: `Connector.connect` is run to count FLOPs; leave it out"
            )
            warnings.warn(text, DeprecationWarning, stacklevel=3)
        if self.mode not in self.modes:
            raise ValueError(
                f'modes: expected its own among them, "{self.mode}", got {", ".join(self.modes)}'
            )
        for name in self.auxiliary:
            if name in _TAKEN or not name.isidentifier() or self.auxiliary.count(name) > 1:
                raise ValueError(
                    f'auxiliary: "{name}" is no name for a column loss_{name}: expected letters, digits and _, each '
                    f"name once, and none of {', '.join(sorted(_TAKEN))}"
                )


class Work:
    """Stood in `ConnectorSpec.work`, which is not read; so did what has its names beneath."""

    def __init__(self, *stated: object, **more: object) -> None: ...


LLM_WIDTH, LinearMap, Look, VisualPass, TextPass = 0, Work, Work, Work, Work

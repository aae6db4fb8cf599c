"""What a recipe says of a DINOv2 encoder. Imports nothing heavy."""

from __future__ import annotations

from typing import Any

from attrs import evolve, field, fields, frozen, validators

from fvlm_core.plugin_api import (
    ACTIVATION,
    COUNT,
    FLAG,
    POSITIVE,
    PREPROCESSOR,
    SEEDED,
    EncoderSpec,
    Problem,
    Problems,
    architecture,
    check_architecture,
    check_heads,
    check_kinds,
)
from fvlm_dinov2.normalisation import normalisation

_SMALL = 128
"""Width up to which random weights are small enough to rehearse with as they are."""

_positive = validators.optional(validators.ge(1))


@frozen(kw_only=True)
class DINOv2:
    """A DINOv2 encoder.

    weights: a hub id ("facebook/dinov2-small"), a folder, or "seeded" for random weights.
    width, depth, heads: channels, layers and attention heads; needed with seeded weights. Pretrained weights are what
    their `config.json` says; what the recipe or the name of a `dinov2-SIZE` component says must agree with it.
    Frames are normalised as their `preprocessor_config.json` says, where there is one.
    mlp_ratio: inner width of an MLP over `width`. swiglu: the gated MLP of the giant size.
    image_size: side in pixels of the square frames. patch_size: side in pixels of a patch.
    position_size: side in pixels of the frames the position table was made for (518 as published; interpolated to
    `image_size`); by default, with seeded weights, `image_size`.
    checkpoint_activations: recompute each layer in the backward pass instead of keeping its activations.
    """

    weights: str = field(validator=validators.min_len(1))
    width: int | None = field(default=None, validator=_positive)
    depth: int | None = field(default=None, validator=_positive)
    heads: int | None = field(default=None, validator=_positive)
    mlp_ratio: int = field(default=4, validator=validators.ge(1))
    swiglu: bool = False
    image_size: int = field(default=224, validator=validators.ge(1))
    patch_size: int = field(default=14, validator=validators.ge(1))
    position_size: int | None = field(default=None, validator=_positive)
    checkpoint_activations: bool = False

    def __attrs_post_init__(self) -> None:
        if self.weights == SEEDED:
            missing = [name for name in ("width", "depth", "heads") if getattr(self, name) is None]
            if missing:
                raise ValueError(f'{", ".join(missing)}: needed with weights = "{SEEDED}"')
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size: expected a multiple of patch_size = {self.patch_size}, got {self.image_size}; "
                f"nearest: {max(1, round(self.image_size / self.patch_size)) * self.patch_size}"
            )
        if self.width and self.heads and self.width % self.heads:
            raise ValueError(f"width: expected a multiple of heads = {self.heads}, got {self.width}")

    def spec(self) -> EncoderSpec:
        """The encoder's sizes, from the recipe or from `config.json`. Raises `MissingWeights`, `Problems`."""
        sizes = self.sizes()
        side = self.image_size // sizes["patch_size"]
        return EncoderSpec(
            width=sizes["hidden_size"],
            image_size=self.image_size,
            patch_grid=(side, side),
            depth=sizes["num_hidden_layers"],
            heads=sizes["num_attention_heads"],
            mlp=inner_width(sizes),
            gated=sizes.get("use_swiglu_ffn", False),
            recompute=self.checkpoint_activations,
            **self._normalisation(),
        )

    def _normalisation(self) -> dict[str, Any]:
        """Mean and standard deviation of `EncoderSpec`, as pretrained weights say; nothing where they do not."""
        if self.weights == SEEDED:
            return {}
        config = architecture(self.weights, model_type="dinov2", needed=False)
        return normalisation(self.weights, config[PREPROCESSOR]) if PREPROCESSOR in config else {}

    def rehearsal(self) -> DINOv2:
        """A small one for rehearsals: as many heads, 4 channels each; two layers; 3 x 3 patches; random weights."""
        sizes = self.sizes()
        heads, patch = sizes["num_attention_heads"], sizes["patch_size"]
        if self.weights == SEEDED and sizes["hidden_size"] <= _SMALL:
            return self
        return evolve(
            self,
            weights=SEEDED,
            width=4 * heads,
            depth=2,
            heads=heads,
            mlp_ratio=sizes["mlp_ratio"],
            swiglu=sizes["use_swiglu_ffn"],
            image_size=3 * patch,
            patch_size=patch,
            position_size=3 * patch,
        )

    def portable(self) -> dict[str, Any]:
        """What a model folder that needs no fvlm says of this encoder; see `fvlm_core.hf.portable`."""
        return {"type": "dinov2", "config": self.sizes()}

    def sizes(self) -> dict[str, Any]:
        """Arguments of transformers' `Dinov2Config`. Raises `MissingWeights`, `Problems`."""
        stated: dict[str, Any] = {
            "hidden_size": self.width,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.heads,
            "image_size": self.position_size,
            "patch_size": self.patch_size,
        }
        given = {
            **stated,
            "image_size": self.position_size or self.image_size,
            "mlp_ratio": self.mlp_ratio,
            "use_swiglu_ffn": self.swiglu,
        }
        if self.weights == SEEDED:
            return given
        for name, key in _WITH_DEFAULT.items():
            if getattr(self, name) != getattr(fields(DINOv2), name).default:
                stated[key] = getattr(self, name)
        config = architecture(self.weights, model_type="dinov2", needed=None in stated.values())
        if not config:
            return given
        check_kinds(self.weights, config, _KINDS)
        check_architecture(self.weights, config, stated, _FIXED, "dinov2")
        check_heads(self.weights, config)
        if config.get("mlp_ratio", 1) is None:
            text = f"config.json of {self.weights} says null, expected {COUNT[1]}, or no such key"
            raise Problems([Problem(text, key="mlp_ratio")])
        known = {key: value for key, value in config.items() if key in _ARCHITECTURE}
        return {"mlp_ratio": 4, "use_swiglu_ffn": False, **known}


def inner_width(sizes: dict[str, Any]) -> int:
    """Inner width of an MLP; a gated one is narrower by a third, in steps of 8."""
    inner = int(sizes["hidden_size"] * sizes.get("mlp_ratio", 4))
    return (int(inner * 2 / 3) + 7) // 8 * 8 if sizes.get("use_swiglu_ffn") else inner


_ARCHITECTURE = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "image_size", "mlp_ratio", "patch_size"),
    *("use_swiglu_ffn", "layer_norm_eps", "qkv_bias", "hidden_act", "use_mask_token"),
)
"""Keys of `config.json` that decide what the encoder computes."""

_KINDS = {
    **dict.fromkeys(
        ("hidden_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size"), COUNT
    ),
    "mlp_ratio": COUNT,
    "layer_norm_eps": POSITIVE,
    **dict.fromkeys(("use_swiglu_ffn", "qkv_bias", "use_mask_token"), FLAG),
    "hidden_act": ACTIVATION,
}
"""What the values of those keys must be."""

_WITH_DEFAULT = {"mlp_ratio": "mlp_ratio", "swiglu": "use_swiglu_ffn"}
"""Fields that say nothing of pretrained weights while they are at their default, and what `config.json` calls them."""

_FIXED = {
    "num_channels": 3,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "drop_path_rate": 0.0,
    "quantization_config": None,
}
"""Keys that can have only this value: nothing here drops activations, and weights are float32."""

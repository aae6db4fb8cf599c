"""What a recipe says of a timm encoder. Imports nothing heavy."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve, field, frozen, validators

from fvlm_core.plugin_api import SEEDED, EncoderSpec

PRETRAINED = "pretrained"
"""The weights that timm publishes under the model's name, from the Hugging Face cache."""

_SMALL = 128
"""Width up to which random weights are small enough to rehearse with as they are."""

_positive = validators.optional(validators.ge(1))


@frozen(kw_only=True)
class Timm:
    """A vision transformer of timm.

    model: timm's name, with or without a tag ("vit_small_patch14_dinov2.lvd142m", "vit_small_patch16_dinov3").
    weights: "pretrained" for those timm publishes under that name, a folder or a file of safetensors with timm's
    weight names, or "seeded" for random weights.
    image_size: side in pixels of the square frames; positions are interpolated from the model's own size.
    width, depth, heads, patch_size, position_size: in place of the model's own (timm's embed_dim, depth, num_heads,
    patch_size, img_size), for seeded or own weights; position_size is by default `image_size` with seeded weights.
    checkpoint_activations: recompute each layer in the backward pass instead of keeping its activations.
    """

    model: str = field(validator=validators.min_len(1))
    weights: str = field(default=PRETRAINED, validator=validators.min_len(1))
    image_size: int = field(default=224, validator=validators.ge(1))
    width: int | None = field(default=None, validator=_positive)
    depth: int | None = field(default=None, validator=_positive)
    heads: int | None = field(default=None, validator=_positive)
    patch_size: int | None = field(default=None, validator=_positive)
    position_size: int | None = field(default=None, validator=_positive)
    checkpoint_activations: bool = False

    def __attrs_post_init__(self) -> None:
        if self.published:
            for name in ("width", "depth", "heads", "patch_size", "position_size"):
                if getattr(self, name) is not None:
                    raise ValueError(
                        f'{name}: pretrained weights have the sizes of "{self.model}"; '
                        f'with weights = "{SEEDED}" or weights of your own it can be set'
                    )
        if self.width and self.heads and self.width % self.heads:
            raise ValueError(f"width: expected a multiple of heads = {self.heads}, got {self.width}")

    @property
    def published(self) -> bool:
        """Whether the weights are those that timm publishes under the model's name."""
        return self.weights == PRETRAINED

    def spec(self) -> EncoderSpec:
        """The encoder's sizes. Imports timm, whose names and sizes they are. Raises `UsageError`."""
        from fvlm_timm.architecture import spec

        return spec(self)

    def rehearsal(self) -> Timm:
        """A small one for rehearsals: as many heads, 16 channels each; two layers; 3 x 3 patches; random weights.
        Imports timm."""
        spec = self.spec()
        patch = spec.image_size // spec.patch_grid[0]
        if self.weights == SEEDED and spec.width <= _SMALL:
            return self
        small = {"width": 16 * spec.heads, "depth": 2, "heads": spec.heads}
        return evolve(
            self, weights=SEEDED, image_size=3 * patch, patch_size=patch, position_size=None, **small
        )

    def weights_file(self) -> Path | None:
        """Where the weights are; None for seeded ones. Imports timm. Raises `MissingWeights`, `UsageError`."""
        from fvlm_timm.weights import weights_file

        return weights_file(self)

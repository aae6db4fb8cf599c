"""What a recipe says of these connectors. Imports nothing heavy."""

from __future__ import annotations

import math
from typing import Any, Self

from attrs import evolve, field, frozen, validators

from fvlm_core.plugin_api import ConnectorSpec, EncoderSpec, UsageError

MODE = "one_pass"
"""The one way in which all of them make tokens, so that there is nothing to choose."""


def _scale() -> Any:
    return field(default=0.14, validator=[validators.gt(0), validators.lt(math.inf)])


def _spec(tokens: int, last_frames: int | None = None) -> ConnectorSpec:
    return ConnectorSpec(
        tokens_per_frame=tokens, mode=MODE, modes=(MODE,), last_frames=last_frames, auxiliary=()
    )


@frozen(kw_only=True)
class _FewOfThePatches:
    """Settings of a connector that makes `tokens` tokens of at least as many patches."""

    tokens: int = field(default=16, validator=validators.ge(1))
    visual_scale: float = _scale()

    def rehearsal(self, encoder: EncoderSpec) -> Self:
        """For rehearsals: no more tokens than the small encoder has patches."""
        return evolve(self, tokens=min(self.tokens, encoder.patches))

    def spec(self, encoder: EncoderSpec) -> ConnectorSpec:
        """`tokens` a frame. Raises `UsageError` when the encoder has fewer patches."""
        if self.tokens > encoder.patches:
            rows, columns = encoder.patch_grid
            raise UsageError(
                f"tokens: expected at most {encoder.patches}, got {self.tokens}: the encoder sees {rows} x {columns} "
                "patches"
            )
        return _spec(self.tokens)


@frozen(kw_only=True)
class Merge(_FewOfThePatches):
    """The connector that merges patches which are alike.

    tokens: of a frame. visual_scale: factor on visual tokens, the standard deviation of the language model's
    embeddings.
    """


@frozen(kw_only=True)
class Random(_FewOfThePatches):
    """The connector that takes patches at random.

    tokens: of a frame. seed: of the draws. visual_scale: factor on visual tokens, the standard deviation of the
    language model's embeddings.
    """

    seed: int = field(default=0, validator=validators.ge(0))


@frozen(kw_only=True)
class Select(_FewOfThePatches):
    """The connector that takes the patches most like the CLS token.

    tokens: of a frame. visual_scale: factor on visual tokens, the standard deviation of the language model's
    embeddings.
    """

    def spec(self, encoder: EncoderSpec) -> ConnectorSpec:
        """`tokens` a frame. Raises `UsageError` when the encoder has fewer patches, or no CLS token."""
        if not encoder.prefix_tokens:
            raise UsageError(
                'name: "select" compares patches with the CLS token, and this encoder has none; expected an encoder '
                'with one (dinov2), or "pooled", "merge", "perceiver", "random"'
            )
        return super().spec(encoder)


@frozen(kw_only=True)
class Perceiver:
    """The connector whose latent queries look at the tokens of a frame.

    tokens: latent queries, each a visual token of the frame. depth: layers of cross-attention and MLP. heads: of
    attention; None for the encoder's. visual_scale: factor on visual tokens, the standard deviation of the language
    model's embeddings.
    """

    tokens: int = field(default=16, validator=validators.ge(1))
    depth: int = field(default=2, validator=validators.ge(1))
    heads: int | None = field(default=None, validator=validators.optional(validators.ge(1)))
    visual_scale: float = _scale()

    def rehearsal(self, encoder: EncoderSpec) -> Perceiver:
        """For rehearsals: as few queries as the small encoder has patches, and its heads."""
        return evolve(self, tokens=min(self.tokens, encoder.patches), heads=None)

    def spec(self, encoder: EncoderSpec) -> ConnectorSpec:
        """`tokens` a frame. Raises `UsageError` when the heads do not divide the encoder's width."""
        if self.heads is not None and encoder.width % self.heads:
            raise UsageError(
                f"heads: expected a divisor of the encoder's width, {encoder.width}, got {self.heads}"
            )
        return _spec(self.tokens)


@frozen(kw_only=True)
class LastFrames:
    """The connector that sees the last frames alone, and all their patches.

    frames: how many; the others are not encoded. visual_scale: factor on visual tokens, the standard deviation of the
    language model's embeddings.
    """

    frames: int = field(default=4, validator=validators.ge(1))
    visual_scale: float = _scale()

    def spec(self, encoder: EncoderSpec) -> ConnectorSpec:
        """As many tokens a frame as there are patches."""
        return _spec(encoder.patches, self.frames)


@frozen(kw_only=True)
class Convolutional:
    """The connector that makes a token of every square of patches.

    stride: side of a square, in patches; the squares do not overlap. visual_scale: factor on visual tokens, the
    standard deviation of the language model's embeddings.
    """

    stride: int = field(default=2, validator=validators.ge(1))
    visual_scale: float = _scale()

    def rehearsal(self, encoder: EncoderSpec) -> Convolutional:
        """For rehearsals: the largest stride, up to this one, that divides the patches of the small encoder."""
        side = math.gcd(*encoder.patch_grid)
        return evolve(self, stride=max(n for n in range(1, self.stride + 1) if side % n == 0))

    def spec(self, encoder: EncoderSpec) -> ConnectorSpec:
        """A token for every square. Raises `UsageError` when squares do not fill the encoder's patches."""
        rows, columns = encoder.patch_grid
        side = math.gcd(rows, columns)
        if side % self.stride:
            fits = ", ".join(str(n) for n in range(1, side + 1) if side % n == 0)
            raise UsageError(
                f"stride: expected one of {fits}, got {self.stride}: the encoder sees {rows} x {columns} patches, and "
                "none may be left over"
            )
        return _spec(rows * columns // self.stride**2)

"""What a recipe says of the pooled connector. Imports nothing heavy."""

from __future__ import annotations

import math
from typing import Any

from attrs import evolve, field, frozen, validators

from fvlm_core.plugin_api import ConnectorSpec, EncoderSpec, UsageError


@frozen(kw_only=True)
class Pooled:
    """The pooled multi-token connector.

    grid: rows and columns that patches are averaged into; 4 gives 16 tokens a frame, 7 gives 49.
    visual_scale: factor on visual tokens, the standard deviation of the language model's embeddings.
    """

    grid: int = field(default=4, validator=validators.ge(1))
    visual_scale: float = field(default=0.14, validator=[validators.gt(0), validators.lt(math.inf)])

    def rehearsal(self, encoder: EncoderSpec) -> Pooled:
        """For rehearsals: a grid no finer than the patches of the small encoder."""
        return evolve(self, grid=min(self.grid, *encoder.patch_grid))

    def portable(self) -> dict[str, Any]:
        """What a model folder that needs no fvlm says of this connector; see `fvlm_core.hf.portable`."""
        return {"type": "pooled", "grid": self.grid, "visual_scale": self.visual_scale}

    def spec(self, encoder: EncoderSpec) -> ConnectorSpec:
        """grid x grid tokens a frame. Raises `UsageError` when the encoder has fewer patches."""
        rows, columns = encoder.patch_grid
        if self.grid > min(rows, columns):
            raise UsageError(
                f"grid: expected at most {min(rows, columns)}, got {self.grid}: the encoder sees {rows} x {columns} "
                "patches"
            )
        return ConnectorSpec(tokens_per_frame=self.grid**2, mode="coarse_only")

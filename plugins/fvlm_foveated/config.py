"""What a recipe says of the foveated connector. Imports nothing heavy."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

from attrs import evolve, field, frozen, validators

from fvlm_core.plugin_api import ConnectorSpec, EncoderSpec

FoveatedMode = Literal["coarse_only", "coarse_fine", "autoregressive"]
"""How visual tokens are made: one pass, two parallel passes (training), or frame by frame (true inference)."""

_SMALL = 128
"""Width of a query up to which it is small enough to rehearse with as it is."""


@frozen(kw_only=True)
class Foveated:
    """The foveated connector. The defaults are the chosen configuration; each field is one ablation.

    query_dim: width of the queries. queries: looks at a frame, each a visual token. depth: "deep" (the query walks
    every encoder layer) or "shallow". query_bias: a bias in the map from query to encoder (it drowns the query).
    query_init_std: of the learned queries (at .02 attention stays uniform). mode: "coarse_fine" or "coarse_only" to
    train in; evaluation may ask for others. fine_iterations: fine passes, each with queries from the one before.
    lambda_coarse: weight of the coarse pass's own text loss. visual_scale: factor on visual tokens, the standard
    deviation of the language model's embeddings. coarse_share: the probability that training makes do with the coarse
    pass; evaluation never does. mode_choice: who draws: "batch", one draw for a whole optimizer step, or "sample", one
    for each sample, so that almost every step mixes tokens of both kinds and has to run both passes. The draws come
    from the step's seed. The FLOP ledger books the fine pass for every sample all the same.
    """

    query_dim: int = field(default=384, validator=validators.ge(1))
    queries: int = field(default=1, validator=validators.ge(1))
    depth: Literal["deep", "shallow"] = field(default="deep", validator=validators.in_(("deep", "shallow")))
    query_bias: bool = False
    query_init_std: float = field(default=1.0, validator=[validators.gt(0), validators.lt(math.inf)])
    mode: FoveatedMode = field(
        default="coarse_fine", validator=validators.in_(("coarse_fine", "coarse_only"))
    )
    fine_iterations: int = field(default=1, validator=validators.ge(1))
    lambda_coarse: float = field(default=0.0, validator=[validators.ge(0), validators.lt(math.inf)])
    visual_scale: float = field(default=0.14, validator=[validators.gt(0), validators.lt(math.inf)])
    coarse_share: float = field(default=0.0, validator=[validators.ge(0), validators.lt(1)])
    mode_choice: Literal["batch", "sample"] = field(
        default="batch", validator=validators.in_(("batch", "sample"))
    )

    def __attrs_post_init__(self) -> None:
        if self.mode == "coarse_only" and self.lambda_coarse:
            raise ValueError("lambda_coarse: there is no second loss in coarse_only; expected 0")
        if self.coarse_share and (self.mode == "coarse_only" or self.lambda_coarse):
            raise ValueError(
                'coarse_share: it chooses between the modes; expected mode = "coarse_fine" and lambda_coarse = 0'
            )
        if self.mode_choice == "sample" and not self.coarse_share:
            raise ValueError("mode_choice: nothing is chosen with coarse_share = 0; expected a share above 0")

    def rehearsal(self, encoder: EncoderSpec) -> Foveated:
        """A small one for rehearsals: queries a sixteenth as wide, so that other widths stay other ones."""
        return self if self.query_dim <= _SMALL else evolve(self, query_dim=max(4, self.query_dim // 16))

    def portable(self) -> dict[str, Any]:
        """What a model folder that needs no fvlm says of this connector; see `fvlm_core.hf.portable`."""
        names = ("query_dim", "queries", "depth", "query_bias", "mode", "fine_iterations", "visual_scale")
        return {"type": "foveated", **{name: getattr(self, name) for name in names}}

    def spec(self, encoder: EncoderSpec) -> ConnectorSpec:
        """A token for each query, whatever the encoder."""
        return ConnectorSpec(
            tokens_per_frame=self.queries,
            mode=self.mode,
            modes=get_args(FoveatedMode),
            auxiliary=("coarse",),
        )

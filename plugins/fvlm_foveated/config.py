"""What a recipe says of the foveated connector. Imports nothing heavy."""

from __future__ import annotations

from attrs import field, frozen, validators

from fvlm_core.interfaces import ConnectorSpec, EncoderSpec, Mode


@frozen(kw_only=True)
class Foveated:
    """The foveated connector. The defaults are the chosen configuration; each field is one ablation.

    query_dim: width of the queries. depth: "deep" (the query walks every encoder layer) or "shallow".
    query_bias: a bias in the map from query to encoder (it drowns the query). query_init_std: of the two learned
    queries (at .02 attention stays uniform).
    mode: "coarse_fine" or "coarse_only" to train in; evaluation may ask for others.
    fine_iterations: fine passes, each with queries from the one before.
    lambda_coarse: weight of the coarse pass's own text loss. visual_scale: factor on visual tokens, the standard
    deviation of the language model's embeddings.
    """

    query_dim: int = field(default=384, validator=validators.ge(1))
    depth: str = field(default="deep", validator=validators.in_(("deep", "shallow")))
    query_bias: bool = False
    query_init_std: float = field(default=1.0, validator=validators.gt(0))
    mode: Mode = field(default="coarse_fine", validator=validators.in_(("coarse_fine", "coarse_only")))
    fine_iterations: int = field(default=1, validator=validators.ge(1))
    lambda_coarse: float = field(default=0.0, validator=validators.ge(0))
    visual_scale: float = field(default=0.14, validator=validators.gt(0))

    def __attrs_post_init__(self) -> None:
        if self.mode == "coarse_only" and self.lambda_coarse:
            raise ValueError("lambda_coarse: there is no second loss in coarse_only; expected 0")

    def spec(self, encoder: EncoderSpec) -> ConnectorSpec:
        """One token a frame, whatever the encoder."""
        return ConnectorSpec(tokens_per_frame=1, mode=self.mode)

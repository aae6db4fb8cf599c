"""The foveated connector: two passes of query attention, one token a frame."""

from __future__ import annotations

from typing import Any

import torch
from attrs import define, frozen
from torch import Tensor, nn

from fvlm_core.plugin_api import (
    Auxiliary,
    Connector,
    Depth,
    EncoderSpec,
    LLMBackend,
    LLMSpec,
    Mode,
    PatchFeatures,
    VisionEncoder,
    VisualTokens,
)
from fvlm_foveated.config import Foveated
from fvlm_foveated.founding import our_name


def build(config: Foveated, encoder: EncoderSpec, llm: LLMSpec) -> FoveatedConnector:
    """The connector with fresh weights; see `Connector`."""
    return FoveatedConnector(config, encoder, llm)


class FoveatedConnector(Connector):
    """Coarse: the learned `q_static` looks at every frame, the LLM reads those tokens, and its hidden state at frame t
    becomes the query for frame t+1 (frame 0 gets the learned `q_init`). Fine: every frame is looked at again with its
    own query. Text cannot influence visual tokens under a causal mask, so the coarse LLM pass leaves it out.

    Parameters: query_input_proj [query_dim -> D], output_proj [D -> D], dino_to_llm [D -> W],
    llm_to_query [W -> query_dim], q_static and q_init [1, query_dim].
    """

    def __init__(self, config: Foveated, encoder: EncoderSpec, llm: LLMSpec) -> None:
        super().__init__()
        self.config = config
        self.spec = config.spec(encoder)
        self.depth: Depth = config.depth
        self.encoder_tokens = config.depth == "shallow"
        self.encoder_layers = config.depth == "deep"
        self.q_static = nn.Parameter(torch.empty(1, config.query_dim))
        self.q_init = nn.Parameter(torch.empty(1, config.query_dim))
        self.query_input_proj = nn.Linear(config.query_dim, encoder.width, bias=config.query_bias)
        self.output_proj = nn.Linear(encoder.width, encoder.width)
        self.dino_to_llm = nn.Linear(encoder.width, llm.width)
        self.llm_to_query = nn.Linear(llm.width, config.query_dim)
        self._draw()

    def our_name(self, name: str) -> str:
        """Names of the founding project's published checkpoints to ours."""
        return our_name(name)

    def connect(
        self,
        features: PatchFeatures,
        counts: Tensor,
        encoder: VisionEncoder,
        llm: LLMBackend,
        *,
        mode: Mode | None = None,
    ) -> VisualTokens:
        """The visual tokens [F, 1, W] of a batch; see `Connector.connect`.

        diagnostics: z_coarse and z_fine, what the encoder answered [F, D], and the queries of the fine pass
        [F, query_dim]; none for a batch of both modes (`mode_choice`).
        """
        if mode is None and self.training and self.config.coarse_share:
            coarse_samples = self._choose(len(counts))
            if coarse_samples.any() and not coarse_samples.all():
                return self._mixed(coarse_samples, features, counts, encoder, llm)
            mode = "coarse_only" if coarse_samples.all() else "coarse_fine"
        mode = mode or self.spec.mode
        if mode == "autoregressive" and int(counts.sum()):
            return self._autoregressive(features, counts, encoder, llm)
        static = self.q_static.expand(int(counts.sum()), -1)
        z_coarse = self.look(static, features, encoder)
        coarse = self.to_llm(z_coarse)
        if mode == "coarse_only":
            return VisualTokens(coarse[:, None], diagnostics={"z_coarse": z_coarse})
        fine, z_fine, queries = coarse, z_coarse, static
        for _ in range(self.config.fine_iterations):
            queries = self._queries(fine, counts, llm)
            z_fine = self.look(queries, features, encoder)
            fine = self.to_llm(z_fine)
        weight = self.config.lambda_coarse
        auxiliary = [Auxiliary("coarse", weight, coarse[:, None])] if weight else []
        seen = {"z_coarse": z_coarse, "z_fine": z_fine, "queries": queries}
        return VisualTokens(fine[:, None], auxiliary, seen)

    def attention(
        self, features: PatchFeatures, counts: Tensor, encoder: VisionEncoder, llm: LLMBackend
    ) -> dict[str, list[Tensor]]:
        """Where the coarse pass and, unless training is coarse only, the last fine pass look."""
        static = self.q_static.expand(int(counts.sum()), -1)
        looks: dict[str, list[Tensor]] = {"coarse": []}
        z_coarse = self.look(static, features, encoder, looks["coarse"])
        if self.spec.mode == "coarse_fine":
            tokens = self.to_llm(z_coarse)
            for _ in range(self.config.fine_iterations):
                looks["fine"] = []
                queries = self._queries(tokens, counts, llm)
                tokens = self.to_llm(self.look(queries, features, encoder, looks["fine"]))
        return looks

    def stream(self, encoder: VisionEncoder, llm: LLMBackend) -> FoveatedStream:
        """Videos frame by frame; see `FoveatedStream`."""
        return FoveatedStream(self, encoder, llm, llm.new_cache())

    def look(
        self,
        queries: Tensor,
        features: PatchFeatures,
        encoder: VisionEncoder,
        weights: list[Tensor] | None = None,
    ) -> Tensor:
        """Queries [F, query_dim] to what the encoder answers [F, D]."""
        seen = encoder.attend(self.query_input_proj(queries), features, depth=self.depth, weights=weights)
        return self.output_proj(seen)

    def to_llm(self, z: Tensor) -> Tensor:
        """What the encoder answered [F, D] to visual tokens [F, W], in the precision of the weights under autocast too:
        they begin the LLM's residual stream."""
        return (self.dino_to_llm(z) * self.config.visual_scale).to(self.q_init.dtype)

    def _choose(self, samples: int) -> Tensor:
        """Which samples of a batch make do with the coarse pass: bool [B] on the host.

        `torch.initial_seed()` is the seed of the optimizer step, so that all its micro-batches agree; single samples
        draw one after the other. Neither depends on how the step is cut into micro-batches.
        """
        if self.config.mode_choice == "sample":
            return torch.rand(samples) < self.config.coarse_share
        of_step = torch.Generator().manual_seed(torch.initial_seed())
        return (torch.rand(1, generator=of_step) < self.config.coarse_share).expand(samples)

    def _mixed(
        self, coarse: Tensor, features: PatchFeatures, counts: Tensor, encoder: VisionEncoder, llm: LLMBackend
    ) -> VisualTokens:
        """The tokens of the samples that are `coarse` [B] from one pass, those of the others from both."""
        index: list[Tensor] = []
        tokens: list[Tensor] = []
        modes: tuple[tuple[Mode, Tensor], ...] = (("coarse_only", coarse), ("coarse_fine", ~coarse))
        for mode, chosen in modes:
            index.append(chosen.repeat_interleave(counts).nonzero()[:, 0].to(self.q_init.device))
            made = self.connect(features.select(index[-1]), counts[chosen], encoder, llm, mode=mode)
            tokens.append(made.tokens)
        return VisualTokens(torch.cat(tokens).index_select(0, torch.cat(index).argsort()))

    def _queries(self, tokens: Tensor, counts: Tensor, llm: LLMBackend) -> Tensor:
        """The query of every frame [F, query_dim] from the visual tokens [F, W] of the frames before it.

        The LLM reads all frames of a sample but the last, whose hidden state asks for no further frame; all samples in
        one row, for they have as many frames as they have.
        """
        before = (counts - 1).clamp(min=0)  # frames of each sample that have a successor
        first = counts.cumsum(0) - counts
        sample = torch.arange(len(counts)).repeat_interleave(before)
        step = torch.arange(len(sample)) - (before.cumsum(0) - before)[sample]
        source = (first[sample] + step).to(tokens.device, non_blocking=True)
        queries = self.q_init.expand(len(tokens), -1)
        if not len(sample):
            return queries
        states = llm.hidden(tokens.index_select(0, source)[None], lengths=before[before > 0].tolist())[0]
        asked = self.llm_to_query(states)
        return queries.to(asked.dtype).index_copy(0, source + 1, asked)

    def _autoregressive(
        self, features: PatchFeatures, counts: Tensor, encoder: VisionEncoder, llm: LLMBackend
    ) -> VisualTokens:
        """Frame by frame through a `FoveatedStream`, samples in parallel; longer samples first, so that the rows of
        the cache that go on are always the first ones and the cache is never copied."""
        device = self.q_init.device
        order = counts.argsort(descending=True, stable=True)
        first = (counts.cumsum(0) - counts)[order]
        stream = self.stream(encoder, llm)
        steps: list[Fixation] = []
        index: list[Tensor] = []
        for step in range(int(counts.max())):
            index.append((first + step)[counts[order] > step].to(device, non_blocking=True))
            steps.append(stream.look(features.select(index[-1])))
        at = torch.cat(index).argsort()
        gather = lambda name: torch.cat([getattr(step, name) for step in steps]).index_select(0, at)
        seen = {"z_fine": gather("z"), "queries": gather("query")}
        return VisualTokens(gather("token")[:, None], diagnostics=seen)

    @torch.no_grad()
    def _draw(self) -> None:
        """Linear maps with std 1/sqrt(fan-in), so that visual tokens have the size `visual_scale` states; biases 0, but
        for the query's, an ablation that keeps torch's draw, +- 1/sqrt(query_dim), as the founding code had it."""
        nn.init.normal_(self.q_static, std=self.config.query_init_std)
        nn.init.normal_(self.q_init, std=self.config.query_init_std)
        for module in self.children():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=module.in_features**-0.5)
                if module.bias is not None and module is not self.query_input_proj:  # pyright: ignore[reportUnnecessaryComparison]
                    nn.init.zeros_(module.bias)


@frozen(eq=False)
class Fixation:
    """One frame of R streams: the query it was looked at with [R, query_dim], what the encoder answered z [R, D], and
    the visual token [R, W]. `next_query`: the query for the frame after it."""

    query: Tensor
    z: Tensor
    token: Tensor
    next_query: Tensor


@define(eq=False)
class FoveatedStream:
    """R videos watched in step, one frame at a time: true inference, no coarse pass.

    Each frame is looked at with a query from the hidden state of the frame before, itself a fine one. Memory stays
    the same for every frame but for the LLM's cache, to which `llm.hidden(..., cache=stream.cache)` can then add
    text. R may shrink from frame to frame: the first R streams go on.
    """

    connector: FoveatedConnector
    encoder: VisionEncoder
    llm: LLMBackend
    cache: Any
    query: Tensor | None = None

    def push(self, frames: Tensor) -> Fixation:
        """The next frame of every stream: [R, 3, H, W], normalised as for `VisionEncoder.encode`."""
        connector = self.connector
        return self.look(
            self.encoder.encode(frames, tokens=connector.encoder_tokens, layers=connector.encoder_layers)
        )

    def next_tokens(self, frames: Tensor) -> Tensor:
        """The visual tokens [R, 1, W] of the next frame; see `FrameStream`."""
        return self.push(frames).token[:, None]

    def look(self, features: PatchFeatures) -> Fixation:
        """As `push`, for a frame of each stream that is already encoded."""
        connector = self.connector
        streams = _frames(features)
        query = connector.q_init.expand(streams, -1) if self.query is None else self.query[:streams]
        z = connector.look(query, features, self.encoder)
        token = connector.to_llm(z)
        state = self.llm.hidden(token[:, None], cache=self.cache)[:, 0]
        next_query = self.query = connector.llm_to_query(state)
        return Fixation(query, z, token, next_query)


def _frames(features: PatchFeatures) -> int:
    """Frames F of the features."""
    return len(features.tokens) if features.tokens is not None else len(features.layers[0].key)

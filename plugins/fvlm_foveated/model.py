"""The foveated connector: two passes of query attention, one token a frame or a few."""

from __future__ import annotations

from collections.abc import Sequence
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
    Question,
    Reads,
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
    own query. Text after the frames cannot influence visual tokens under a causal mask, so the coarse LLM pass leaves
    it out. A question before them it reads first: the state at its end, as a query, is added to `q_init`.

    With n queries a frame, query j of frame t+1 comes from the hidden state of token j of frame t.

    Parameters: query_input_proj [query_dim -> D], output_proj [D -> D], dino_to_llm [D -> W],
    llm_to_query [W -> query_dim], q_static and q_init [n, query_dim].
    """

    reads: tuple[Reads, ...] = ("question",)

    def __init__(self, config: Foveated, encoder: EncoderSpec, llm: LLMSpec) -> None:
        super().__init__()
        self.config = config
        self.spec = config.spec(encoder)
        self.depth: Depth = config.depth
        self.encoder_tokens = config.depth == "shallow"
        self.encoder_layers = config.depth == "deep"
        self.q_static = nn.Parameter(torch.empty(config.queries, config.query_dim))
        self.q_init = nn.Parameter(torch.empty(config.queries, config.query_dim))
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
        question: Question | None = None,
    ) -> VisualTokens:
        """The visual tokens [F, n, W] of a batch; see `Connector.connect`.

        diagnostics: z_coarse and z_fine, what the encoder answered [F * n, D], and the queries of the fine pass
        [F * n, query_dim]; none for a batch of both modes (`mode_choice`), nor frame by frame after questions of
        several lengths.
        """
        apart: list[tuple[Mode, Tensor]] = []
        if mode is None and self.training and self.config.coarse_share:
            coarse_samples = self._choose(len(counts))
            apart = [("coarse_only", coarse_samples), ("coarse_fine", ~coarse_samples)]
            mode = "coarse_only" if coarse_samples.all() else "coarse_fine"
        mode = mode or self.spec.mode
        if mode == "autoregressive" and question is not None:  # whose cache holds rows of one length
            apart = [(mode, question.lengths == length) for length in question.lengths.unique()]
        if len(apart) > 1 and all(chosen.any() for _, chosen in apart):
            return self._apart(apart, features, counts, encoder, llm, question)
        if mode == "autoregressive" and int(counts.sum()):
            return self._autoregressive(features, counts, encoder, llm, question)
        static = self.each_frame(self.q_static, int(counts.sum()))
        z_coarse = self.look(static, features, encoder)
        coarse = self.to_llm(z_coarse)
        if mode == "coarse_only":
            return VisualTokens(self.by_frame(coarse), diagnostics={"z_coarse": z_coarse})
        fine, z_fine, queries = coarse, z_coarse, static
        for _ in range(self.config.fine_iterations):
            queries = self._queries(fine, counts, llm, question)
            z_fine = self.look(queries, features, encoder)
            fine = self.to_llm(z_fine)
        weight = self.config.lambda_coarse
        auxiliary = [Auxiliary("coarse", weight, self.by_frame(coarse))] if weight else []
        seen = {"z_coarse": z_coarse, "z_fine": z_fine, "queries": queries}
        return VisualTokens(self.by_frame(fine), auxiliary, seen)

    def attention(
        self,
        features: PatchFeatures,
        counts: Tensor,
        encoder: VisionEncoder,
        llm: LLMBackend,
        *,
        question: Question | None = None,
    ) -> dict[str, list[Tensor]]:
        """Where the coarse pass and, unless training is coarse only, the last fine pass look: each query in turn."""
        static = self.each_frame(self.q_static, int(counts.sum()))
        looks: dict[str, list[Tensor]] = {"coarse": []}
        z_coarse = self.look(static, features, encoder, looks["coarse"])
        if self.spec.mode == "coarse_fine":
            tokens = self.to_llm(z_coarse)
            for _ in range(self.config.fine_iterations):
                looks["fine"] = []
                queries = self._queries(tokens, counts, llm, question)
                tokens = self.to_llm(self.look(queries, features, encoder, looks["fine"]))
        return looks

    def stream(
        self, encoder: VisionEncoder, llm: LLMBackend, *, question: Tensor | None = None
    ) -> FoveatedStream:
        """Videos frame by frame; see `FoveatedStream`. question: [R, Q, W], what is asked of each; None: nothing."""
        made = FoveatedStream(self, encoder, llm, llm.new_cache())
        if question is not None and question.shape[1]:
            made.ask(question)
        return made

    def look(
        self,
        queries: Tensor,
        features: PatchFeatures,
        encoder: VisionEncoder,
        weights: list[Tensor] | None = None,
    ) -> Tensor:
        """Queries [F * n, query_dim] to what the encoder answers [F * n, D]; those of a frame one after the other."""
        asked = self.by_frame(self.query_input_proj(queries)).unbind(1)
        seen = [encoder.attend(each, features, depth=self.depth, weights=weights) for each in asked]
        return self.output_proj(torch.stack(seen, 1).flatten(0, 1))

    def to_llm(self, z: Tensor) -> Tensor:
        """What the encoder answered [F * n, D] to visual tokens [F * n, W], in the precision of the weights under
        autocast too: they begin the LLM's residual stream."""
        return (self.dino_to_llm(z) * self.config.visual_scale).to(self.q_init.dtype)

    def by_frame(self, rows: Tensor) -> Tensor:
        """[F * n, ...] to [F, n, ...]."""
        return rows.unflatten(0, (-1, self.config.queries))

    def each_frame(self, queries: Tensor, frames: int) -> Tensor:
        """The same n queries for every frame: [F * n, query_dim]."""
        return queries.expand(frames, -1, -1).flatten(0, 1)

    def _choose(self, samples: int) -> Tensor:
        """Which samples of a batch make do with the coarse pass: bool [B] on the host.

        `torch.initial_seed()` is the seed of the optimizer step, so that all its micro-batches agree; single samples
        draw one after the other. Neither depends on how the step is cut into micro-batches.
        """
        if self.config.mode_choice == "sample":
            return torch.rand(samples) < self.config.coarse_share
        of_step = torch.Generator().manual_seed(torch.initial_seed())
        return (torch.rand(1, generator=of_step) < self.config.coarse_share).expand(samples)

    def _apart(
        self,
        parts: Sequence[tuple[Mode, Tensor]],
        features: PatchFeatures,
        counts: Tensor,
        encoder: VisionEncoder,
        llm: LLMBackend,
        question: Question | None,
    ) -> VisualTokens:
        """The tokens of a batch in parts: a mode, and which samples [B] are made in it."""
        index: list[Tensor] = []
        tokens: list[Tensor] = []
        for mode, chosen in parts:
            index.append(chosen.repeat_interleave(counts).nonzero()[:, 0].to(self.q_init.device))
            asked = question and question.select(chosen)
            made = self.connect(
                features.select(index[-1]), counts[chosen], encoder, llm, mode=mode, question=asked
            )
            tokens.append(made.tokens)
        return VisualTokens(torch.cat(tokens).index_select(0, torch.cat(index).argsort()))

    def _queries(self, tokens: Tensor, counts: Tensor, llm: LLMBackend, question: Question | None) -> Tensor:
        """The queries of every frame [F * n, query_dim] from the visual tokens [F * n, W] of the frames before it, and
        from the question.

        The LLM reads the question, and all frames of a sample but the last, whose hidden states ask for no further
        frame; all samples in one row, for they have as many frames as they have.
        """
        n = self.config.queries
        asked = torch.zeros_like(counts) if question is None else question.lengths * (counts > 0)
        before = n * (counts - 1).clamp(min=0)  # tokens of each sample whose frames have a successor
        read = asked + before
        sample = torch.arange(len(counts)).repeat_interleave(read)
        step = (
            torch.arange(len(sample)) - (read.cumsum(0) - read)[sample] - asked[sample]
        )  # < 0 in the question
        queries = self.each_frame(self.q_init, len(tokens) // n)
        if not len(sample):
            return queries
        move = lambda index: index.to(tokens.device, non_blocking=True)
        first = n * (counts.cumsum(0) - counts)
        source = first[sample] + step
        if question is not None:  # stands behind the visual tokens in what is taken from
            ends = len(tokens) + question.lengths.cumsum(0)
            source = torch.where(step < 0, ends[sample] + step, source)
            tokens = torch.cat([tokens, question.embeddings.to(tokens.dtype)])
        states = llm.hidden(tokens.index_select(0, move(source))[None], lengths=read[read > 0].tolist())[0]
        following, opening = (step >= 0).nonzero()[:, 0], (step == -1).nonzero()[:, 0]
        found = self.llm_to_query(states if question is None else states.index_select(0, move(following)))
        queries = queries.to(found.dtype).index_copy(0, move(source[following] + n), found)
        if not len(opening):
            return queries
        places = (first[sample[opening]][:, None] + torch.arange(n)).flatten()
        added = self.llm_to_query(states.index_select(0, move(opening))).repeat_interleave(n, 0)
        return queries.index_add(0, move(places), added.to(queries.dtype))

    def _autoregressive(
        self,
        features: PatchFeatures,
        counts: Tensor,
        encoder: VisionEncoder,
        llm: LLMBackend,
        question: Question | None,
    ) -> VisualTokens:
        """Frame by frame through a `FoveatedStream`, samples in parallel; longer samples first, so that the rows of
        the cache that go on are always the first ones and the cache is never copied. Questions are of one length."""
        device = self.q_init.device
        order = counts.argsort(descending=True, stable=True)
        first = (counts.cumsum(0) - counts)[order]
        asked = None
        if question is not None:
            rows = order[: int((counts > 0).sum())].to(device, non_blocking=True)
            asked = question.embeddings.unflatten(0, (len(counts), -1)).index_select(0, rows)
        stream = self.stream(encoder, llm, question=asked)
        steps: list[Fixation] = []
        index: list[Tensor] = []
        for step in range(int(counts.max())):
            index.append((first + step)[counts[order] > step].to(device, non_blocking=True))
            steps.append(stream.look(features.select(index[-1])))
        at = torch.cat(index).argsort()
        gather = lambda name: self.by_frame(torch.cat([getattr(step, name) for step in steps])).index_select(
            0, at
        )
        seen = {"z_fine": gather("z").flatten(0, 1), "queries": gather("query").flatten(0, 1)}
        return VisualTokens(gather("token"), diagnostics=seen)

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
    """One frame of R streams: the queries it was looked at with [R * n, query_dim], what the encoder answered z
    [R * n, D], and the visual tokens [R * n, W]. `next_query`: the queries for the frame after it."""

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

    def ask(self, question: Tensor) -> None:
        """Read what is asked of each stream, [R, Q, W], before the first frame."""
        state = self.llm.hidden(question, cache=self.cache)[:, -1:]
        self.query = (self.connector.q_init + self.connector.llm_to_query(state)).flatten(0, 1)

    def push(self, frames: Tensor) -> Fixation:
        """The next frame of every stream: [R, 3, H, W], normalised as for `VisionEncoder.encode`."""
        connector = self.connector
        return self.look(
            self.encoder.encode(frames, tokens=connector.encoder_tokens, layers=connector.encoder_layers)
        )

    def next_tokens(self, frames: Tensor) -> Tensor:
        """The visual tokens [R, n, W] of the next frame; see `FrameStream`."""
        return self.connector.by_frame(self.push(frames).token)

    def look(self, features: PatchFeatures) -> Fixation:
        """As `push`, for a frame of each stream that is already encoded."""
        connector = self.connector
        rows = _frames(features) * connector.config.queries
        query = (
            connector.each_frame(connector.q_init, _frames(features))
            if self.query is None
            else self.query[:rows]
        )
        z = connector.look(query, features, self.encoder)
        token = connector.to_llm(z)
        state = self.llm.hidden(connector.by_frame(token), cache=self.cache).flatten(0, 1)
        next_query = self.query = connector.llm_to_query(state)
        return Fixation(query, z, token, next_query)


def _frames(features: PatchFeatures) -> int:
    """Frames F of the features."""
    return len(features.tokens) if features.tokens is not None else len(features.layers[0].key)

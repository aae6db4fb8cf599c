"""What a connector does in training, found by running it: nothing is declared, so any connector is counted.

`connect` runs on the meta device, without memory, between stand-ins for encoder and language model. They note what
they are asked for and compute nothing; what is left to count is the connector's own. One backward pass then says which
calls a gradient reaches. Whole models are not run: forward and backward of a large one take seconds even so.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from math import ceil
from typing import Any

import torch
from attrs import define, field
from torch import Tensor, nn

from fvlm_core.data.lengths import SampleLengths
from fvlm_core.interfaces.connector import Connector
from fvlm_core.interfaces.encoder import Depth, KeyValue, PatchFeatures, VisionEncoder
from fvlm_core.interfaces.llm import LLMBackend
from fvlm_core.interfaces.specs import EncoderSpec, LLMSpec
from fvlm_core.model.build import connector_on_meta, specs
from fvlm_core.planning.flop_counter import Flops
from fvlm_core.planning.flops import Call, ConnectorTrace
from fvlm_core.recipes.schema import Model


@define
class Tracer:
    """Runs a connector between partners of these sizes, once for each number of frames and what is frozen."""

    encoder: EncoderSpec
    connector: Connector
    llm: LLMSpec
    known: dict[Any, ConnectorTrace] = field(factory=dict[Any, ConnectorTrace], init=False)

    @classmethod
    def of(cls, model: Model, vocabulary: int) -> Tracer:
        """Of what a recipe says."""
        encoder, llm = specs(model, vocabulary)
        return cls(encoder, connector_on_meta(model, vocabulary), llm)

    def trace(self, frames: int, frozen: Collection[str] = (), *, auxiliary: bool = True) -> ConnectorTrace:
        """A training step of a sample of so many frames. frozen: components that do not train. auxiliary: whether
        auxiliary losses count."""
        key = (frames, frozenset(frozen), auxiliary)
        if key not in self.known:
            self.known[key] = self._trace(*key)
        return self.known[key]

    def longest(self, samples: Collection[SampleLengths], frozen: Collection[str]) -> ConnectorTrace:
        """A step of the longest of some samples, which has two frames at least, so that all passes are there."""
        return self.trace(max(2, *(sample.frames for sample in samples)), frozen)

    def _trace(self, frames: int, frozen: frozenset[str], auxiliary: bool) -> ConnectorTrace:
        calls: list[Call] = []
        encoder = _Encoder(self.encoder, "encoder" not in frozen, calls)
        llm = _LLM(self.llm, "llm" not in frozen, calls)
        connector = deepcopy(self.connector).to("meta")
        if "connector" in frozen:
            connector.requires_grad_(False)
        spec, texts = connector.spec, [("", not {"encoder", "connector"} <= frozen)]
        forward, backward, read, problem = 0, 0, 0, ""
        try:
            with torch.enable_grad(), Flops() as counter:
                pictures = torch.empty(frames, device="meta")
                read_of = {"tokens": connector.encoder_tokens, "layers": connector.encoder_layers}
                features = encoder.encode(pictures, **read_of)
                made = connector.connect(features, torch.tensor([frames]), encoder, llm, mode=spec.mode)
                every = [(one.name, one.tokens) for one in made.auxiliary if auxiliary] + [("", made.tokens)]
                texts = [(name, tokens.requires_grad) for name, tokens in every]
                forward = counter.total
                read = sum(shape[-1] * ceil(shape[:-1].numel() / max(1, frames)) for shape in counter.read)
                learnt = [tokens for _, tokens in every if tokens.requires_grad]
                torch.autograd.backward(learnt, [torch.empty_like(tokens) for tokens in learnt])
                backward = counter.total - forward
        except Exception as error:  # a plugin's, whatever it is: what it costs is not known then
            problem = f"{type(error).__name__}: {error}"
            calls[1:], forward, read = [], 0, 0
        return ConnectorTrace(
            frames=frames,
            tokens_per_frame=spec.tokens_per_frame,
            patches_read=connector.encoder_tokens,
            frozen=frozen,
            calls=tuple(calls),
            texts=tuple(texts),
            forward=forward,
            backward=backward,
            read=read,
            problem=problem,
        )


class _Answer(torch.autograd.Function):
    """Gives a tensor of a shape; its backward pass notes which gradients it was asked for.

    inputs: what goes in, weights, and what else gets gradients.
    """

    @staticmethod
    def forward(ctx: Any, call: Call, shape: Sequence[int], *inputs: Tensor) -> Tensor:
        ctx.call, ctx.shapes = call, [each.shape for each in inputs]
        return inputs[0].new_empty(tuple(shape))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        needed = ctx.needs_input_grad[2:]
        ctx.call.live, ctx.call.trains = needed[:2]
        return (
            None,
            None,
            *(grads[0].new_empty(s) if n else None for s, n in zip(ctx.shapes, needed, strict=True)),
        )


class _Encoder(VisionEncoder):
    def __init__(self, spec: EncoderSpec, trains: bool, calls: list[Call]) -> None:
        super().__init__()
        self.spec, self.calls = spec, calls
        self.weight = nn.Parameter(torch.empty(1, device="meta"), requires_grad=trains)

    def encode(self, frames: Tensor, *, tokens: bool = True, layers: bool = True) -> PatchFeatures:
        spec, count, call = self.spec, len(frames), Call("patches", len(frames))
        self.calls.append(call)
        shapes = [
            (count, spec.tokens, spec.width),
            (count, spec.heads, spec.tokens, spec.width // spec.heads),
        ]
        seen, kept = (_Answer.apply(call, shape, frames, self.weight) for shape in shapes)
        return PatchFeatures(
            seen if tokens else None, (KeyValue(kept, kept),) * (spec.depth if layers else 0)
        )

    def attend(
        self,
        query: Tensor,
        features: PatchFeatures,
        *,
        depth: Depth = "deep",
        weights: list[Tensor] | None = None,
    ) -> Tensor:
        spec, call = self.spec, Call(depth, len(query))
        self.calls.append(call)
        seen = features.tokens if depth == "shallow" else features.layers[0].key
        inputs, share = (query, self.weight, seen), (len(query), spec.heads, spec.tokens)
        if weights is not None:
            weights += [
                _Answer.apply(call, share, *inputs) for _ in range(spec.depth if depth == "deep" else 1)
            ]
        return _Answer.apply(call, query.shape, *inputs)


class _LLM(LLMBackend):
    def __init__(self, spec: LLMSpec, trains: bool, calls: list[Call]) -> None:
        super().__init__()
        self.spec, self.calls = spec, calls
        table = torch.empty(spec.vocabulary or 0, spec.width, device="meta")
        self.words = nn.Parameter(table, requires_grad=trains)

    def embed(self, ids: Tensor) -> Tensor:
        return self.words[ids]

    def hidden(
        self, embeddings: Tensor, *, lengths: Sequence[int] | None = None, cache: list[int] | None = None
    ) -> Tensor:
        rows, length, _ = embeddings.shape
        each, past = lengths or [length] * rows, sum(cache or ())
        pairs, masked = sum(n * (past + n) for n in each), sum(n * (n - 1) // 2 for n in each)
        self.calls.append(Call("hidden", sum(each), pairs, masked))
        if cache is not None:
            cache.append(length)
        return _Answer.apply(self.calls[-1], embeddings.shape, embeddings, self.words)

    def new_cache(self) -> list[int]:
        return []

    def logits(self, hidden: Tensor) -> Tensor:
        return hidden @ self.words.mT

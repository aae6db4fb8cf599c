"""What a connector does in training, found by running it: nothing is declared, so any connector is counted.

`connect` runs on the meta device, without memory, between stand-ins for encoder and language model. They note what
they are asked for and compute nothing; what is left to count is the connector's own. One backward pass then says which
calls a gradient reaches. Whole models are not run: forward and backward of a large one take seconds even so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from functools import partial
from math import ceil
from typing import Any

import torch
from attrs import define, field
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fvlm_core.data.lengths import SampleLengths
from fvlm_core.interfaces.connector import Connector, Question
from fvlm_core.interfaces.encoder import Depth, KeyValue, PatchFeatures, VisionEncoder
from fvlm_core.interfaces.llm import LLMBackend
from fvlm_core.interfaces.specs import EncoderSpec, LLMSpec
from fvlm_core.model.build import build_part, compose, part_maker, specs
from fvlm_core.model.lora import adapt
from fvlm_core.model.vlm import VLM
from fvlm_core.planning.flop_counter import Flops
from fvlm_core.planning.flops import AdaptedEncoder, AdaptedLLM, Call, ConnectorTrace
from fvlm_core.planning.lora_flops import adapted_encoder, adapted_llm
from fvlm_core.recipes.parametrisation import LoRA
from fvlm_core.recipes.schema import Model


@define
class Tracer:
    """Runs a connector between partners of these sizes, once for each number of frames and what is frozen.

    adapted: what encoder and language model cost where they have LoRA's factors. question_first: of the model.
    """

    encoder: EncoderSpec
    connector: Connector
    llm: LLMSpec
    adapted: tuple[AdaptedEncoder | None, AdaptedLLM | None] = (None, None)
    question_first: bool = False
    known: dict[Any, ConnectorTrace] = field(factory=dict[Any, ConnectorTrace], init=False)

    @classmethod
    def of(cls, model: Model, vocabulary: int, lora: LoRA | None = None) -> Tracer:
        """Of what a recipe says; of the same a second time, with what it has found by then."""
        encoder, llm = specs(model, vocabulary)
        what = (encoder, llm, model.connector, part_maker("connector", model.connector), model.question_first)
        vlm = None if lora is None else on_meta(model, vocabulary, lora)
        weights = [] if vlm is None else [(n, p.shape, p.requires_grad) for n, p in vlm.named_parameters()]
        for before, tracer in _KEPT:
            if before == (what, lora, weights):
                return tracer
        if vlm is not None:
            made = cls.of_model(vlm)
        else:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                connector = build_part("connector", model.connector, encoder, llm)
            made = cls(encoder, connector, llm, question_first=model.question_first)
        _KEPT.append(((what, lora, weights), made))
        return made

    @classmethod
    def of_model(cls, vlm: VLM) -> Tracer:
        """Of a model on the meta device, LoRA's factors included."""
        adapted = adapted_encoder(vlm), adapted_llm(vlm)
        return cls(vlm.encoder.spec, vlm.connector, vlm.llm.spec, adapted, vlm.question_first)

    def trace(
        self, frames: int, frozen: Collection[str] = (), *, auxiliary: bool = True, question: int = 0
    ) -> ConnectorTrace:
        """A training step of a sample of so many frames. frozen: components that do not train. auxiliary: whether
        auxiliary losses count. question: tokens of it, which a connector may read where they come first."""
        asks = self.question_first and "question" in self.connector.reads
        shown = self.connector.spec.shown(frames)
        key = (shown, frozenset(frozen), auxiliary, question if asks else 0)
        if key not in self.known:
            self.known[key] = self._trace(*key)
        return self.known[key]

    def longest(self, samples: Collection[SampleLengths], frozen: Collection[str]) -> ConnectorTrace:
        """A step of the longest of some samples, which has two frames at least, so that all passes are there."""
        asked = max(sample.question for sample in samples)
        return self.trace(max(2, *(sample.frames for sample in samples)), frozen, question=asked)

    def _trace(self, frames: int, frozen: frozenset[str], auxiliary: bool, question: int) -> ConnectorTrace:
        calls: list[Call] = []
        encoder = _Encoder(self.encoder, "encoder" not in frozen, calls)
        llm = _LLM(self.llm, "llm" not in frozen, calls)
        connector = deepcopy(self.connector).to("meta")
        if "connector" in frozen:
            connector.requires_grad_(False)
        spec, tokens, counts = connector.spec, connector.encoder_tokens, torch.tensor([frames])
        eye, speaker = self.adapted
        made = partial(
            ConnectorTrace,
            frames,
            spec.tokens_per_frame,
            tokens,
            frozen,
            encoder=eye,
            llm=speaker,
            last_frames=spec.last_frames,
        )
        read: dict[str, Any] = (
            {"keys": torch.zeros(1, dtype=torch.int64)} if "keys" in connector.reads else {}
        )
        if question:
            ids = torch.empty(question, dtype=torch.int64, device="meta")
            read["question"] = Question(llm.embed(ids), torch.tensor([question]))
        try:
            with torch.random.fork_rng(devices=[]), torch.enable_grad(), Flops() as counter:
                pictures = torch.empty(frames, device="meta")
                features = encoder.encode(pictures, tokens=tokens, layers=connector.encoder_layers)
                visual = connector.connect(features, counts, encoder, llm, mode=spec.mode, **read)
                every = [(one.name, one.tokens) for one in visual.auxiliary if auxiliary]
                every.append(("", visual.tokens))
                texts = tuple((name, tokens.requires_grad) for name, tokens in every)
                forward = counter.total
                numbers = sum(shape[-1] * ceil(shape[:-1].numel() / max(1, frames)) for shape in counter.read)
                learnt = [tokens for _, tokens in every if tokens.requires_grad]
                torch.autograd.backward(learnt, [torch.empty_like(tokens) for tokens in learnt])
        except Exception as error:  # a plugin's, whatever it is: what it costs is not known then
            patches = Call("patches", frames, trains="encoder" not in frozen)
            text = ("", not {"encoder", "connector"} <= frozen)
            return made((patches,), (text,), 0, 0, 0, f"{type(error).__name__}: {error}")
        return made(tuple(calls), texts, forward, counter.total - forward, numbers)


_KEPT = deque[tuple[Any, Tracer]](maxlen=16)
"""Of the latest recipes: the runs of a grid are of few models, and running a connector takes 0.1 s a run, with LoRA's
factors 0.4."""


def on_meta(model: Model, vocabulary: int, lora: LoRA | None) -> VLM:
    """The model of a recipe without memory, with LoRA's factors."""
    with torch.device("meta"), _Undrawn():
        vlm = compose(model, vocabulary, 0, weights=False)
        adapt(vlm, lora, 0)
    return vlm


class _Undrawn(TorchFunctionMode):
    """Nothing is drawn into weights without memory, for which torch has a slow way of its own: .1 s of 42 layers."""

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_) or getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


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
        ctx.call.live, ctx.call.trains = ctx.needs_input_grad[2:4]
        return None, None, *(grads[0].new_empty(shape) for shape in ctx.shapes)


class _Encoder(VisionEncoder):
    def __init__(self, spec: EncoderSpec, trains: bool, calls: list[Call]) -> None:
        super().__init__()
        self.spec, self.calls = spec, calls
        self.weight = nn.Parameter(torch.empty(1, device="meta"), requires_grad=trains)

    def encode(self, frames: Tensor, *, tokens: bool = True, layers: bool = True) -> PatchFeatures:
        spec, call = self.spec, Call("patches", len(frames))
        self.calls.append(call)
        heads = (call.rows, spec.heads, spec.tokens, spec.width // spec.heads)
        shapes = ((call.rows, spec.tokens, spec.width), heads)
        seen, kept = (_Answer.apply(call, shape, frames, self.weight) for shape in shapes)
        every = (KeyValue(kept, kept),) * spec.depth
        return PatchFeatures(seen if tokens else None, every if layers else ())

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
        inputs, share = (query, self.weight, seen), (call.rows, spec.heads, spec.tokens)
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

"""What a connector promises; see `Connector`. It is tried between a small encoder and a small language model."""

from __future__ import annotations

from copy import deepcopy
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fvlm_core.interfaces.connector import Auxiliary, Connector, FrameStream, Question, VisualTokens
from fvlm_core.interfaces.encoder import PatchFeatures
from fvlm_core.interfaces.specs import ConnectorSpec, Mode
from fvlm_core.planning.connector_trace import Tracer
from fvlm_core.testing.encoder import noise
from fvlm_core.testing.finding import Promise, expect, promises, skip
from fvlm_core.testing.modules import (
    check_apart,
    check_close,
    check_gradients,
    check_meta,
    check_probabilities,
    check_seeds,
    check_shape,
    seeded,
)
from fvlm_core.testing.partners import Ear, Iris, ear_spec, iris_spec
from fvlm_core.testing.subject import ComponentUnderTest

PROMISES: list[Promise] = []
COUNTS = (3, 0, 1, 2)
"""Frames of each sample; the second one is text."""


class Bridge:
    """The connector under test with its partners, and the visual tokens of a batch."""

    def __init__(self, subject: ComponentUnderTest) -> None:
        self.component = subject.component
        self.config = subject.config
        self.target = subject.load()
        self.encoder = seeded(Iris, 7)
        self.llm = seeded(Ear, 8)

    def build(self) -> Any:
        """Another one, with weights from the generator as it stands."""
        return self.target(self.config, iris_spec(), ear_spec())

    @cached_property
    def module(self) -> Any:
        """With the weights of seed 1."""
        return seeded(self.build, 1)

    def features(self, frames: int = sum(COUNTS), first: int = 0) -> PatchFeatures:
        """Features of frames, made of what the connector says it reads and nothing else."""
        side = iris_spec().image_size
        pictures = noise(sum(COUNTS), 3, side, side)[first : first + frames]
        read = {"tokens": self.module.encoder_tokens, "layers": self.module.encoder_layers}
        return self.encoder.encode(pictures, **read)

    def connect(
        self, counts: tuple[int, ...] = COUNTS, first: int = 0, mode: Mode | None = None
    ) -> VisualTokens:
        """The visual tokens of a batch whose frames begin at `first`."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            features = self.features(sum(counts), first)
            return self.module.connect(features, torch.tensor(counts), self.encoder, self.llm, mode=mode)

    @cached_property
    def tokens(self) -> Tensor:
        """Of the whole batch, without a graph."""
        with torch.no_grad():
            found: Any = self.connect().tokens
        if not isinstance(found, Tensor) or found.ndim != 3:
            skip("there are no tokens [F, k, W]")
        return found


def prepare(subject: ComponentUnderTest) -> Bridge:
    """The connector under test."""
    return Bridge(subject)


@promises(PROMISES, "its config states what it makes", Connector, "`spec(encoder: EncoderSpec)")
def _spec(bridge: Bridge) -> None:
    found = bridge.config.spec(iris_spec())
    expect(isinstance(found, ConnectorSpec), f"config.spec(encoder) gives {found!r}")


@promises(PROMISES, "build(config, encoder, llm) makes a connector", Connector, "The component's target is")
def _build(bridge: Bridge) -> None:
    made = bridge.module
    expect(isinstance(made, Connector), f"{bridge.component.target} makes a {type(made).__name__}")
    stated = bridge.config.spec(iris_spec())
    expect(made.spec == stated, f"its spec is {made.spec}; config.spec(encoder) says {stated}")


@promises(PROMISES, "the seed decides the weights", Connector, "It makes its weights as")
def _seeds(bridge: Bridge) -> None:
    check_seeds(bridge.build)


@promises(PROMISES, "it can be made without memory", Connector, "It makes its weights as")
def _meta(bridge: Bridge) -> None:
    check_meta(bridge.build)


@promises(PROMISES, "visual tokens have the stated shape", VisualTokens, "tokens: [F, k, W]")
def _tokens(bridge: Bridge) -> None:
    with torch.no_grad():
        found: Any = bridge.connect()
    expect(isinstance(found, VisualTokens), f"`connect` gives a {type(found).__name__}")
    wanted = (sum(COUNTS), bridge.module.spec.tokens_per_frame, ear_spec().width)
    check_shape(found.tokens, wanted, "tokens", "[F, k, W]")


@promises(
    PROMISES, "a batch of text only gives no tokens", Connector.connect, "A batch may hold samples without"
)
def _text(bridge: Bridge) -> None:
    wanted = (0, bridge.module.spec.tokens_per_frame, ear_spec().width)
    with torch.no_grad():
        check_shape(bridge.connect((0, 0)).tokens, wanted, "tokens of text", "[F, k, W]")


@promises(
    PROMISES, "the same batch gives the same tokens", Connector.connect, "Make the visual tokens of a batch"
)
def _repeats(bridge: Bridge) -> None:
    with torch.no_grad():
        again = bridge.connect().tokens
    check_close(again, bridge.tokens, "tokens of the same batch, twice")


@promises(PROMISES, "samples do not see each other", Connector.connect, "Samples do not see each other")
def _alone(bridge: Bridge) -> None:
    first = 0
    for sample, count in enumerate(COUNTS):
        with torch.no_grad():
            alone = bridge.connect((count,), first).tokens
        part = bridge.tokens[first : first + count]
        check_close(alone, part, f"tokens of sample {sample} alone and in a batch")
        first += count
    side = iris_spec().image_size
    frames = noise(sum(COUNTS), 3, side, side).requires_grad_()
    read = {"tokens": bridge.module.encoder_tokens, "layers": bridge.module.encoder_layers}
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        features = bridge.encoder.encode(frames, **read)
        trained = deepcopy(bridge.module).train()
        tokens = trained.connect(features, torch.tensor(COUNTS), bridge.encoder, bridge.llm).tokens
        others = slice(COUNTS[0], None)
        check_apart(tokens[: COUNTS[0]], frames, others, "tokens of a sample depend on the samples beside it")


@promises(PROMISES, "what else it reads is its own sample's", Connector, "What else it reads")
def _reads_more(bridge: Bridge) -> None:
    reads = bridge.module.reads
    if not reads:
        skip("it reads the frames alone")
    unknown = [name for name in reads if name not in ("question", "keys")]
    expect(not unknown, f"reads is {reads!r}")
    lengths, first = torch.tensor([2, 1, 3, 1]), 0
    said, keys = noise(int(lengths.sum()), ear_spec().width, seed=9), torch.tensor([5, 6, 7, 8])

    def made(samples: slice, first: int) -> Tensor:
        begin = int(lengths[: samples.start].sum())
        rows = slice(begin, begin + int(lengths[samples].sum()))
        known = {"question": Question(said[rows], lengths[samples]), "keys": keys[samples]}
        counts = torch.tensor(COUNTS[samples])
        features, read = bridge.features(int(counts.sum()), first), {name: known[name] for name in reads}
        with torch.no_grad():
            return bridge.module.connect(features, counts, bridge.encoder, bridge.llm, **read).tokens

    whole = made(slice(0, len(COUNTS)), 0)
    for sample, count in enumerate(COUNTS):
        alone = made(slice(sample, sample + 1), first)
        check_close(alone, whole[first : first + count], f"tokens of sample {sample} alone and in a batch")
        first += count


@promises(
    PROMISES, "frame by frame it makes the tokens of one of its modes", FrameStream, "Its tokens are those"
)
def _streams(bridge: Bridge) -> None:
    with torch.no_grad():
        stream = bridge.module.stream(bridge.encoder, bridge.llm)
        if stream is None:
            skip("it does not watch frame by frame")
        side, count = iris_spec().image_size, COUNTS[0]
        frames = noise(sum(COUNTS), 3, side, side)[:count]
        found = torch.cat([stream.next_tokens(frame[None]) for frame in frames])
        modes = {mode: bridge.connect((count,), mode=mode).tokens for mode in bridge.module.spec.modes}
    near = any(
        tokens.shape == found.shape and torch.allclose(tokens, found, rtol=0, atol=1e-5)
        for tokens in modes.values()
    )
    expect(near, f"its tokens are those of none of {', '.join(modes)}")


@promises(PROMISES, "its tokens depend on the frames", VisualTokens, "tokens: [F, k, W]")
def _sees(bridge: Bridge) -> None:
    expect(not torch.equal(bridge.tokens[0], bridge.tokens[3]), "different frames get the same tokens")


@promises(PROMISES, "it says which features it reads", Connector, "Whether `connect` reads")
def _reads(bridge: Bridge) -> None:
    for name in ("encoder_tokens", "encoder_layers"):
        found = getattr(bridge.module, name, None)
        expect(isinstance(found, bool), f"{name} is {found!r}, expected True or False")
    bridge.connect()


@promises(PROMISES, "it needs what it asks of the encoder", Connector, '`needs=("query",)`')
def _needs(bridge: Bridge) -> None:
    needs = set(bridge.component.needs)
    expect(needs & {"query", "patches"}, f"the component says needs={bridge.component.needs!r}")
    bridge.encoder.looks.clear()
    bridge.connect()
    expect(
        "query" in needs or not bridge.encoder.looks, '`connect` calls encoder.attend; needs lacks "query"'
    )
    expect(
        "query" in needs or not bridge.module.encoder_layers, 'encoder_layers is True; needs lacks "query"'
    )


@promises(PROMISES, "every mode gives tokens of one shape", Connector.connect, "mode: one of `spec.modes`")
def _modes(bridge: Bridge) -> None:
    with torch.no_grad():
        own = bridge.connect(mode=bridge.module.spec.mode).tokens
        check_close(own, bridge.tokens, f"tokens of mode None and of {bridge.module.spec.mode}")
        for mode in bridge.module.spec.modes:
            check_shape(bridge.connect(mode=mode).tokens, tuple(own.shape), f"tokens of {mode}", "[F, k, W]")


@promises(PROMISES, "auxiliary tokens have the same shape", Auxiliary, "A second set of visual tokens")
def _auxiliary(bridge: Bridge) -> None:
    found = bridge.connect().auxiliary
    if not found:
        skip("it has none with these settings")
    for one in found:
        declared = bridge.module.spec.auxiliary
        expect(one.name in declared, f'"{one.name}" is none of ConnectorSpec.auxiliary, {declared}')
        check_shape(one.tokens, tuple(bridge.tokens.shape), f"tokens of {one.name}", "[F, k, W]")


@promises(PROMISES, "attention can be looked at", Connector.attention, "Where each pass looks")
def _attention(bridge: Bridge) -> None:
    with torch.no_grad():
        found = bridge.module.attention(bridge.features(), torch.tensor(COUNTS), bridge.encoder, bridge.llm)
    expect(isinstance(found, dict), f"`attention` gives a {type(found).__name__}")
    if not found:
        skip("it says nothing, as a connector without queries")
    spec = iris_spec()
    for name, layers in found.items():
        for layer in layers:
            wanted = (sum(COUNTS), spec.heads, spec.tokens)
            check_probabilities(layer, wanted, f"probabilities of {name}", "[F, heads, N]")


@promises(PROMISES, "gradients reach every weight", Connector, "Gradients reach every weight")
def _gradients(bridge: Bridge) -> None:
    def loss() -> Tensor:
        made = bridge.connect()
        every = [made.tokens, *(one.weight * one.tokens for one in made.auxiliary)]
        return sum(((one * noise(*one.shape, seed=5)).sum() for one in every), torch.zeros(()))

    check_gradients(bridge.module, loss)


@promises(PROMISES, "what it costs can be counted", Connector.connect, "It runs on the meta device, too")
def _counted(bridge: Bridge) -> None:
    problem = Tracer(iris_spec(), bridge.module, ear_spec()).trace(sum(COUNTS)).problem
    expect(not problem, f"`connect` on the meta device: {problem}")

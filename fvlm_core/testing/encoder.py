"""What a vision encoder promises; see `VisionEncoder`."""

from __future__ import annotations

from copy import deepcopy
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from fvlm_core.interfaces.encoder import PatchFeatures, VisionEncoder
from fvlm_core.interfaces.specs import EncoderSpec
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
from fvlm_core.testing.subject import ComponentUnderTest

PROMISES: list[Promise] = []
FRAMES = 3


class EncoderTrial:
    """The encoder under test, built once, and what it saw in three random frames."""

    def __init__(self, subject: ComponentUnderTest) -> None:
        self.component = subject.component
        self.config = subject.config
        self.target = subject.load()

    def build(self) -> Any:
        """Another one, with weights from the generator as it stands."""
        return self.target(self.config)

    @cached_property
    def module(self) -> Any:
        """With the weights of seed 1."""
        return seeded(self.build, 1)

    @property
    def spec(self) -> EncoderSpec:
        """Its sizes."""
        return self.module.spec

    @property
    def queried(self) -> bool:
        """Whether it says that it can be queried."""
        return "query" in self.component.provides

    @cached_property
    def frames(self) -> Tensor:
        """[F, 3, side, side], as if normalised."""
        return noise(FRAMES, 3, self.spec.image_size, self.spec.image_size)

    @cached_property
    def features(self) -> PatchFeatures:
        """What it saw, tokens and layers."""
        with torch.no_grad():
            return self.module.encode(self.frames)

    def tokens(self) -> Tensor:
        """The features' tokens. Skips where there are none; another check says so."""
        found = self.features.tokens
        if not isinstance(found, Tensor) or found.ndim != 3:
            skip("there are no tokens [F, N, D]")
        return found

    def look(self, query: Tensor, features: PatchFeatures, **how: Any) -> Any:
        """`attend`; skips where the encoder does not say that it can be queried."""
        if not self.queried:
            skip('it does not provide "query"')
        return self.module.attend(query, features, **how)

    def queries(self) -> Tensor:
        """A random query a frame: [F, D]."""
        return noise(FRAMES, self.spec.width, seed=1)


def prepare(subject: ComponentUnderTest) -> EncoderTrial:
    """The encoder under test."""
    return EncoderTrial(subject)


def noise(*sizes: int, seed: int = 0) -> Tensor:
    """Standard normal numbers, the same in every process."""
    return torch.randn(*sizes, generator=torch.Generator().manual_seed(seed))


@promises(PROMISES, "its config states its sizes", EncoderSpec, "A vision encoder's sizes")
def _spec(eye: EncoderTrial) -> None:
    found = eye.config.spec()
    expect(isinstance(found, EncoderSpec), f"config.spec() gives {found!r}, expected an EncoderSpec")


@promises(PROMISES, "build(config) makes an encoder", VisionEncoder, "The component's target is")
def _build(eye: EncoderTrial) -> None:
    made = eye.module
    expect(isinstance(made, VisionEncoder), f"{eye.component.target} makes a {type(made).__name__}")
    stated = eye.config.spec()
    expect(made.spec == stated, f"its spec is {made.spec}; config.spec() says {stated}")


@promises(
    PROMISES, "the seed decides the weights", VisionEncoder, "It makes the architecture with fresh weights"
)
def _seeds(eye: EncoderTrial) -> None:
    check_seeds(eye.build)


@promises(
    PROMISES, "it can be made without memory", VisionEncoder, "It makes the architecture with fresh weights"
)
def _meta(eye: EncoderTrial) -> None:
    check_meta(eye.build)


@promises(PROMISES, "tokens have the stated shape", PatchFeatures, "tokens: [F, N, D]")
def _tokens(eye: EncoderTrial) -> None:
    spec = eye.spec
    check_shape(eye.features.tokens, (FRAMES, spec.tokens, spec.width), "tokens", "[F, N, D]")


@promises(PROMISES, "a batch of text only gives no tokens", VisionEncoder.encode, "F may be 0")
def _no_frames(eye: EncoderTrial) -> None:
    spec = eye.spec
    found = eye.module.encode(eye.frames[:0]).tokens
    check_shape(found, (0, spec.tokens, spec.width), "tokens of no frame", "[F, N, D]")


@promises(PROMISES, "the same frames give the same tokens", VisionEncoder.encode, "Look at every frame once")
def _repeats(eye: EncoderTrial) -> None:
    with torch.no_grad():
        again = eye.module.encode(eye.frames).tokens
    check_close(again, eye.tokens(), "tokens of the same frames, twice")


@promises(
    PROMISES,
    "a frame's tokens are its own",
    VisionEncoder.encode,
    "Frames of a batch do not see each other",
)
def _alone(eye: EncoderTrial) -> None:
    with torch.no_grad():
        alone = eye.module.encode(eye.frames[1:2]).tokens
    check_close(alone, eye.tokens()[1:2], "tokens of a frame alone and among others")
    with torch.no_grad():
        other = eye.module.encode(eye.frames.flip(0)).tokens
    check_close(other.flip(0), eye.tokens(), "tokens of frames in another order")
    frames = eye.frames.clone().requires_grad_()
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        tokens = deepcopy(eye.module).train().encode(frames).tokens
        check_apart(tokens[:1], frames, slice(1, None), "tokens of a frame depend on the frames beside it")


@promises(PROMISES, "the tokens depend on the frames", VisionEncoder.encode, "Look at every frame once")
def _sees(eye: EncoderTrial) -> None:
    tokens = eye.tokens()
    expect(not torch.equal(tokens[0], tokens[1]), "two different frames give the same tokens")


@promises(PROMISES, "it provides what it implements", VisionEncoder, "A component whose encoder implements")
def _provides(eye: EncoderTrial) -> None:
    provides = eye.component.provides
    expect("patches" in provides, f'the component says provides={provides!r}, without "patches"')
    able = type(eye.module).attend is not VisionEncoder.attend
    expect(able or not eye.queried, 'the component provides "query"; its encoder has no `attend`')
    expect(eye.queried or not able, 'its encoder has an `attend`; the component does not provide "query"')


@promises(PROMISES, "keys and values have the stated shape", PatchFeatures, "layers: one `KeyValue` a layer")
def _layers(eye: EncoderTrial) -> None:
    if not eye.queried:
        skip('it does not provide "query"')
    spec = eye.spec
    found = eye.features.layers
    expect(len(found) == spec.depth, f"{len(found)} layers; its spec has depth {spec.depth}")
    wanted = (FRAMES, spec.heads, spec.tokens, spec.width // spec.heads)
    for at, layer in enumerate(found):
        check_shape(layer.key, wanted, f"the keys of layer {at}", "[F, heads, N, head width]")
        value = (*wanted[:3], layer.value.shape[-1])
        check_shape(layer.value, value, f"the values of layer {at}", "[F, heads, N, head width]")


@promises(
    PROMISES,
    "leaving out what is not read changes nothing",
    VisionEncoder.encode,
    "tokens: whether the caller",
)
def _spared(eye: EncoderTrial) -> None:
    with torch.no_grad():
        bare = eye.module.encode(eye.frames, tokens=True, layers=False)
        check_close(bare.tokens, eye.tokens(), "tokens with and without layers")
        if eye.queried:
            kept = eye.module.encode(eye.frames, tokens=False, layers=True)
            query = eye.queries()
            seen = [eye.module.attend(query, features) for features in (kept, eye.features)]
            check_close(seen[0], seen[1], "answers with and without tokens")


@promises(PROMISES, "a query gets an answer", VisionEncoder.attend, "query: [F, D]")
def _answer(eye: EncoderTrial) -> None:
    wanted = (FRAMES, eye.spec.width)
    with torch.no_grad():
        query = eye.queries()
        found = check_shape(eye.look(query, eye.features), wanted, "the answer", "[F, D]")
        check_close(eye.look(query, eye.features), found, "answers to the same query, twice")
        check_shape(eye.look(query, eye.features, depth="shallow"), wanted, "the shallow answer", "[F, D]")
        other = eye.look(query + noise(FRAMES, eye.spec.width, seed=2), eye.features)
    expect(not torch.equal(other, found), "two different queries get the same answer")


@promises(PROMISES, "patches never see the query", VisionEncoder.attend, "Patches never see the query")
def _unseen(eye: EncoderTrial) -> None:
    before = [(layer.key.clone(), layer.value.clone()) for layer in eye.features.layers]
    with torch.no_grad():
        eye.look(eye.queries(), eye.features)
    for (key, value), layer in zip(before, eye.features.layers, strict=True):
        same = torch.equal(key, layer.key) and torch.equal(value, layer.value)
        expect(same, "`attend` changes the kept keys or values")


@promises(PROMISES, "attention can be looked at", VisionEncoder.attend, "weights: a list to which")
def _weights(eye: EncoderTrial) -> None:
    for depth, entries in (("deep", eye.spec.depth), ("shallow", 1)):
        found: list[Tensor] = []
        with torch.no_grad():
            seen = eye.look(eye.queries(), eye.features, depth=depth, weights=found)
            plain = eye.look(eye.queries(), eye.features, depth=depth)
        expect(len(found) == entries, f"{depth}: {len(found)} entries, expected {entries}")
        for entry in found:
            wanted = (FRAMES, eye.spec.heads, eye.spec.tokens)
            check_probabilities(entry, wanted, f"{depth} probabilities", "[F, heads, N]")
        check_close(seen, plain, f"{depth} answers with and without `weights`")


@promises(PROMISES, "gradients reach every weight", VisionEncoder, "Gradients reach every weight")
def _gradients(eye: EncoderTrial) -> None:
    def loss() -> Tensor:
        features = eye.module.encode(eye.frames)
        total = (features.tokens * noise(*features.tokens.shape, seed=3)).sum()
        if eye.queried:
            seen = eye.module.attend(eye.queries(), features)
            total = total + (seen * noise(*seen.shape, seed=4)).sum()
        return total

    check_gradients(eye.module, loss)

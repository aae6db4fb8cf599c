"""A small encoder and a small language model that keep the contract, for a connector to be tried between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fvlm_core.interfaces.connector import Connector, VisualTokens
from fvlm_core.interfaces.encoder import Depth, KeyValue, PatchFeatures, VisionEncoder
from fvlm_core.interfaces.llm import LLMBackend
from fvlm_core.interfaces.specs import ConnectorSpec, EncoderSpec, LLMSpec, Mode
from fvlm_core.model.vlm import VLM


def iris_spec() -> EncoderSpec:
    """4 x 4 patches of 7 pixels and one token before them."""
    return EncoderSpec(width=24, image_size=28, patch_grid=(4, 4), depth=2, heads=2)


def ear_spec() -> LLMSpec:
    """One layer of width 20."""
    return LLMSpec(width=20, mlp=40, depth=1, heads=2, kv_heads=2, vocabulary=31, positions=64)


class Iris(VisionEncoder):
    """Linear patches with positions, and two layers of keys and values over them.

    looks: frames of every `attend`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.spec = spec = iris_spec()
        self.patch = nn.Conv2d(3, spec.width, 7, stride=7)
        self.place = nn.Parameter(torch.randn(spec.tokens, spec.width))
        self.maps = nn.ModuleList(nn.Linear(spec.width, 2 * spec.width) for _ in range(spec.depth))
        self.norm = nn.LayerNorm(spec.width)
        self.looks: list[int] = []

    def encode(self, frames: Tensor, *, tokens: bool = True, layers: bool = True) -> PatchFeatures:
        """As promised: what is not asked for is not there."""
        patches = self.patch(frames).flatten(2).mT
        every = torch.cat([patches.mean(1, keepdim=True), patches], 1) + self.place
        kept = tuple(self._keys(layer, every) for layer in self.maps) if layers else ()
        return PatchFeatures(self.norm(every) if tokens else None, kept)

    def attend(
        self,
        query: Tensor,
        features: PatchFeatures,
        *,
        depth: Depth = "deep",
        weights: list[Tensor] | None = None,
    ) -> Tensor:
        """Attention over each layer in turn."""
        self.looks.append(len(query))
        layers = features.layers
        if depth == "shallow":
            if features.tokens is None:
                raise ValueError("a shallow look reads PatchFeatures.tokens; encoder_tokens is False")
            layers = (self._keys(self.maps[-1], features.tokens),)
        elif len(layers) != self.spec.depth:
            raise ValueError("`attend` reads PatchFeatures.layers; encoder_layers is False")
        for layer in layers:
            heads = query.unflatten(-1, (self.spec.heads, 1, -1))
            share = (heads @ layer.key.mT / heads.shape[-1] ** 0.5).softmax(-1)
            if weights is not None:
                weights.append(share.squeeze(2))
            query = query + (share @ layer.value).flatten(1)
        return self.norm(query)

    def _keys(self, layer: nn.Module, tokens: Tensor) -> KeyValue:
        key, value = layer(tokens).unflatten(-1, (2, self.spec.heads, -1)).permute(2, 0, 3, 1, 4)
        return KeyValue(key, value)


class Nerve(Connector):
    """One token a frame: the mean of its patches."""

    encoder_tokens = True
    encoder_layers = False

    def __init__(self) -> None:
        super().__init__()
        self.spec = ConnectorSpec(tokens_per_frame=1, mode="coarse_only")
        self.map = nn.Linear(iris_spec().width, ear_spec().width)

    def connect(
        self,
        features: PatchFeatures,
        counts: Tensor,
        encoder: VisionEncoder,
        llm: LLMBackend,
        *,
        mode: Mode | None = None,
    ) -> VisualTokens:
        """As promised."""
        assert features.tokens is not None
        return VisualTokens(self.map(features.tokens[:, 1:].mean(1, keepdim=True)))


def tiny_vlm() -> VLM:
    """A model of the partners, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return VLM(Iris(), Nerve(), Ear())


class Ear(LLMBackend):
    """One causal layer."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = spec = ear_spec()
        self.words = nn.Embedding(spec.vocabulary or 0, spec.width)
        self.place = nn.Embedding(spec.positions, spec.width)
        self.mix = nn.Linear(spec.width, 3 * spec.width)
        self.out = nn.Linear(spec.width, spec.width)
        self.norm = nn.LayerNorm(spec.width)

    def embed(self, ids: Tensor) -> Tensor:
        """Token ids [...] to embeddings [..., W]."""
        return self.words(ids)

    def hidden(
        self,
        embeddings: Tensor,
        *,
        lengths: Sequence[int] | None = None,
        cache: Any = None,
    ) -> Tensor:
        """See `LLMBackend.hidden`. The cache is the list of keys and values so far."""
        rows, length = embeddings.shape[:2]
        past = cache[0].shape[2] if cache else 0
        positions = torch.arange(past, past + length)
        if lengths is not None:
            positions = torch.cat([torch.arange(each) for each in lengths])
        states = embeddings + self.place(positions)
        split = self.mix(states).unflatten(-1, (3, self.spec.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = split
        if cache is not None:
            if cache:
                key = torch.cat([cache[0][:rows], key], 2)
                value = torch.cat([cache[1][:rows], value], 2)
            cache[:] = [key, value]
        mask = torch.ones(length, past + length, dtype=torch.bool).tril(past)
        if lengths is not None:
            mask &= torch.block_diag(*[torch.ones(each, each) for each in lengths]).bool()
        scores = (query @ key.mT / query.shape[-1] ** 0.5).masked_fill(~mask, float("-inf"))
        return self.norm(states + self.out((scores.softmax(-1) @ value).transpose(1, 2).flatten(2)))

    def new_cache(self) -> Any:
        """Nothing read yet."""
        return []

    def logits(self, hidden: Tensor) -> Tensor:
        """The embeddings again, as the head."""
        return hidden @ self.words.weight.T

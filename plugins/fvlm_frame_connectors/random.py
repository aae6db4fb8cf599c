"""Patches at random: the control that many ways to choose patches do not beat (Wen et al. 2025, arXiv:2502.11501)."""

from __future__ import annotations

import numpy as np
import torch
from attrs import define
from numpy.typing import NDArray
from torch import Tensor

from fvlm_core.plugin_api import (
    EncoderSpec,
    LLMBackend,
    LLMSpec,
    Mode,
    PatchFeatures,
    Reads,
    VisionEncoder,
    VisualTokens,
)
from fvlm_frame_connectors.config import Random
from fvlm_frame_connectors.frames import FrameConnector, chosen


def build(config: Random, encoder: EncoderSpec, llm: LLMSpec) -> RandomConnector:
    """The connector with fresh weights; see `Connector`."""
    return RandomConnector(config, encoder, llm)


class RandomConnector(FrameConnector):
    """n of the final patch features of every frame, in the order of the grid; each choice of n is as likely.

    Which ones is a function of the seed, the sample's key and the frame's number in it (`drawn`), and of no generator's
    state: the same in every epoch, in every batch, after a resume, and in evaluation.
    """

    reads: tuple[Reads, ...] = ("keys",)

    def reduced(self, tokens: Tensor) -> Tensor:
        """Those of first frames of samples without a key."""
        nothing = torch.zeros(len(tokens), dtype=torch.int64)
        return self.taken(tokens, nothing, nothing)

    def taken(self, tokens: Tensor, keys: Tensor, places: Tensor) -> Tensor:
        """[F, n, D] of the encoder's tokens [F, N, D]. keys: of each frame's sample, int64 [F] on the host. places: the
        frame's number in its sample."""
        patches = self.patches(tokens)
        index = drawn(self.config.seed, keys.numpy(), places.numpy(), patches.shape[1], self.config.tokens)
        return chosen(patches, torch.from_numpy(index).to(patches.device, non_blocking=True))

    def connect(
        self,
        features: PatchFeatures,
        counts: Tensor,
        encoder: VisionEncoder,
        llm: LLMBackend,
        *,
        mode: Mode | None = None,
        keys: Tensor | None = None,
    ) -> VisualTokens:
        """The visual tokens [F, n, W] of a batch; see `Connector.connect`."""
        assert features.tokens is not None
        keys = torch.zeros_like(counts) if keys is None else keys
        first = (counts.cumsum(0) - counts).repeat_interleave(counts)
        places = torch.arange(len(first)) - first
        return VisualTokens(self.to_llm(self.taken(features.tokens, keys.repeat_interleave(counts), places)))

    def stream(self, encoder: VisionEncoder, llm: LLMBackend, *, keys: Tensor | None = None) -> RandomStream:
        """Videos frame by frame."""
        return RandomStream(self, encoder, keys)


@define(eq=False)
class RandomStream:
    """R videos watched in step. keys: of each, int64 [R]; None: they have none. place: the next frame's number."""

    connector: RandomConnector
    encoder: VisionEncoder
    keys: Tensor | None
    place: int = 0

    def next_tokens(self, frames: Tensor) -> Tensor:
        """The visual tokens [R, n, W] of the next frame; see `FrameStream`."""
        tokens = self.encoder.encode(frames, layers=False).tokens
        assert tokens is not None
        places = torch.full((len(frames),), self.place)
        keys = torch.zeros_like(places) if self.keys is None else self.keys[: len(frames)]
        self.place += 1
        return self.connector.to_llm(self.connector.taken(tokens, keys, places))


def drawn(
    seed: int, keys: NDArray[np.int64], places: NDArray[np.int64], patches: int, count: int
) -> NDArray[np.int64]:
    """`count` patches of every frame, ascending: int64 [F, count].

    A patch's number is a hash of (seed, key, place, patch); those with the lowest numbers are taken.
    """
    number = _mixed(np.full(1, seed, dtype=np.uint64))
    for part in (
        keys[:, None].view(np.uint64),
        places[:, None].view(np.uint64),
        np.arange(patches, dtype=np.uint64),
    ):
        number = _mixed(number ^ _mixed(part))
    return np.sort(number.argsort(1, kind="stable")[:, :count], 1)


def _mixed(counter: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 of counters (Steele et al. 2014, "Fast splittable pseudorandom number generators", figure 17)."""
    z = counter + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))

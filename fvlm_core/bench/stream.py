"""Watching a video frame by frame, as in true inference, and the bare cost of its parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fvlm_core.bench.dense import Step
from fvlm_core.bench.setting import Setting
from fvlm_core.data.batch import Batch
from fvlm_core.interfaces.encoder import KeyValue, PatchFeatures
from fvlm_core.model.vlm import VLM

WATCHED = 64
GROWN = (8, 32, 128, 512)


def video(setting: Setting, model: VLM, frames: int) -> Batch:
    """One sample of so many random frames."""
    side = model.encoder.spec.image_size
    nothing = torch.zeros(1, 1, dtype=torch.bool)
    return Batch(
        frames=torch.randint(0, 256, (frames, 3, side, side), dtype=torch.uint8),
        counts=torch.tensor([frames]),
        ids=torch.zeros(1, 1, dtype=torch.int64),
        lengths=torch.tensor([1]),
        supervised=nothing,
        content=nothing,
    ).to(setting.device)


def watching(setting: Setting, frames: int = WATCHED) -> Step:
    """The visual tokens of a video, frame by frame."""
    model = setting.model().eval()
    batch = video(setting, model, frames)

    @torch.no_grad()
    def step() -> None:
        with setting.autocast():
            model.see(batch, "autoregressive")

    return step


def encoding(setting: Setting) -> Step:
    """The encoder alone, on all frames."""
    model = setting.model().eval()
    frames = model.normalise(video(setting, model, WATCHED).frames)

    @torch.no_grad()
    def step() -> None:
        with setting.autocast():
            _encode(model, frames)

    return step


def parts(setting: Setting) -> Step:
    """The encoder on all frames; then, for every frame, one position through each linear map of the language model's
    layers, and one query."""
    model = setting.model().eval()
    frames = model.normalise(video(setting, model, WATCHED).frames)
    maps = list(_linear_maps(model.llm))
    given = {each.in_features: torch.randn(1, each.in_features, device=setting.device) for each in maps}
    query = torch.randn(1, model.encoder.spec.width, device=setting.device)

    @torch.no_grad()
    def step() -> None:
        with setting.autocast():
            features = _encode(model, frames)
            for frame in range(WATCHED):
                model.encoder.attend(query, _only(features, frame))
                for each in maps:
                    F.linear(given[each.in_features], each.weight)

    return step


def _encode(model: VLM, frames: Tensor) -> PatchFeatures:
    connector = model.connector
    return model.encoder.encode(frames, tokens=connector.encoder_tokens, layers=connector.encoder_layers)


def _only(features: PatchFeatures, frame: int) -> PatchFeatures:
    """A frame's features; nothing is copied."""
    at = slice(frame, frame + 1)
    return PatchFeatures(None, tuple(KeyValue(each.key[at], each.value[at]) for each in features.layers))


def _linear_maps(llm: nn.Module) -> Iterator[nn.Linear]:
    """Those of the layers: a head is not run for a visual token."""
    heads = {id(child) for child in llm.children()}
    return (each for each in llm.modules() if isinstance(each, nn.Linear) and id(each) not in heads)


def growth(setting: Setting) -> tuple[dict[int, float], float]:
    """Seconds for videos of `GROWN` frames, and the exponent of their growth: the slope of log time over log frames."""
    seconds: dict[int, float] = {}
    partial(watching, setting, 8)()()  # whatever is made at the first call
    for frames in GROWN:
        step: Callable[[], None] = watching(setting, frames)
        begun = time.perf_counter()
        step()
        setting.wait()
        seconds[frames] = time.perf_counter() - begun
    slope, _ = np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)
    return seconds, float(slope)

"""Training steps on a dense batch, every sample alike: fvlm's own, and the bare cost of its matrices."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from attrs import evolve
from torch import Tensor, nn

from fvlm_core.bench.setting import Setting
from fvlm_core.data.batch import Batch
from fvlm_core.planning.connector_trace import Tracer
from fvlm_core.training.optimizer import GROUPS, make_optimizer

FRAMES, TEXT = 8, 128
RATE = 1e-5
SPARSE = 0.3
"""Supervised tokens of a sparse batch, as a share."""

SIDE, TRIES = 2048, 5
"""Of the square matrices whose product is the machine's limit, and how often it is timed."""

Step = Callable[[], None]


def dense_batch(setting: Setting, size: int, supervised: float = 1.0) -> Batch:
    """Random frames and text, on the device. size: side of the frames. supervised: the share of the tokens."""
    generator = torch.Generator().manual_seed(0)
    shape = (setting.samples, TEXT)
    pixels = (setting.samples * FRAMES, 3, size, size)
    frames = torch.randint(0, 256, pixels, dtype=torch.uint8, generator=generator)
    ids = torch.randint(0, setting.vocabulary(), shape, generator=generator)
    labels = torch.rand(shape, generator=generator) < supervised
    return Batch(
        frames=frames,
        counts=torch.full((setting.samples,), FRAMES),
        ids=ids,
        lengths=torch.full((setting.samples,), TEXT),
        supervised=labels,
        content=labels,
    ).to(setting.device)


def ours(setting: Setting, supervised: float = 1.0) -> Step:
    """A step as the training loop makes it: loss over tokens, clipping, AdamW."""
    model = setting.model()
    batch = dense_batch(setting, model.encoder.spec.image_size, supervised)
    update = updating(model.parameter_groups())

    def step() -> None:
        with setting.autocast():
            losses = model(batch)
        losses.loss.backward()
        update(losses.tokens)

    return step


def compiled(setting: Setting) -> Step:
    """As `ours`, with compiled layers."""
    return ours(evolve(setting, compiled=True))


def bare(setting: Setting) -> Step:
    """The same matrices: the encoder on the frames, the language model on as many positions in as many passes, the
    head on as many labels; no connector, no batch to plan, no text to place."""
    model = setting.model()
    batch = dense_batch(setting, model.encoder.spec.image_size)
    connector, samples = model.connector, setting.samples
    passes = len(Tracer(model.encoder.spec, connector, model.llm.spec).trace(FRAMES).of("hidden"))
    width, k = model.llm.spec.width, connector.spec.tokens_per_frame
    frames = model.normalise(batch.frames)
    seen = 0.14 * torch.randn(samples, FRAMES * k, width, device=setting.device)
    read = 0.14 * torch.randn(samples, FRAMES * k + TEXT, width, device=setting.device)
    labels = batch.ids[:, 1:].flatten()
    update = updating(model.parameter_groups())

    follow: list[Tensor] = []  # gradients that come in from what is left out; made once

    def step() -> None:
        with setting.autocast():
            features = model.encoder.encode(
                frames, tokens=connector.encoder_tokens, layers=connector.encoder_layers
            )
            outputs = [part for layer in features.layers for part in (layer.key, layer.value)]
            outputs += [] if features.tokens is None else [features.tokens]
            # The last frame's state asks for nothing, so that a pass over the visual tokens reads one frame less.
            outputs += [model.llm.hidden(seen[:, : (FRAMES - 1) * k]) for _ in range(passes)]
            hidden = model.llm.hidden(read)[:, -TEXT:-1].flatten(0, 1)
            loss = F.cross_entropy(model.llm.logits(hidden).float(), labels, reduction="sum")
        if not follow:
            follow.extend(1e-3 * torch.randn_like(output) for output in outputs)
        torch.autograd.backward([*outputs, loss], [*follow, torch.ones_like(loss)])
        update(len(labels))

    return step


def updating(groups: Mapping[str, Mapping[str, nn.Parameter]]) -> Callable[[int], None]:
    """Normalise by so many tokens, clip, step: alike on all sides."""
    matrices = {name for group in groups.values() for name, parameter in group.items() if parameter.ndim >= 2}
    optimizer = make_optimizer(groups, dict.fromkeys(GROUPS, RATE), (0.9, 0.999), 0.01, matrices)
    for group in optimizer.param_groups:
        group["lr"] = RATE

    def update(tokens: int) -> None:
        gradients = [
            p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None
        ]
        norm = float(torch.nn.utils.get_total_norm(gradients)) / tokens
        for gradient in gradients:
            gradient.mul_(min(1.0, 1.0 / (norm + 1e-6)) / tokens)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return update


def square_rate(setting: Setting) -> float:
    """FLOP/s of the product of two large square matrices in the setting's precision, the best of some."""
    dtype = torch.bfloat16 if setting.precision == "bf16" else torch.float32
    left, right = (torch.randn(SIDE, SIDE, device=setting.device).to(dtype) for _ in range(2))
    times: list[float] = []
    for _ in range(TRIES):
        setting.wait()
        begun = time.perf_counter()
        torch.matmul(left, right)
        setting.wait()
        times.append(time.perf_counter() - begun)
    return 2 * SIDE**3 / min(times)

"""Four bugs of the founding project, measured as settings: `python tests/bench/four_bugs.py` prints the tables of
`docs/explanation/four_bugs.md` (seeded weights, nothing to download, about 30 s on one core)."""

from __future__ import annotations

import json
import math
from typing import Any

import torch
import torch.nn.functional as F
from attrs import evolve, frozen
from fvlm_dinov2.config import DINOv2
from fvlm_dinov2.model import build as build_encoder
from fvlm_foveated.config import Foveated
from fvlm_foveated.model import build as build_connector
from fvlm_smollm2.config import SmolLM2
from fvlm_smollm2.model import build as build_llm
from torch import Tensor

from fvlm_core.data.batch import Batch
from fvlm_core.model.vlm import VLM

QUERY_SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "BUG-001": {"query_init_std": 0.02},
    "BUG-002": {"query_bias": True},
    "BUG-001 + 002": {"query_init_std": 0.02, "query_bias": True},
    "BUG-004": {"depth": "shallow"},
    "BUG-001 + 004": {"depth": "shallow", "query_init_std": 0.02},
}
CHOICES: dict[str, dict[str, Any]] = {
    "default": {},
    "drawn per batch": {"coarse_share": 0.5, "mode_choice": "batch"},
    "BUG-003: per sample": {"coarse_share": 0.5, "mode_choice": "sample"},
}


@frozen(kw_only=True)
class Size:
    """What is measured. The encoder's sizes; frames and queries looked at; steps drawn for BUG-003."""

    width: int = 384
    depth: int = 12
    heads: int = 6
    image_size: int = 224
    query_dim: int = 384
    frames: int = 4
    queries: int = 16
    steps: int = 100

    @property
    def uniform(self) -> float:
        """Entropy of uniform attention in nats, ln N."""
        return math.log(1 + (self.image_size // 14) ** 2)

    def encoder(self) -> DINOv2:
        """The seeded encoder's settings."""
        return DINOv2(
            weights="seeded", width=self.width, depth=self.depth, heads=self.heads, image_size=self.image_size
        )


@frozen
class Looks:
    """How queries look. entropy: nats, mean over layers, heads, frames and queries. projected, outputs: the mean
    Pearson correlation between different queries, as they enter the encoder and as it answers them, on one frame."""

    entropy: float
    projected: float
    outputs: float


@frozen
class Steps:
    """What the choice of the mode does to training steps of 8 clips. coarse: share of samples with one pass.
    mixed: share of steps with samples of both kinds. both_passes: share of steps that run the fine pass.
    noise: variance of the step's gradient over the draws, by its squared mean."""

    coarse: float
    mixed: float
    both_passes: float
    noise: float


@torch.no_grad()
def measure_looks(size: Size, settings: dict[str, Any]) -> Looks:
    """Random queries of the setting's standard deviation, through a freshly drawn connector."""
    torch.manual_seed(0)
    encoder = build_encoder(size.encoder())
    llm = SmolLM2(weights="seeded", width=64, mlp=64, depth=1, heads=2, vocabulary=64).spec()
    features = encoder.encode(pictures(size.frames, size.image_size))
    config = Foveated(query_dim=size.query_dim, **settings)
    connector = build_connector(config, encoder.spec, llm)
    generator = torch.Generator().manual_seed(1)
    queries = torch.randn(size.queries, size.query_dim, generator=generator) * config.query_init_std
    answers: list[Tensor] = []
    shares: list[Tensor] = []
    for query in queries:
        weights: list[Tensor] = []
        answers.append(connector.look(query.expand(size.frames, -1), features, encoder, weights))
        shares.append(torch.stack(weights))
    share = torch.stack(shares)
    entropy = -(share * share.clamp(min=1e-10).log()).sum(-1).mean()
    by_frame = torch.stack(answers, 1)
    return Looks(
        entropy=float(entropy),
        projected=correlation(connector.query_input_proj(queries)),
        outputs=sum(map(correlation, by_frame)) / size.frames,
    )


def measure_steps(size: Size, settings: dict[str, Any]) -> Steps:
    """Draws of the mode for one batch of a small model (three layers each), and the gradient of every draw."""
    torch.manual_seed(0)
    small = evolve(size, width=32, depth=3, heads=2, image_size=56)
    encoder = build_encoder(small.encoder())
    llm = build_llm(SmolLM2(weights="seeded", width=32, mlp=64, depth=3, heads=2), 64)
    vlm = VLM(encoder, build_connector(Foveated(query_dim=24, **settings), encoder.spec, llm.spec), llm)
    generator = torch.Generator().manual_seed(2)
    mask = torch.ones(8, 12, dtype=torch.bool)
    clips = Batch(
        frames=pictures(8 * 4, small.image_size),
        counts=torch.full((8,), 4),
        ids=torch.randint(0, 64, (8, 12), generator=generator),
        lengths=torch.full((8,), 12),
        supervised=mask,
        content=mask,
    )
    with torch.no_grad():
        one_pass = vlm.see(clips, "coarse_only").tokens.unflatten(0, (8, 4))
    chosen: list[Tensor] = []
    gradients: list[Tensor] = []
    for seed in range(size.steps):
        torch.manual_seed(seed)
        with torch.no_grad():
            tokens = vlm.see(clips).tokens.unflatten(0, (8, 4))
        chosen.append((tokens - one_pass).abs().amax((1, 2, 3)) < 1e-6)
        torch.manual_seed(seed)
        losses = vlm(clips)
        trained = list(vlm.parameters())
        parts = torch.autograd.grad(losses.loss / losses.tokens, trained, materialize_grads=True)
        gradients.append(torch.cat([part.flatten() for part in parts]))
    coarse = torch.stack(chosen)
    every = torch.stack(gradients).double()
    mean = every.mean(0)
    return Steps(
        coarse=float(coarse.double().mean()),
        mixed=float((coarse.any(1) & ~coarse.all(1)).double().mean()),
        both_passes=float((~coarse.all(1)).double().mean()),
        noise=float((every - mean).square().sum(1).mean() / mean.square().sum()),
    )


def pictures(frames: int, side: int) -> Tensor:
    """Frames [frames, 3, side, side] of smooth random colours with some noise, normalised."""
    generator = torch.Generator().manual_seed(3)
    colours = torch.randn(frames, 3, side // 14, side // 14, generator=generator)
    noise = torch.randn(frames, 3, side, side, generator=generator)
    return F.interpolate(colours, (side, side), mode="bilinear") + 0.3 * noise


def correlation(rows: Tensor) -> float:
    """Mean Pearson correlation between different rows of [n, D]."""
    between = torch.corrcoef(rows)
    n = len(rows)
    return float((between.sum() - between.trace()) / (n * (n - 1)))


def looks_table(size: Size) -> str:
    """BUG-001, 002, 004."""
    lines = [
        f"| | settings | entropy, of {size.uniform:.3f} nats | correlation of queries | of outputs |",
        "|---|---|---:|---:|---:|",
    ]
    for name, settings in QUERY_SETTINGS.items():
        found = measure_looks(size, settings)
        lines.append(
            f"| {name} | {spelled(settings)} | {found.entropy:.3f} | {found.projected:.3f} | {found.outputs:.4f} |"
        )
    return "\n".join(lines)


def steps_table(size: Size) -> str:
    """BUG-003."""
    lines = [
        "| | settings | samples with one pass | steps of both kinds | steps with the fine pass | gradient noise |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, settings in CHOICES.items():
        found = measure_steps(size, settings)
        lines.append(
            f"| {name} | {spelled(settings)} | {found.coarse:.0%} | {found.mixed:.0%} | {found.both_passes:.0%} | "
            f"{found.noise:.3f} |"
        )
    return "\n".join(lines)


def spelled(settings: dict[str, Any]) -> str:
    """Settings as a recipe writes them."""
    return ", ".join(f"`{name} = {json.dumps(value)}`" for name, value in settings.items())


if __name__ == "__main__":
    print(looks_table(Size()), end="\n\n")
    print(steps_table(Size()))

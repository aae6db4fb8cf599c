"""A family of models that grows by width, trained in this process on a task that is drawn as it goes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from compositions import composed
from torch import Tensor

from fvlm_core.data.batch import Batch
from fvlm_core.model.build import compose
from fvlm_core.model.mup import parametrise, rate_factors
from fvlm_core.model.vlm import VLM
from fvlm_core.recipes.parametrisation import MuP
from fvlm_core.recipes.schema import Model
from fvlm_core.training.optimizer import GROUPS, make_optimizer

BASE, HEAD = 32, 8
"""The base width, and channels of a head at every width."""

VOCABULARY, KINDS, LENGTH = 64, 16, 10
"""Rows of the embedding; kinds of frames, and of texts that go on in their own way; text tokens of a sample."""

_MADE = torch.Generator().manual_seed(5)
_PICTURES = torch.randint(0, 256, (KINDS, 3, 28, 28), generator=_MADE, dtype=torch.uint8)
_FOLLOWS = torch.stack([torch.randperm(VOCABULARY, generator=_MADE) for _ in range(KINDS)])


def sizes(width: int) -> dict[str, dict[str, Any]]:
    """What of each component's settings grows."""
    heads = width // HEAD
    return {
        "encoder": {"width": width, "heads": heads},
        "connector": {"query_dim": width},
        "llm": {"width": width, "mlp": 3 * width, "heads": heads, "kv_heads": heads // 2},
    }


def recipe(width: int, tied: bool = False) -> Model:
    """Two layers of each, four patches a frame. tied: whether the embedding is the head."""
    grown = sizes(width)
    return composed(
        {"name": "dinov2", "weights": "seeded", "depth": 2, "image_size": 28, **grown["encoder"]},
        {"name": "foveated", **grown["connector"]},
        {"name": "smollm2", "weights": "seeded", "depth": 2, "tied": tied, **grown["llm"]},
    )


MUP = MuP(**sizes(BASE))


def drawn(seed: int, samples: int = 16) -> Batch:
    """A frame of some kind, and a text that goes on from its first token as texts of that kind do."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.randint(0, KINDS, (samples,), generator=generator)
    ids = torch.empty(samples, LENGTH, dtype=torch.int64)
    ids[:, 0] = torch.randint(0, VOCABULARY, (samples,), generator=generator)
    for place in range(1, LENGTH):
        ids[:, place] = _FOLLOWS[kinds, ids[:, place - 1]]
    every = torch.ones(ids.shape, dtype=torch.bool)
    return Batch(
        frames=_PICTURES[kinds],
        counts=torch.ones(samples, dtype=torch.int64),
        ids=ids,
        lengths=torch.full((samples,), LENGTH),
        supervised=every,
        content=every,
    )


class Training:
    """AdamW at one rate for all components. mup: whether rates and logits are as the base width's."""

    def __init__(self, width: int, rate: float, mup: bool, seed: int = 0, tied: bool = False) -> None:
        model = recipe(width, tied)
        self.model: VLM = compose(model, VOCABULARY, seed, zero_head=mup)
        settings = MUP if mup else None
        parametrise(self.model, model, settings)
        factors = rate_factors(self.model, model, settings)
        groups = self.model.parameter_groups()
        self.optimizer = make_optimizer(
            groups, dict.fromkeys(GROUPS, rate), (0.9, 0.98), 0.01, self.model.decayed(), factors
        )

    def step(self, batch: Batch, share: float = 1.0) -> float:
        """One step at this share of the rate; the loss before it, in nats a token."""
        losses = self.model(batch)
        (losses.loss / losses.tokens).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * share
        self.optimizer.step()
        self.optimizer.zero_grad()
        return losses.fine.item() / losses.tokens


LAYERS = {
    "encoder keys": ("encoder.", ".k_proj"),
    "encoder attention": ("encoder.", ".o_proj"),
    "encoder MLP": ("encoder.", ".fc2"),
    "visual tokens": ("connector.", "dino_to_llm"),
    "queries of frames": ("connector.", "query_input_proj"),
    "LLM keys": ("llm.", ".k_proj"),
    "LLM attention": ("llm.", ".o_proj"),
    "LLM MLP": ("llm.", ".down_proj"),
}
"""Layers whose outputs are looked at, by the beginning and the end of their names."""

LOGITS, ELSEWHERE = "logits", "logits of other samples"


@torch.no_grad()
def coordinates(model: VLM, batch: Batch) -> dict[str, float]:
    """Root mean squares of activations, over all layers of a kind, and of the logits."""
    squares: dict[str, list[Tensor]] = {kind: [] for kind in LAYERS}
    hooks = [
        module.register_forward_hook(lambda _, __, out, kind=kind: squares[kind].append(out.square().mean()))
        for name, module in model.named_modules()
        for kind, (begin, end) in LAYERS.items()
        if name.startswith(begin) and name.endswith(end)
    ]
    logits = torch.cat(model.logits(batch))
    for hook in hooks:
        hook.remove()
    found = {kind: torch.stack(each).mean().sqrt().item() for kind, each in squares.items()}
    return {**found, LOGITS: logits.square().mean().sqrt().item()}


def checked(
    width: int, rate: float, mup: bool, at: tuple[int, ...], seeds: int = 1, tied: bool = False
) -> Mapping[int, dict[str, float]]:
    """Coordinates before any step and after so many, means over seeds: on the one batch that is trained on, as
    `mup.coord_check` of Yang et al. has it, and the logits of one that is not."""
    table: dict[int, list[dict[str, float]]] = {step: [] for step in (0, *at)}
    for seed in range(seeds):
        torch.manual_seed(0)
        training, batch, other = Training(width, rate, mup, seed, tied), drawn(1 + seed), drawn(999_999, 8)
        training.model.eval()
        for step in range(max(at) + 1):
            if step in table:
                elsewhere = coordinates(training.model, other)[LOGITS]
                table[step].append({**coordinates(training.model, batch), ELSEWHERE: elsewhere})
            training.step(batch)
    return {
        step: {kind: sum(one[kind] for one in found) / seeds for kind in found[0]}
        for step, found in table.items()
    }


def final_loss(width: int, rate: float, mup: bool, steps: int, seed: int = 0) -> float:
    """Mean loss of the last tenth of the steps, each on samples never seen before, in nats a token; 5 % of the steps
    warm up, the last half falls to a tenth linearly. A run that is lost counts as a guess among all tokens."""
    torch.manual_seed(0)
    training = Training(width, rate, mup, seed)
    losses: list[float] = []
    for step in range(steps):
        warm = min(1.0, (step + 1) / max(1, steps // 20))
        fall = min(1.0, 0.1 + 0.9 * 2 * (steps - step) / steps)
        losses.append(training.step(drawn(1000 * seed + step), warm * fall))
    last = torch.tensor(losses[-max(1, steps // 10) :]).mean().item()
    guess = float(torch.tensor(float(VOCABULARY)).log())
    return min(last, guess) if last == last else guess

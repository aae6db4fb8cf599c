"""A training step of a recipe's model beside the bare cost of its matrices, each in processes of its own.

Bare: the same encoder, language model and head, called directly on tensors of the same shapes, forward, backward and
AdamW; no connector, no batch to plan, no text to place. What is left of a step above that is fvlm's own.

    python -m fvlm_core.bench.train ours|bare RECIPE STEPS      # one measurement: seconds a step, as JSON
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fvlm_core.bench.pairs import Pair, in_pairs
from fvlm_core.compose import compose, specs
from fvlm_core.data.batch import Batch
from fvlm_core.errors import FvlmError, UsageError
from fvlm_core.interfaces.connector import ConnectorSpec
from fvlm_core.interfaces.specs import VisualPass
from fvlm_core.recipes.read import read_recipe
from fvlm_core.recipes.schema import RunRecipe
from fvlm_core.training.optimiser import GROUPS, make_optimiser
from fvlm_core.vlm import VLM

SAMPLES, FRAMES, TEXT = 2, 8, 128
"""Of the batch: every text token is supervised."""

STEPS = 3
"""Steps timed in each process, after one that is not."""

THREADS = 2
LIMIT = 1.10
RATE = 1e-5

Step = Callable[[], None]


def bench_train(
    recipe: str, rounds: int, overrides: Sequence[str], progress: Callable[[str, int, int], None]
) -> Pair:
    """The first run of a recipe, weights drawn at random: none is needed on this machine.

    Raises `UsageError` for a recipe whose vocabulary waits for its data, and `FvlmError` when a process fails.
    """
    config = _config(recipe, overrides)
    if specs(config.model, None)[1].vocabulary is None:
        raise UsageError(
            f"{recipe}: its tokenizer is made from the data; expected a model of a known vocabulary"
        )
    name = f"training step, {SAMPLES} x {FRAMES} frames x {TEXT} tokens, against its bare matrices"

    def seconds(kind: str) -> float:
        command = [sys.executable, "-m", __name__, kind, recipe, str(STEPS), *overrides]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise FvlmError(f"the benchmark's process failed:\n{done.stderr.strip()}")
        return float(json.loads(done.stdout.splitlines()[-1]))

    return in_pairs(name, "s", lambda: seconds("ours"), lambda: seconds("bare"), LIMIT, rounds, progress)


def _config(recipe: str, overrides: Sequence[str]) -> RunRecipe:
    return read_recipe(recipe, overrides).runs[0].config


def made(config: RunRecipe) -> tuple[VLM, Batch]:
    """The model with random weights, and a batch for it."""
    vocabulary = specs(config.model, None)[1].vocabulary
    assert vocabulary is not None
    model = compose(config.model, vocabulary, 0, weights=False).train()
    size = model.encoder.spec.image_size
    yes = torch.ones(SAMPLES, TEXT, dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    batch = Batch(
        frames=torch.randint(
            0, 256, (SAMPLES * FRAMES, 3, size, size), dtype=torch.uint8, generator=generator
        ),
        counts=torch.full((SAMPLES,), FRAMES),
        ids=torch.randint(0, vocabulary, (SAMPLES, TEXT), generator=generator),
        lengths=torch.full((SAMPLES,), TEXT),
        supervised=yes,
        content=yes,
    )
    return model, batch


def ours(model: VLM, batch: Batch) -> Step:
    """A step as the training loop makes it: loss over tokens, clipping, AdamW."""
    update = _update(model)

    def step() -> None:
        losses = model(batch)
        losses.loss.backward()
        update(losses.tokens)

    return step


def bare(config: RunRecipe, model: VLM, batch: Batch) -> Step:
    """The same matrices: the encoder on the frames, the language model on as many positions in as many passes, the
    head on as many labels."""
    connector = model.connector
    passes = _visual_passes(config, model)
    width, k = model.llm.spec.width, connector.spec.tokens_per_frame
    frames = model.normalise(batch.frames)
    seen = 0.14 * torch.randn(SAMPLES, FRAMES * k, width)
    read = 0.14 * torch.randn(SAMPLES, FRAMES * k + TEXT, width)
    labels = batch.ids[:, 1:].flatten()
    update = _update(model)

    follow: list[Tensor] = []  # gradients that come in from what is left out; made once

    def step() -> None:
        features = model.encoder.encode(
            frames, tokens=connector.encoder_tokens, layers=connector.encoder_layers
        )
        outputs = [part for layer in features.layers for part in (layer.key, layer.value)]
        outputs += [] if features.tokens is None else [features.tokens]
        # The last frame's state asks for nothing, so that a pass over the visual tokens reads one frame less.
        outputs += [model.llm.hidden(seen[:, : (FRAMES - 1) * k]) for _ in range(passes)]
        hidden = model.llm.hidden(read)[:, -TEXT:-1].flatten(0, 1)
        loss = F.cross_entropy(model.llm.logits(hidden), labels, reduction="sum")
        if not follow:
            follow.extend(1e-3 * torch.randn_like(output) for output in outputs)
        torch.autograd.backward([*outputs, loss], [*follow, torch.ones_like(loss)])
        update(len(labels))

    return step


def _visual_passes(config: RunRecipe, model: VLM) -> int:
    spec: ConnectorSpec = config.model.connector.config.spec(model.encoder.spec)
    return sum(isinstance(item, VisualPass) for item in spec.work or ())


def _update(model: VLM) -> Callable[[int], None]:
    """Normalise, clip, step: alike on both sides."""
    optimiser = make_optimiser(model.parameter_groups(), dict.fromkeys(GROUPS, RATE), (0.9, 0.999), 0.01)
    for group in optimiser.param_groups:
        group["lr"] = RATE

    def update(tokens: int) -> None:
        gradients = [
            p.grad for group in optimiser.param_groups for p in group["params"] if p.grad is not None
        ]
        norm = float(torch.nn.utils.get_total_norm(gradients)) / tokens
        for gradient in gradients:
            gradient.mul_(min(1.0, 1.0 / (norm + 1e-6)) / tokens)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)

    return update


def measure(kind: str, config: RunRecipe, steps: int) -> float:
    """Seconds of the median step of this process."""
    torch.set_num_threads(THREADS)
    model, batch = made(config)
    step = ours(model, batch) if kind == "ours" else bare(config, model, batch)
    times: list[float] = []
    for _ in range(1 + steps):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


def main(arguments: Sequence[Any]) -> None:
    """One measurement, printed."""
    kind, recipe, steps, *overrides = arguments
    print(json.dumps(measure(kind, _config(recipe, overrides), int(steps))))


if __name__ == "__main__":
    main(sys.argv[1:])

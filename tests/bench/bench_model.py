"""Peak memory of a training step and time of a streamed frame, DINOv2-small + SmolLM2-135M shapes, on a CPU.

`python tests/bench/bench_model.py` prints the tables of `docs/measurements/model_cost.md` (seeded weights,
nothing to download, some minutes).
Linux: peaks are `ru_maxrss` of a process of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from attrs import evolve
from fvlm_dinov2.config import DINOv2
from fvlm_dinov2.model import build as build_encoder
from fvlm_foveated.config import Foveated
from fvlm_foveated.model import FoveatedConnector
from fvlm_foveated.model import build as build_connector
from fvlm_smollm2.config import SmolLM2
from fvlm_smollm2.model import build as build_llm

from fvlm_core.data.batch import Batch
from fvlm_core.model.vlm import VLM
from fvlm_core.training.optimizer import GROUPS, make_optimizer

VOCABULARY = 49_152
ENCODER = DINOv2(weights="seeded", width=384, depth=12, heads=6, position_size=518)
LLM = SmolLM2(
    weights="seeded",
    width=576,
    mlp=1536,
    depth=30,
    heads=9,
    kv_heads=3,
    vocabulary=VOCABULARY,
    tokenizer="none",
)
SAMPLES, FRAMES, TEXT = 2, 8, 512
SEEN = (8, 64, 512)
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "1000000", "MALLOC_TRIM_THRESHOLD_": "1000000"}


def build(checkpoint: bool = False) -> VLM:
    """The composed model with fresh weights, 157,310,976 parameters."""
    torch.manual_seed(0)
    encoder = build_encoder(evolve(ENCODER, checkpoint_activations=checkpoint))
    llm = build_llm(evolve(LLM, checkpoint_activations=checkpoint), VOCABULARY)
    return VLM(encoder, build_connector(Foveated(), encoder.spec, llm.spec), llm)


def train(checkpoint: bool) -> dict[str, float]:
    """Two training steps in this process: its peak in GiB, and the processor seconds of the second step."""
    torch.set_num_threads(2)
    vlm = build(checkpoint)
    rates = dict.fromkeys(GROUPS, 1e-5)
    optimizer = make_optimizer(vlm.parameter_groups(), rates, (0.9, 0.999), 0.01, vlm.decayed())
    mask = torch.ones(SAMPLES, TEXT, dtype=torch.bool)
    batch = Batch(
        frames=torch.randint(0, 256, (SAMPLES * FRAMES, 3, 224, 224), dtype=torch.uint8),
        counts=torch.full((SAMPLES,), FRAMES),
        ids=torch.randint(0, VOCABULARY, (SAMPLES, TEXT)),
        lengths=torch.full((SAMPLES,), TEXT),
        supervised=mask,
        content=mask,
    )
    begun = 0.0
    for _ in range(2):
        begun = time.process_time()
        losses = vlm(batch)
        (losses.loss / losses.tokens).backward()
        torch.nn.utils.clip_grad_norm_(vlm.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    spent = time.process_time() - begun
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "seconds": spent}


@torch.no_grad()
def stream() -> list[tuple[float, float]]:
    """For each of `SEEN`, seconds of one more frame on one core: all of it, and without the encoder's patch pass."""
    torch.set_num_threads(1)
    vlm = build().eval()
    connector = vlm.connector
    assert isinstance(connector, FoveatedConnector)
    frame = torch.randn(1, 3, 224, 224)
    found: list[tuple[float, float]] = []
    for seen in SEEN:
        watched = connector.stream(vlm.encoder, vlm.llm)
        watched.push(frame)
        between = torch.randn(1, seen - 1, vlm.llm.spec.width) * 0.14
        vlm.llm.hidden(between, cache=watched.cache)  # leaves what pushing the frames between would
        features = vlm.encode(frame)
        found.append((fastest(partial(watched.push, frame)), fastest(partial(watched.look, features))))
    return found


def fastest(call: Callable[[], object]) -> float:
    """Processor seconds of the fastest of 30 calls, one thread; what else runs on the machine only adds to others."""
    times: list[float] = []
    for _ in range(30):
        begun = time.process_time()
        call()
        times.append(time.process_time() - begun)
    return min(times)


def measure(kind: str, settings: dict[str, str]) -> Any:
    """A measurement in a process of its own, with these environment variables."""
    command = [sys.executable, __file__, "--only", kind]
    environment = {**os.environ, **settings}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def memory_table() -> str:
    """Peaks of the second training step, with and without the allocator's settings."""
    lines = ["| second training step | allocator | peak, GiB | processor seconds |", "|---|---|---:|---:|"]
    for kind in ("plain", "checkpointed"):
        for name, settings in (("as it is", {}), ("`MALLOC_..._ = 1000000`", ALLOCATOR)):
            found = measure(kind, settings)
            lines.append(f"| {kind} | {name} | {found['peak']:.2f} | {found['seconds']:.0f} |")
    return "\n".join(lines)


def stream_table() -> str:
    """Time of a frame against the frames seen before it."""
    lines = ["| frames seen | one more frame, ms | of it look and language model, ms |", "|---:|---:|---:|"]
    for seen, (whole, look) in zip(SEEN, measure("stream", {}), strict=True):
        lines.append(f"| {seen} | {1000 * whole:.0f} | {1000 * look:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", choices=("plain", "checkpointed", "stream"), help="one measurement, as JSON"
    )
    given = parser.parse_args()
    if given.only:
        print(json.dumps(stream() if given.only == "stream" else train(given.only == "checkpointed")))
    else:
        print(memory_table(), end="\n\n")
        print(stream_table())

"""Run folders as training leaves them, written in a moment: for tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fvlm_core.runs.metrics import MetricsWriter
from fvlm_core.runs.per_sample_loss import Scored, write_scored

SETTINGS: dict[str, Any] = {
    "name": "phase",
    "model": {"connector": {"name": "foveated", "depth": "deep", "mode": "coarse_fine", "query_dim": 384}},
    "training": {"lr": 0.001, "seed": 42, "schedule": "constant", "threads": 2},
}


def write_run(
    root: Path,
    name: str,
    loss: float | None = 1.5,
    *,
    seed: int = 42,
    order: int = 0,
    connector: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    samples: Sequence[Scored] | None = None,
    curve: Sequence[tuple[int, float]] = (),
    steps: int = 100,
    planned: int = 100,
    schedule: str = "constant",
    size: str = "135M",
    fingerprint: str | None = "f",
    resolved: bool = True,
    evaluation: Mapping[str, Any] | None = None,
) -> Path:
    """The run "recipe/id". loss: at its best, the last evaluation, unless `samples` say it. curve: evaluations before
    it, (step, loss); 32 samples and 1e12 FLOPs a step. connector: its settings that are not those of `SETTINGS`.
    model: tables beside the connector's.
    """
    folder = root / name
    folder.mkdir(parents=True)
    settings = json.loads(json.dumps(SETTINGS))
    settings["model"]["connector"] |= dict(connector or {})
    settings["model"] |= dict(model or {})
    settings["training"]["schedule"] = schedule
    record: dict[str, Any] = {
        "id": folder.name, "recipe": folder.parent.name, "order": order, "seed": seed, "size": size,
        "total_params": 157_310_976, "schedule": schedule, "in_fits": True, "steps": planned,
    }  # fmt: skip
    if fingerprint is not None:
        validation = [{"source": "shapes", "samples": 5, "fingerprint": fingerprint}]
        record["data"] = {"train": validation, "validation": validation}
    if resolved:
        record["resolved"] = settings
    (folder / "recipe.json").write_text(json.dumps(record))
    if samples is not None:
        loss = sum(s.loss for s in samples) / sum(s.tokens for s in samples)
        write_scored(folder, steps, samples, None)
    if loss is None:
        return folder
    with MetricsWriter(folder / "metrics.jsonl", folder.name, 0) as metrics:
        for step, value in [*curve, (steps, loss)]:
            seen = {"step": step, "samples_seen": 32 * step, "flops": 1e12 * step}
            metrics.write("train", **seen, train_loss=value)
            metrics.write("eval", **seen, val_loss=value, **(evaluation or {}))
    summary = {
        "total_samples": 32 * steps, "total_steps": steps, "planned_steps": planned, "best_val_loss": loss,
        "best_val_step": steps, "wall_time_hours": 1.5, "complete": steps >= planned,
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def validation(
    shift: float = 0.0, noise: float = 0.0, *, seed: int = 0, count: int = 400, prefix: str = ""
) -> list[Scored]:
    """Losses of a fixed validation set of two sources; every token's `shift` higher, and `noise` a token by `seed`."""
    random = np.random.default_rng(7)
    tokens = random.integers(10, 60, count)
    own = random.gamma(4, 0.4, count)
    disturbed = own + shift + np.random.default_rng(1000 + seed).normal(0, noise, count)
    names = [f"{prefix}{'ab'[number % 3 == 0]}/{number}" for number in range(count)]
    return [Scored(n, float(x * t), int(t)) for n, x, t in zip(names, disturbed, tokens, strict=True)]

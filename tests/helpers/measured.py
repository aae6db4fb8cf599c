"""Measurements for the tests of fits: synthetic points with a known truth, and runs on disk that were never trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fvlm_core.plugin_api import LawReport
from fvlm_core.runs.metrics import MetricsWriter
from fvlm_core.runs.store import StoredRun, list_runs

TRUTH = {"E": 0.4, "A": 20.0, "B": 60.0, "alpha": 0.35, "beta": 0.6}
SIZES = {"40k": 40_000, "120k": 120_000, "400k": 400_000}
STEPS = range(20, 260, 20)
BATCH = 32


def chinchilla(n: Any, d: Any, E: float, A: float, B: float, alpha: float, beta: float) -> Any:
    return E + A / n**alpha + B / d**beta


def points(
    truth: dict[str, float],
    sizes: Sequence[float],
    samples: Sequence[float],
    noise: float = 0.0,
    seed: int = 0,
) -> pd.DataFrame:
    """A run a size, an evaluation at each number of samples, losses off by `noise` in the logarithm."""
    n, d = (grid.ravel().astype(float) for grid in np.meshgrid(sizes, samples, indexing="ij"))
    loss = chinchilla(n, d, **truth) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(n)))
    runs = [f"run-{value:.0f}" for value in n]
    return pd.DataFrame({"n": n, "d": d, "loss": loss, "run": runs, "schedule": "constant"})


def chinchilla_report(**truth: float) -> LawReport:
    """What a figure gets to see of the joint law on three sizes."""
    from fvlm_fits.config import NoSettings
    from fvlm_fits.joint_chinchilla import build

    from fvlm_core.report.figures.view import view
    from fvlm_core.scaling.fit.fitting import fit_points
    from fvlm_core.scaling.points.points import tidy

    table = points(TRUTH | truth, list(SIZES.values()), [step * BATCH for step in STEPS], noise=0.003)
    return view(fit_points(tidy(table, "points"), build(NoSettings()), draws=20))


def run(
    root: Path,
    name: str,
    *,
    size: str = "40k",
    n: int = 40_000,
    recipe: str = "grid",
    in_fits: bool = True,
    order: int = 0,
    losses: Sequence[float | None] | None = None,
) -> Path:
    """A run's folder as training leaves it: 12 evaluations on the law of `TRUTH`, or these losses."""
    folder = root / recipe / name
    folder.mkdir(parents=True)
    record = {"id": name, "recipe": recipe, "size": size, "total_params": n, "schedule": "constant"}
    (folder / "recipe.json").write_text(json.dumps({**record, "in_fits": in_fits, "order": order}))
    measured = [chinchilla(n, step * BATCH, **TRUTH) for step in STEPS] if losses is None else losses
    with MetricsWriter(folder / "metrics.jsonl", name, 0) as metrics:
        for step, loss in zip(STEPS, measured, strict=False):
            row = {"samples_seen": step * BATCH, "lr_connector": 1e-3, "flops": 6.0 * n * step * BATCH}
            metrics.write(
                "train", step=step - 1, **row, train_loss=2.0 + step / 1000, throughput_samples_sec=45.25
            )
            metrics.write("eval", step=step, **row, val_loss=loss, attention_entropy=2.25)
    summary = {
        "run_id": name,
        "model_size": size,
        "total_params": n,
        "lr_schedule": "constant",
        "total_samples": STEPS[-1] * BATCH,
        "total_steps": STEPS[-1],
        "best_val_loss": measured[-1] if measured else None,
        "best_val_step": STEPS[-1],
        "final_train_loss": 2.24,
        "wall_time_hours": 0.0125,
        "complete": True,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


def grid(root: Path) -> list[StoredRun]:
    """Three sizes on one law, and a control that is not fitted."""
    for order, (size, n) in enumerate(SIZES.items()):
        run(root, size, size=size, n=n, order=order)
    run(
        root,
        "blind",
        size="120k",
        n=120_000,
        in_fits=False,
        order=9,
        losses=[3.0 - 0.01 * i for i in range(12)],
    )
    return list_runs(root)

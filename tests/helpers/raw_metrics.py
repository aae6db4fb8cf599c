"""The founding project's raw metrics, made up: its columns and file names, a new CSV for every start."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

RAW_HEADER = (
    "run_id,step,samples_seen,wall_time_sec,event_type,train_loss,loss_fine,loss_coarse,loss_ratio,grad_norm,"
    "lr_connector,lr_dino,lr_llm,throughput_samples_sec,gpu_mem_gb,val_loss,val_loss_fine,val_loss_coarse,"
    "val_loss_ratio,attention_entropy"
)
BATCH = 32


def loss_of(step: int, start: int) -> float:
    """What a start measured at a step: a resumed one sees other data, and measures something else."""
    return 1.25 + 40.0 / (step * BATCH) ** 0.5 + start / 1024


def write_start(
    file: Path, run_id: str, steps: Iterable[int], start: int = 0, *, every: int = 100, torn: bool = False
) -> Path:
    """One start: a train row at every step, an eval row at every multiple of `every`. torn: killed while writing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as out:
        writer = csv.DictWriter(out, RAW_HEADER.split(","), restval="")
        writer.writeheader()
        for step in steps:
            common: dict[str, Any] = {"run_id": run_id, "step": step, "samples_seen": step * BATCH}
            common["wall_time_sec"] = round(step * 0.75, 2)
            loss = loss_of(step, start)
            train = {"train_loss": loss + 0.5, "loss_fine": loss + 0.5, "loss_coarse": 0.0, "loss_ratio": 0.0}
            rates = {"lr_connector": 1e-3, "lr_dino": 1e-5, "lr_llm": 1e-5, "grad_norm": 0.625}
            speed = {"throughput_samples_sec": 42.5, "gpu_mem_gb": 18.25}
            writer.writerow({**common, "event_type": "train", **train, **rates, **speed})
            if step % every == 0:
                val = {"val_loss": loss, "val_loss_fine": loss, "val_loss_coarse": 0.0, "val_loss_ratio": 0.0}
                writer.writerow(
                    {**common, "event_type": "eval", **val, "attention_entropy": 3.5 + step / 4096}
                )
        if torn:
            out.write(f"{run_id},{step + 50},{(step + 50) * BATCH},1.0,train,1.")
    return file


def write_summary(folder: Path, run_id: str, **changes: Any) -> Path:
    """`run_summary_<run_id>.json` of a run that came to its end."""
    summary = {
        "run_id": run_id,
        "model_size": "135M",
        "total_params": 157_600_000,
        "lr_schedule": "constant",
        "total_samples": 1000 * BATCH,
        "total_steps": 1000,
        "best_val_loss": loss_of(1000, 1),
        "best_val_step": 1000,
        "final_train_loss": loss_of(1000, 1) + 0.5,
        "wall_time_hours": 0.21,
    }
    file = folder / f"run_summary_{run_id}.json"
    file.write_text(json.dumps(summary | changes))
    return file


def two_starts(folder: Path, run_id: str = "135M-scaling") -> Path:
    """A run that was killed after step 650 and continued from its checkpoint of step 500, to step 1000."""
    write_start(folder / f"metrics_{run_id}.csv", run_id, range(50, 651, 50))
    write_start(folder / f"metrics_{run_id}_2.csv", run_id, range(550, 1001, 50), start=1)
    write_summary(folder, run_id)
    return folder

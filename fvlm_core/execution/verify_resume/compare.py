"""Two runs of the same steps, compared file by file and row by row: what was equal, and the first difference."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from attrs import frozen
from safetensors.torch import load_file

from fvlm_core.runs.metrics import Row, deterministic, read_metrics
from fvlm_core.runs.store import CHECKPOINTS, METRICS
from fvlm_core.utils.atomic_files import read_json, sha256

STATE = "state.json"
_CLOCK = ("wall_time",)
"""What the clock decides in a checkpoint's state."""


@frozen
class Equal:
    """One thing that was equal: what it is, how much of it, and its hash where it is a file."""

    what: str
    amount: str
    hash: str = ""


@frozen
class FirstDifference:
    """The first thing that differs, in the order in which it happened."""

    text: str


def compare_checkpoints(reference: Path, other: Path, step: int) -> list[Equal] | FirstDifference:
    """The checkpoints of two run folders at a step: every tensor file by its hash, and the state."""
    ours, theirs = (folder / CHECKPOINTS / f"step-{step:08d}" for folder in (reference, other))
    for folder in (ours, theirs):
        if not folder.is_dir():
            return FirstDifference(f"{folder} was not written")
    names = sorted({file.name for folder in (ours, theirs) for file in folder.glob("*.safetensors")})
    equal: list[Equal] = []
    for name in names:
        if not ((ours / name).is_file() and (theirs / name).is_file()):
            return FirstDifference(f"step {step}: {name} is in one checkpoint and not in the other")
        digest = sha256(ours / name)
        if digest != sha256(theirs / name):
            return FirstDifference(f"step {step}: {name}: {_first_tensor(ours / name, theirs / name)}")
        equal.append(Equal(f"{name}, step {step}", f"{len(load_file(ours / name))} tensors", digest))
    first, second = (_without_clock(read_json(folder / STATE)) for folder in (ours, theirs))
    for key in {**first, **second}:
        if first.get(key) != second.get(key):
            return FirstDifference(
                f"step {step}: {STATE}: {key}: {first.get(key)} uninterrupted, {second.get(key)} resumed"
            )
    return [*equal, Equal(f"{STATE}, step {step}", f"{len(first)} values")]


def compare_metrics(reference: Path, other: Path, until: int) -> list[Equal] | FirstDifference:
    """The rows in force up to a step, in every column that is not the clock's."""
    ours, theirs = (
        [deterministic(row) for row in read_metrics(folder / METRICS) if row["step"] <= until]
        for folder in (reference, other)
    )
    for first, second in zip(ours, theirs, strict=False):
        where = f"metrics: step {first['step']}, {first['event_type']}"
        if (first["step"], first["event_type"]) != (second["step"], second["event_type"]):
            return FirstDifference(
                f"{where} uninterrupted; resumed: step {second['step']}, {second['event_type']}"
            )
        for column in {**first, **second}:
            if first.get(column) != second.get(column):
                return FirstDifference(
                    f"{where}: {column}: {first.get(column)} uninterrupted, {second.get(column)} resumed"
                )
    if len(ours) != len(theirs):
        return FirstDifference(f"metrics: {len(ours)} rows uninterrupted, {len(theirs)} resumed")
    return [_rows(kind, [row for row in ours if row["event_type"] == kind]) for kind in ("train", "eval")]


def _rows(kind: str, rows: list[Row]) -> Equal:
    columns = len({column for row in rows for column in row})
    return Equal(f"metrics, {kind}", f"{len(rows)} rows x {columns} columns" if rows else "no row yet")


def _without_clock(state: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key not in _CLOCK}


def _first_tensor(ours: Path, theirs: Path) -> str:
    """The first tensor that differs, and by how much."""
    first, second = load_file(ours), load_file(theirs)
    for name in {**first, **second}:
        if name not in first or name not in second or first[name].shape != second[name].shape:
            return f"{name} is not in both with one shape"
        if not torch.equal(first[name], second[name]):
            apart = (first[name].double() - second[name].double()).abs()
            return f"{name}: {int((apart > 0).sum())} of {apart.numel()} numbers differ, by at most {apart.max():.3g}"
    return "the tensors are equal, their metadata differ"

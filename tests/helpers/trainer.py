"""A run of a few thousand parameters that stops where a test wants it to, on one process or on several."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

from fvlm_core.data.sources import Sources
from fvlm_core.execution.begun import run_folder
from fvlm_core.execution.sequential import prepare, run_all
from fvlm_core.recipes.read import Recipe, Run, read_recipe
from fvlm_core.runs.metrics import deterministic, read_metrics
from fvlm_core.training.process_group import Elsewhere, Ranks
from fvlm_core.training.signals import EXIT_CODES, Stopped, StopRequest

STEPS = 20
EPOCH = 7
"""Steps after which every clip was read once."""

TEXT = f"""
name = "small"
[model.encoder]
name = "dinov2"
weights = "seeded"
image_size = 42
width = 16
depth = 1
heads = 2
[model.connector]
name = "foveated"
query_dim = 8
coarse_share = 0.5
mode_choice = "sample"
[model.llm]
name = "smollm2"
weights = "seeded"
width = 16
mlp = 32
depth = 1
heads = 2
kv_heads = 1
[[data.sources]]
name = "shapes"
clips = {4 * EPOCH}
validation_clips = 6
frames = 2
[training]
steps = {STEPS}
batch_size = 4
micro_batch_size = 2
lr_ratio = {{ encoder = 1.0, llm = 1.0 }}
supervise = "answer"
precision = "float32"
threads = 1
workers = 0
log_every = 1
[eval]
every = 5
samples = 6
batch_size = 3
"""


class Killed(Exception):
    """Stands for a process that dies at once."""


class Watch:
    """An observer that asks for a stop, or dies, after a step. said: every warning."""

    def __init__(self, stop: StopRequest, at: int | None = None, die: int | None = None) -> None:
        self.stop, self.at, self.die = stop, at, die
        self.said: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self.steps = 0

    def skipped(self, run: Any) -> None:
        """Nothing to do."""

    def started(self, run: Run, step: int, steps: int) -> None:
        self.began, self.steps = step, steps
        if self.at == step + 1:
            self.stop.number = signal.SIGTERM

    def stepped(self, step: int, row: dict[str, Any] | None) -> None:
        if row is not None:
            self.rows.append(row)
        if self.die == step:
            raise Killed
        if self.at == step + 1:  # arrives during the step that is then finished
            self.stop.number = signal.SIGTERM

    def evaluated(self, row: dict[str, Any]) -> None:
        pass

    def warned(self, text: str) -> None:
        self.said.append(text)


def small(folder: Path, *overrides: str) -> Recipe:
    """The recipe; its file goes into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"small-{os.getpid()}.toml"
    file.write_text(TEXT)
    return read_recipe(str(file), overrides)


def opened(recipe: Recipe, root: Path) -> dict[str, Sources]:
    """Its data; clips are drawn where FVLM_CACHE says."""
    return prepare(recipe, root, lambda what, done, total: None)


def go(
    recipe: Recipe,
    root: Path,
    data: dict[str, Sources],
    *,
    at: int | None = None,
    die: int | None = None,
    ranks: Ranks | None = None,
) -> Watch:
    """Train on. at: the step to stop after when asked. die: the step to die after, saving nothing; 0 when something
    else kills the run. What should end it has to: a run that got to its last step all the same proves nothing."""
    stop = StopRequest()
    watch = Watch(stop, at, die)
    try:
        run_all(recipe, root, data, watch, stop, (), ranks)
        assert die is None, "nothing killed the run"
        assert at is None or at >= watch.steps > 0, f"the run was not stopped after step {at}"
    except Stopped:
        pass
    except Killed:
        assert die is not None
    except Elsewhere as error:  # another rank than the first, which has said it
        if error.exit_code != EXIT_CODES[signal.SIGTERM] and die is None:
            raise
    return watch


def outcome(recipe: Recipe, root: Path) -> dict[str, Any]:
    """What must be equal bit for bit: hashes of weights and optimizer, and every row without its clock."""
    folder = run_folder(root, recipe, recipe.runs[0])
    newest = sorted((folder / "checkpoints").glob("step-*"))[-1]
    hashes = json.loads((newest / "manifest.json").read_text())["sha256"]
    return {
        "checkpoint": newest.name,
        "model": hashes["model.safetensors"],
        "optimizer": hashes["optimizer.safetensors"],
        "rows": [deterministic(row) for row in read_metrics(folder / "metrics.jsonl")],
    }


def difference(ours: dict[str, Any], theirs: dict[str, Any]) -> str:
    """The first thing in which two outcomes differ; empty when nothing does."""
    for name in ("checkpoint", "model", "optimizer"):
        if ours[name] != theirs[name]:
            return f"{name}: {ours[name]} and {theirs[name]}" + difference(
                {**ours, name: theirs[name]}, theirs
            )
    for number, (mine, other) in enumerate(zip(ours["rows"], theirs["rows"], strict=False)):
        for column in {**mine, **other}:
            if mine.get(column) != other.get(column):
                return f"row {number}, {column}: {mine.get(column)} and {other.get(column)}"
    return "" if len(ours["rows"]) == len(theirs["rows"]) else "the number of rows"

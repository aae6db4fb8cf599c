"""A recipe that trains in a second, and the command line in this process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import warm

ENCODER = """
[model.encoder]
name = "dinov2"
weights = "seeded"
image_size = 42
width = 16
depth = 1
heads = 2
"""
CONNECTOR = """
[model.connector]
name = "foveated"
query_dim = 8
"""
LLM = """
[model.llm]
name = "smollm2"
weights = "seeded"
width = 16
mlp = 32
depth = 1
heads = 2
kv_heads = 1
"""
DATA = """
[[data.sources]]
name = "shapes"
clips = 32
validation_clips = 8
"""
TRAINING = """
[training]
steps = 6
batch_size = 4
micro_batch_size = 2
lr_ratio = { encoder = 1.0, llm = 1.0 }
supervise = "answer"
precision = "float32"
threads = 1
workers = 0
[eval]
every = 2
samples = 8
"""
RECIPE = 'name = "tiny"\n' + ENCODER + CONNECTOR + LLM + DATA + TRAINING


def run_cli(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> tuple[int, str, str]:
    """`fvlm ARGUMENTS` in this process: exit code, stdout, stderr."""
    from fvlm_core.cli.console import stderr, stdout
    from fvlm_core.cli.main import main

    stdout.cache_clear()
    stderr.cache_clear()
    monkeypatch.setattr(sys, "argv", ["fvlm", *arguments])
    code = main()
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def fvlm(*arguments: str, cwd: Path, cache: Path, **environment: str) -> warm.Started:
    """`fvlm ARGUMENTS` as a process of its own."""
    return warm.start(
        *arguments, cwd=cwd, env={**os.environ, "FVLM_CACHE": str(cache), "COLUMNS": "120", **environment}
    )


class StopAfter:
    """An observer that asks for a stop, as Slurm does, once a step is done; it is answered there or at the next one.
    Collects what it is told."""

    def __init__(self, step: int | None = None) -> None:
        self.step = step
        self.steps: list[int] = []
        self.warnings: list[str] = []

    def skipped(self, run: Any) -> None:
        """Nothing to do."""

    def started(self, run: Any, step: int, steps: int) -> None:
        """Training begins."""

    def stepped(self, step: int, row: dict[str, Any] | None) -> None:
        """Stop when it is time."""
        self.steps.append(step)
        if step == self.step:
            os.kill(os.getpid(), signal.SIGUSR1)

    def evaluated(self, row: dict[str, Any]) -> None:
        """An evaluation is done."""

    def warned(self, text: str) -> None:
        """Keep it."""
        self.warnings.append(text)


def train(
    recipe: Path, root: Path, *overrides: str, until: int | None = None, allow: Sequence[str] = ()
) -> StopAfter:
    """Train the runs of a recipe in this process, as `fvlm run` does; until: stop once this step is done."""
    from fvlm_core.execution.sequential import prepare, run_all
    from fvlm_core.recipes.read import read_recipe
    from fvlm_core.training.signals import Stopped, StopRequest

    read = read_recipe(str(recipe), overrides)
    observer = StopAfter(until)
    data = prepare(read, root, lambda what, done, total: None)
    with StopRequest() as stop, suppress(Stopped):
        run_all(read, root, data, observer, stop, allow)
        assert until is None, f"the run was not stopped after step {until}"
    return observer


def trained(folder: Path) -> Path:
    """A folder with a complete run "tiny/tiny", its recipe and the rendered clips."""
    (folder / "tiny.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        train(folder / "tiny.toml", folder / "runs")
    return folder

"""A recipe that trains in a second, and the command line in this process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

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


def fvlm(*arguments: str, cwd: Path, cache: Path, **environment: str) -> subprocess.Popen[str]:
    """`fvlm ARGUMENTS` as a process of its own."""
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("fvlm")), *arguments],
        cwd=cwd,
        env={**os.environ, "FVLM_CACHE": str(cache), "COLUMNS": "120", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

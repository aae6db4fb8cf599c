"""What tests/bench/bench_model.py measures holds its limits."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch


@pytest.fixture(scope="module")
def bench_model(root: Path) -> Any:
    """The script of the documentation as a module."""
    spec = importlib.util.spec_from_file_location("bench_model", root / "tests" / "bench" / "bench_model.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_benchmark_measures_the_published_model(bench_model: Any) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in bench_model.build().parameters()) == 157_310_976


@pytest.mark.soak
@pytest.mark.parametrize(("kind", "most"), [("plain", 5.8), ("checkpointed", 4.0)])
def test_a_training_step_fits_the_memory_it_is_promised_to(bench_model: Any, kind: str, most: float) -> None:
    """Two clips of 8 frames and 512 tokens, 135M, float32, 2 threads, with the documented allocator settings."""
    assert bench_model.measure(kind, bench_model.ALLOCATOR)["peak"] <= most


@pytest.mark.soak
def test_a_streamed_frame_costs_about_the_same_however_many_were_seen(bench_model: Any) -> None:
    times = [whole for whole, _ in bench_model.measure("stream", {})]
    assert times[-1] < 1.5 * times[0]

"""The four bugs as measurements: each setting does what the founding log says of the bug, and the default does not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def four_bugs(root: Path) -> Any:
    """The script of the documentation as a module."""
    spec = importlib.util.spec_from_file_location("four_bugs", root / "tests" / "bench" / "four_bugs.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["four_bugs"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def small(four_bugs: Any) -> Any:
    return four_bugs.Size(
        width=64, depth=4, heads=4, image_size=56, query_dim=48, frames=8, queries=8, steps=16
    )


@pytest.fixture(scope="module")
def looks(four_bugs: Any, small: Any) -> dict[str, Any]:
    return {
        name: four_bugs.measure_looks(small, settings) for name, settings in four_bugs.QUERY_SETTINGS.items()
    }


def test_the_default_tells_queries_apart(looks: dict[str, Any], small: Any) -> None:
    assert looks["default"].entropy < small.uniform - 0.3
    assert looks["default"].outputs < 0.5
    assert abs(looks["default"].projected) < 0.1


def test_bug_001_small_queries_get_the_same_answer(looks: dict[str, Any], small: Any) -> None:
    assert looks["BUG-001"].outputs > looks["default"].outputs + 0.2
    shallow = looks["BUG-001 + 004"]
    assert shallow.entropy == pytest.approx(small.uniform, abs=1e-3)
    assert shallow.outputs > 0.999


def test_bug_002_a_bias_drowns_a_small_query(looks: dict[str, Any]) -> None:
    both = looks["BUG-001 + 002"]
    assert both.projected > 0.9
    assert both.outputs > looks["BUG-001"].outputs + 0.1


def test_bug_003_choosing_per_sample_mixes_both_modes_in_a_step(four_bugs: Any, small: Any) -> None:
    default, batch, sample = (
        four_bugs.measure_steps(small, settings) for settings in four_bugs.CHOICES.values()
    )
    assert (default.coarse, default.mixed, default.both_passes, default.noise) == (0, 0, 1, 0)
    assert batch.mixed == 0
    assert batch.both_passes == pytest.approx(1 - batch.coarse)
    assert sample.mixed > 0.9
    assert sample.both_passes > 0.9
    assert 0.25 < batch.coarse < 0.75
    assert 0.25 < sample.coarse < 0.75


def test_bug_004_shallow_queries_get_nearly_the_same_answer(looks: dict[str, Any], small: Any) -> None:
    shallow = looks["BUG-004"]
    assert shallow.outputs > looks["default"].outputs + 0.3
    assert looks["default"].entropy < shallow.entropy < small.uniform

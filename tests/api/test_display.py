"""What is shown while a run trains: on a terminal its losses, the best, memory and what comes next; elsewhere lines."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import RECIPE

from fvlm_core.api.views.console import visible_console
from fvlm_core.api.views.display import Display
from fvlm_core.api.views.sparkline import BARS, CELLS, Trace, sparkline
from fvlm_core.recipes.read import Recipe, read_recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    text = RECIPE.replace("steps = 6", "steps = 100").replace('name = "tiny"', 'name = "tiny"\nseeds = 3', 1)
    (tmp_path / "tiny.toml").write_text(text)
    return read_recipe(str(tmp_path / "tiny.toml"), ("eval.every=40",))


def row(step: int, loss: float, **more: Any) -> dict[str, Any]:
    return {
        "step": step, "train_loss": loss, "tokens_seen": step * 10, "samples_seen": step, "throughput_samples_sec": 5.0,
        "memory_gb": 1.25, "gpu_mem_gb": None, "val_loss": loss, "val_loss_content": None, "attention_entropy": None,
        **more,
    }  # fmt: skip


def shown(recipe: Recipe, *, terminal: bool, start: int = 0, encoding: str = "utf-8") -> str:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace", write_through=True)
    console = visible_console(file=file, force_terminal=terminal, width=100, color_system=None)
    with Display(console, len(recipe.runs), [run.id for run in recipe.runs]) as display:
        display.started(recipe.runs[0], start, 100)
        for step, loss in ((start + 10, 3.0), (start + 40, 2.0), (start + 50, 2.5)):
            display.stepped(step, row(step, loss))
            if step in (start + 40, start + 50):
                display.evaluated(row(step, loss))
        display.stepped(start + 51, None)
    file.seek(0)
    return file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


def test_a_terminal_shows_losses_as_lines_the_best_so_far_memory_and_what_comes_next(recipe: Recipe) -> None:
    text = shown(recipe, terminal=True)
    assert f"  loss  2.5000  {BARS[7]}{BARS[0]}{BARS[4]}" in text  # from 3.0 over 2.0 to 2.5
    assert f"  val   2.5000  {BARS[0]}{BARS[7]}" in text
    assert "best 2.0000 at step 40" in text
    assert f"memory 1.2 GB, next: evaluation at step 80, then {recipe.runs[1].id} and 1 more" in text
    assert "left" in text


def test_a_run_that_continues_says_since_when_its_best_is_the_best(recipe: Recipe) -> None:
    assert "best since step 30 2.0000 at step 70" in shown(recipe, terminal=True, start=30)


def test_a_terminal_without_these_marks_gets_numbers_alone(recipe: Recipe) -> None:
    text = shown(recipe, terminal=True, encoding="ascii")
    assert "best 2.0000 at step 40" in text
    assert "loss  2.5000" in text
    assert "??" not in text.split("loss  2.5000")[1].split("\n")[0]


def test_elsewhere_there_is_a_line_for_each_evaluation_and_nothing_moves(recipe: Recipe) -> None:
    text = shown(recipe, terminal=False)
    assert "\x1b" not in text
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    assert lines[0] == f"[1/3] {recipe.runs[0].id}: 100 steps"
    assert lines[1].startswith(f"{recipe.runs[0].id}  step     40/100  val 2.0000  5.0 samples/s")
    assert lines[2].startswith(f"{recipe.runs[0].id}  step     50/100  val 2.5000")
    assert len(lines) == 3


@given(st.lists(st.floats(-1e6, 1e6), max_size=3 * CELLS))
def test_a_sparkline_goes_from_the_least_to_the_greatest_in_as_many_cells_as_there_are(
    values: list[float],
) -> None:
    line = sparkline(values)
    assert len(line) == (min(len(values), CELLS) if len(values) > 1 else 0)
    assert set(line) <= set(BARS)
    if 1 < len(values) <= CELLS and min(values) < max(values):
        assert line[values.index(min(values))] == BARS[0]
        assert line[values.index(max(values))] == BARS[-1]


@given(st.lists(st.floats(-100, 100) | st.just(math.nan) | st.just(math.inf), max_size=1000))
def test_a_trace_keeps_the_mean_of_all_that_is_finite_in_few_numbers(values: list[float]) -> None:
    trace = Trace()
    for value in values:
        trace.add(value)
    finite = [value for value in values if math.isfinite(value)]
    means = trace.means
    assert len(means) <= 2 * CELLS
    assert bool(means) == bool(finite)
    if finite:
        assert min(finite) - 1e-9 <= min(means) <= max(means) <= max(finite) + 1e-9
        each = len(finite) // len(means) if len(finite) == len(means) else None
        if each:
            assert sum(means) == pytest.approx(sum(finite))

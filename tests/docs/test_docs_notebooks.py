"""The notebooks of the documentation run from top to bottom, and show what they gave."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from manual_pages import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
LARGEST = 150_000
"""Bytes of a notebook with its outputs."""

notebooks: Any = pytest.importorskip("notebooks", reason="docs/_ext/notebooks.py needs nbclient")


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_stores_what_came_out_without_an_error_and_is_small(file: Path) -> None:
    cells = [cell for cell in notebooks.read(file).cells if cell.cell_type == "code"]
    assert all(cell.outputs for cell in cells)
    assert {one.output_type for cell in cells for one in cell.outputs}.isdisjoint({"error"})
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    assert file.stat().st_size < LARGEST


def test_every_notebook_is_a_page_of_the_site() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    assert NOTEBOOKS
    assert all(f"\nnotebooks/{file.stem}\n" in index for file in NOTEBOOKS)


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_runs_from_top_to_bottom(file: Path, tmp_path: Path) -> None:
    done = notebooks.execute(file, tmp_path)
    stored = notebooks.read(file)
    kinds = [[one.output_type for one in cell.outputs] for cell in done.cells if cell.cell_type == "code"]
    assert all(kinds)
    assert len(kinds) == sum(cell.cell_type == "code" for cell in stored.cells)

"""The fits of a recipe: each of the runs it names."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folders import write_run
from tiny import RECIPE

from fvlm_core.recipes.read import read_recipe
from fvlm_core.recipes.resolved import resolved
from fvlm_core.recipes.schema import FitSettings
from fvlm_core.runs.store import open_run
from fvlm_core.scaling.fit.fitting import fit_runs
from fvlm_core.utils.errors import Problems

pytestmark = pytest.mark.usefixtures("quick_fits")

FAMILIES = """
[grid]
id = "{size}-{tokens}"
[grid.axes.size]
small = {}
large = { model.llm.width = 32 }
[grid.axes.tokens]
F = {}
B = { model.connector = { name = "pooled", grid = 1 } }
"""


def curve(scale: float) -> list[tuple[int, float]]:
    return [(step, 1.0 + scale * step**-0.3) for step in range(10, 100, 10)]


def test_a_fit_is_made_of_the_runs_that_it_names(tmp_path: Path) -> None:
    for tokens, scale in (("F", 2.0), ("B", 3.0)):
        write_run(tmp_path, f"grid/135M-{tokens}", 1.0 + scale * 100**-0.3, curve=curve(scale))
    runs = [open_run(tmp_path / "grid" / f"135M-{tokens}") for tokens in ("F", "B")]
    ours, theirs, both = fit_runs(
        runs,
        [
            FitSettings(model="per-size", runs="*-F"),
            FitSettings(model="per-size", runs="*-B"),
            FitSettings(model="per-size"),
        ],
    )
    assert [len(report.points.table) for report in (ours, theirs, both)] == [10, 10, 20]
    assert [report.points.of for report in (ours, theirs, both)] == ["*-F", "*-B", ""]
    # a D^-b with D = 32 samples a step: the same exponent, and another a
    assert ours.fits[0].values["b"] == pytest.approx(0.3, rel=1e-3)
    assert theirs.fits[0].values["b"] == pytest.approx(0.3, rel=1e-3)
    assert theirs.fits[0].values["a"] / ours.fits[0].values["a"] == pytest.approx(1.5, rel=1e-3)


def test_a_fit_of_runs_that_there_are_none_of_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    fits = '[[fits]]\nmodel = "per-size"\nruns = "*-F"\n'
    file.write_text(RECIPE + FAMILIES + fits)
    recipe = read_recipe(str(file))
    assert recipe.fits[0].runs == "*-F"
    assert resolved(recipe.runs[0].config)["fits"][0]["runs"] == "*-F"
    file.write_text(RECIPE + FAMILIES + fits.replace("*-F", "*-f"))
    with pytest.raises(Problems, match=r'grid.toml:\d+: fits\[0\]\.runs: no run is called like "\*-f"'):
        read_recipe(str(file))

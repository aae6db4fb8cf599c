"""The fits of a recipe: each of the runs it names."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import evolve
from run_folders import write_run
from tiny import RECIPE

from fvlm_core.recipes.read import read_recipe
from fvlm_core.recipes.resolved import resolved
from fvlm_core.recipes.schema import FitSettings
from fvlm_core.runs.store import open_run
from fvlm_core.scaling.fit.fitting import fit_runs
from fvlm_core.scaling.predict.holdout import score_runs
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


def test_a_run_that_is_held_out_is_foreseen_and_scored(tmp_path: Path) -> None:
    """A run on the law is foreseen as it is, and one that left it is not; neither moves the fit."""
    for name in "ab":
        write_run(tmp_path, f"grid/135M-{name}", 1.0 + 2.0 * 100**-0.3, curve=curve(2.0))
    for name, scale in (("far", 2.0), ("other", 3.0)):
        write_run(tmp_path, f"grid/135M-{name}", 1.0 + scale * 300**-0.3, steps=300, planned=300)
    runs = {name: open_run(tmp_path / "grid" / f"135M-{name}") for name in ("a", "b", "far", "other")}
    law = FitSettings(model="per-size")
    [plain] = fit_runs([runs["a"], runs["b"]], [law])
    [report] = fit_runs([runs["a"], runs["b"], runs["far"]], [evolve(law, holdout="*-far")])
    assert report.fits[0].values == plain.fits[0].values
    near, other = (score_runs(report, [*runs.values()], pattern) for pattern in ("*-far", "*-other"))
    assert near.total is not None
    assert other.total is not None
    assert near.table["measured"].tolist() == [pytest.approx(1.0 + 2.0 * 300**-0.3)]
    assert near.total.worst < 1e-3
    assert other.total.worst == pytest.approx(300**-0.3 / (1.0 + 3.0 * 300**-0.3), rel=0.01)


def test_a_run_held_out_that_there_is_none_of_is_told_before_anything_is_trained(tmp_path: Path) -> None:
    file = tmp_path / "grid.toml"
    file.write_text(RECIPE + FAMILIES + '[[fits]]\nmodel = "per-size"\nholdout = "*-X"\n')
    with pytest.raises(Problems, match=r'fits\[0\]\.holdout: no run is called like "\*-X"'):
        read_recipe(str(file))

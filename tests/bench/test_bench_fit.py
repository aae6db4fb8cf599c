"""Fitting beside the published way: one objective on both sides, and figures that say what they are scaled from."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from tiny import run_cli

from fvlm_core.bench.fit import Ends, bound, made_points, plain
from fvlm_core.bench.published import GRID, refit
from fvlm_core.cli.bench_fit import MOST
from fvlm_core.scaling.fit.resampling import resample
from fvlm_core.scaling.points.points import Points, tidy


@pytest.fixture(scope="module")
def points() -> Points:
    return tidy(made_points().rename(columns=str.lower), "made")


def test_the_published_grid_has_all_its_starts() -> None:
    assert GRID.shape == (MOST, 5)
    assert len(np.unique(GRID, axis=0)) == 4_500
    assert GRID.min(axis=0).tolist() == [0, 0, -1, 0, 0]
    assert GRID.max(axis=0).tolist() == [25, 25, 1, 2, 2]


def test_both_sides_minimise_the_same_objective(points: Points) -> None:
    ours, published = bound(points), plain(points)
    assert len(published.loss) == 240
    rng = np.random.default_rng(0)
    # some parameters so far off that every residual is in the linear part, some so close that many are not
    for spread in [1.0] * 10 + [1e-4] * 10:
        a, b, e, alpha, beta = np.array([6.0, 6.0, 0.5, 0.34, 0.28]) + spread * rng.uniform(-0.2, 0.2, 5)
        theta = {"E": math.exp(e), "A": a, "B": b, "alpha": alpha, "beta": beta}
        x = np.array([[theta[slot.name] for slot in ours.slots]])
        total = ours.total(ours.residuals(x))[0]
        assert published.objective(np.array([a, b, e, alpha, beta])) == pytest.approx(total, rel=1e-9)


def test_a_refit_minimises_the_objective_of_its_draw(points: Points) -> None:
    ours = bound(points)
    counts = resample(points.table, "iid", "run", 0.0, 5, 3, 0).of_points(slice(3))
    truth = np.array([math.log(406.4), math.log(410.7), math.log(1.69), 0.34, 0.28])
    a, b, e, alpha, beta = truth
    theta = {"E": math.exp(e), "A": a, "B": b, "alpha": alpha, "beta": beta}
    x = np.array([[theta[slot.name] for slot in ours.slots]])
    for one in counts:
        drawn = plain(points).drawn(one.astype(int))
        before = ours.total(ours.residuals(x), one[None])[0]
        assert drawn.objective(truth) == pytest.approx(before, rel=1e-9)
        assert refit(drawn, truth) < before


def test_an_end_above_the_published_one_is_not_hidden() -> None:
    assert not Ends(0.0018 + 2e-9, 0.0018, 1, 1, None, 0.0).holds


@pytest.mark.soak
def test_both_sides_end_alike_and_figures_are_told_with_the_machine_and_what_they_are_scaled_from(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_cli(["bench", "fit", "--rounds", "1", "--starts", "40", "--json"], monkeypatch, capsys)
    found = json.loads(out)
    assert code == 0
    fit, draw, command = found["measured"]
    assert "scaled from 40" in fit["name"]
    assert 0 < fit["ratio"] < 1
    assert draw["ratio"] > 0
    assert command["ratio"] > 1
    assert [one["limit"] for one in found["measured"]] == [None, None, None]
    assert found["grid"]["starts"] == 40
    assert found["grid"]["scaled"]
    assert found["grid"]["seconds_per_start"] * 4_500 == pytest.approx(fit["bare"])
    ends = found["objectives"]
    assert ends["holds"]
    assert ends["objective"] == pytest.approx(ends["published"], rel=1e-5)
    assert ends["draws"] == pytest.approx(ends["refits"], rel=1e-4)
    assert {"cores", "scipy", "fvlm"} <= set(found["machine"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--starts", "0"], "0 is not in the range 1<=x<=4500"),
        (["--starts", "4501"], "4501 is not in the range"),
        (["--rounds", "0"], "0 is not in the range"),
        (["--data", "none.csv"], "none.csv: there is no such file"),
        (["--data", "two.csv"], "two.csv: these points do not tell the joint law; it needs"),
    ],
)
def test_misuse_is_refused_before_anything_is_timed(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = made_points()
    table[table["N"].isin(table["N"].unique()[:2])].to_csv(tmp_path / "two.csv", index=False)
    monkeypatch.chdir(tmp_path)
    code, _, err = run_cli(["bench", "fit", *arguments], monkeypatch, capsys)
    assert code == 2
    assert said in err

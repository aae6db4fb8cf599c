"""What a refusal says is true: where a minimum lies, which rows are copies, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import run_cli

from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.points.files import read_points
from fvlm_core.scaling.points.points import Points, tidy

QUICK = Options(sensitivity=False)


@pytest.fixture(scope="module", autouse=True)
def few_starts() -> Iterator[None]:
    """Made points lie near enough to their law."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)
        patch.setattr("fvlm_core.scaling.fit.solver.FINALISTS", 4)
        patch.setattr("fvlm_core.scaling.fit.sensitivity.MOST", 0)
        yield


COLUMNS = {"isoflop": ("n", "sizes"), "lr-optimum": ("lr", "learning rates")}


def swept(law: str, x: Any, loss: Any) -> Points:
    x = np.asarray(x, float)
    n = x if law == "isoflop" else np.full(len(x), 1e7)
    lr = x if law == "lr-optimum" else np.full(len(x), 1e-3)
    return tidy(pd.DataFrame({"n": n, "d": 1e17 / 6 / n, "lr": lr, "compute": 1e17, "loss": loss}), "swept")


@pytest.mark.parametrize("law", COLUMNS)
@given(
    losses=st.lists(st.sampled_from([3.0, 3.1, 3.3, 3.6, 4.5, 6.0, 9.0]), min_size=2, max_size=7),
    span=st.sampled_from([1.3, 2.0, 6.0]),
)
@settings(max_examples=6, deadline=None, derandomize=True)
def test_a_minimum_beyond_all_values_is_said_only_where_the_losses_fall_to_that_end(
    law: str, losses: list[float], span: float
) -> None:
    x = 1e-4 * span ** np.arange(len(losses)) * (1e10 if law == "isoflop" else 1)
    report = fit_points(swept(law, x, losses), load_model(law), draws=2, options=QUICK)
    said = " ".join(report.reasons)
    what = COLUMNS[law][1]
    inner = losses[1:-1]
    if f"below all {what}" in said:
        assert losses[0] == min(losses) < min(inner)
    if f"above all {what}" in said:
        assert losses[-1] == min(losses) < min(inner)
    if len(losses) < 3:
        assert f"2 {what} were tried" in said or "not identifiable" in said
    for fit in report.fits:
        (best,) = [one.value for one in fit.estimates if one.name in ("N", "best")]
        assert min(x) < best < max(x)
    assert report.fits or said


def test_a_skewed_curve_whose_lowest_loss_is_inside_is_not_sent_beyond_its_ends() -> None:
    sizes = 1e7 * 2.0 ** np.arange(-1, 7)
    loss = np.array([3.05, 3.0, 3.4, 3.9, 4.4, 4.9, 5.4, 5.9])
    bend, slope, _ = np.polyfit(np.log(sizes), loss, 2)
    assert np.exp(-slope / 2 / bend) < sizes[0]  # where the parabola through all of them has its own
    whole = evolve(load_model("isoflop"), windows=None)
    (reason,) = fit_points(swept("isoflop", sizes, loss), whole, "mse", draws=2).reasons
    assert "the lowest loss was measured at 1e+07" in reason
    assert '--where "n >= 5e+06" --where "n <= 4e+07"' in reason
    (found,) = fit_points(swept("isoflop", sizes, loss), load_model("isoflop"), "mse", draws=2).fits
    assert 5e6 < found.values["N"] < 2e7  # in a window about it
    near = sizes <= 4e7
    again = fit_points(swept("isoflop", sizes[near], loss[near]), load_model("isoflop"), "mse", draws=2)
    assert 5e6 < again.fits[0].values["N"] < 2e7


@pytest.mark.parametrize("law", sorted(COLUMNS))
@pytest.mark.parametrize("losses", [(3.0, 3.1, 3.12, 3.1, 3.0), (3.0, 3.2, 3.2, 3.1), (3.1, 3.2, 3.2, 3.0)])
def test_a_hill_has_no_minimum_on_either_side(law: str, losses: tuple[float, ...]) -> None:
    x = 1e7 * 3.0 ** np.arange(len(losses))
    (reason,) = fit_points(swept(law, x, np.array(losses)), load_model(law), "mse", draws=2).reasons
    assert "does not bend upwards" in reason
    assert "below all" not in reason
    assert "above all" not in reason


def test_sizes_that_share_their_first_digits_stay_apart() -> None:
    sizes = [1.0e7, 1.0004e7, 1.57312e8, 1.57338e8, 3e8]
    table = pd.DataFrame({"n": np.repeat(sizes, 2), "d": [1e9, 2e9] * 5, "loss": np.arange(2.0, 12)})
    named = tidy(table, "made").table["size"].cat.categories
    assert sorted(named) == ["10.004M", "10M", "157.31M", "157.34M", "300M"]


def test_the_budget_of_the_case_has_its_best_size_inside(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(shared / "cases/tables/isoflop_inside.csv")
    table.assign(C=6 * table["N"] * table["D"]).to_csv(tmp_path / "iso.csv", index=False)
    monkeypatch.chdir(tmp_path)
    code, told, _ = run_cli(
        ["fit", "--data", "iso.csv", "--model", "isoflop", "--json", "fit.json"], monkeypatch, capsys
    )
    assert code == 0
    assert "below all" not in told
    (fit,) = json.loads(Path("fit.json").read_text())["reports"][0]["fits"]
    assert fit["group"] == "1e+17"
    low, high = fit["parameters"]["N"]["interval"]
    assert low < 1.3e7 < high


def test_rows_that_differ_in_any_column_are_points_and_stay_so_in_the_record(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = shared / "cases/tables/copies_that_differ.csv"
    points = read_points([file])
    assert len(points.table) == len(pd.read_csv(file).drop_duplicates()) == 4
    assert "differ in peak_lr alone" in " ".join(points.remarks)
    monkeypatch.chdir(tmp_path)
    assert run_cli(["fit", "--data", str(file), "--json", "fit.json"], monkeypatch, capsys)[0] == 0
    again = read_points([tmp_path / "fit.json"])
    assert len(again.table) == 4
    assert again.fingerprint() == points.fingerprint()


@given(rows=st.lists(st.tuples(*[st.integers(1, 2)] * 4), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None)
def test_a_copy_is_a_row_that_is_equal_in_every_column(
    rows: list[tuple[int, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    table = pd.DataFrame(rows, columns=["N", "D", "loss", "tag"])
    file = tmp_path_factory.mktemp("rows") / "rows.csv"
    table.to_csv(file, index=False)
    points = read_points([file])
    assert len(points.table) == len(table.drop_duplicates())
    copies = len(table) - len(points.table)
    assert (f"count once: {copies} (" in " ".join(points.remarks)) == (copies > 0)


def law(n: float, d: float) -> float:
    return 1.7 + 480 / n**0.35 + 2100 / d**0.37


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ([(n, 20 * n) for n in (1e7, 1e8, 1e9)], "two more model sizes at one amount of data there is"),
        ([(n, 20 * n) for n in (1e7, 5e7, 1e8, 1e9)], "one more model size at one amount of data there is"),
        ([(n, 1e9) for n in (1e7, 1e8, 1e9)], "It takes points at three or more amounts of data."),
        ([(n, d) for n in (1e7, 1e8) for d in (1e8, 1e9, 1e10)], "It takes points of at least three model sizes."),
        ([(1e7, 1e9)], "points of at least three model sizes, and points at three or more amounts of data."),
    ],
)  # fmt: skip
def test_what_is_said_to_be_missing_is_what_would_be_enough(pairs: Any, told: str) -> None:
    table = pd.DataFrame([{"n": n, "d": d, "loss": law(n, d)} for n, d in pairs])
    report = fit_points(tidy(table, "made"), load_model("joint-chinchilla"), draws=2, options=QUICK)
    assert told in report.reasons[0]
    if "more model size" in told:
        more = [(n, pairs[0][1]) for n in (3.3e7, 4.4e8)[: 1 + told.startswith("two")]]
        table = pd.DataFrame([{"n": n, "d": d, "loss": law(n, d)} for n, d in [*pairs, *more]])
        again = fit_points(tidy(table, "made"), load_model("joint-chinchilla"), draws=2, options=QUICK)
        assert "not identifiable" not in " ".join(again.reasons)


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rng = np.random.default_rng(0)
    pairs = [(n, d) for n in (1e7, 1e8) for d in (1e8, 1e9, 1e10, 1e11)]
    table = pd.DataFrame([{"N": n, "D": d, "loss": law(n, d), "run": f"{n:g}-{d:g}"} for n, d in pairs])
    table["loss"] *= np.exp(0.003 * rng.standard_normal(len(table)))
    table.to_csv(tmp_path / "two.csv", index=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "two.csv"


ASK = ("suggest", "--data", "two.csv", "--cost", "6ND", "--budget", "1e21", "--target-d", "1e11")


def test_a_plan_names_the_third_size_instead_of_spending_a_budget_on_two(
    two: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, told = run_cli([*ASK, "--sizes", "10M,100M", "--target-n", "1B"], monkeypatch, capsys)
    assert code != 0
    assert "makes the loss at the target surer" in told
    assert "It takes points of at least three model sizes" in told


def test_a_third_size_makes_the_plan_and_a_known_size_needs_none(
    two: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for more in (("--sizes", "10M,100M,300M", "--target-n", "1B"), ("--target-n", "100M")):
        code, told, _ = run_cli([*ASK, *more, "--json"], monkeypatch, capsys)
        assert code == 0
        plan = json.loads(told)
        assert plan["missing"] == ""
        assert plan["suggested"]["error"] < plan["error_before"]
